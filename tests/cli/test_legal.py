"""Odd, but legal checkpoints: inspect, verify and complete take them."""

import shutil

import pytest

from cli.damage import ALL, INDEX, add_tensor, raw_header, rewrite, run
from reference import make_checkpoint as mc


def as_links(path):
    """As the hub cache has them."""
    blobs = path.parent / "blobs"
    blobs.mkdir()
    for i, file in enumerate(sorted(path.iterdir())):
        file.rename(blobs / str(i))
        file.symlink_to(f"../blobs/{i}")


def as_one_file(path):
    merged = {}
    for shard in sorted(path.glob("*.safetensors")):
        rewrite(shard, merged.update)
        shard.unlink()
    (path / INDEX).unlink()
    (path / "model.safetensors").write_bytes(mc.safetensors_bytes(merged))


def prefixed(path):
    shutil.rmtree(path)
    text = mc.tiny_config()
    mc.write_checkpoint(
        path,
        {
            "architectures": ["KimiK25ForConditionalGeneration"],
            "model_type": "kimi_k25",
            "text_config": text,
        },
    )
    add_tensor(path, "vision_tower.patch_embed.proj.weight", shape=(2, 3, 4, 4))
    add_tensor(path, "mm_projector.proj.0.weight")


def variant(**changes):
    def make(path):
        options = {k: changes.pop(k) for k in ("inv_freq", "shape_dtype") if k in changes}
        shutil.rmtree(path)
        mc.write_checkpoint(path, mc.tiny_config(**changes), **options)

    return make


LEGAL = [
    ("undamaged", lambda p: None),
    ("no_generation_config", lambda p: (p / "generation_config.json").unlink()),
    ("padded_header", raw_header(lambda t: t + b" " * 1000)),
    ("unknown_tensor", lambda p: add_tensor(p, "extra_head.weight", "F8_E4M3", (3, 5))),
    ("stray_file", lambda p: (p / "other.safetensors").write_bytes(b"nonsense")),
    ("links", as_links),
    ("one_file", as_one_file),
    ("prefix", prefixed),
    ("inv_freq", variant(inv_freq=True)),
    ("i64_shapes", variant(shape_dtype="I64")),
    ("prediction_layer", variant(num_nextn_predict_layers=1)),
    ("bf16_experts", variant(int4=False)),
    ("direct_q", variant(q_lora_rank=None, rope_scaling=None)),
    ("groups", variant(n_group=4, topk_group=2, n_shared_experts=2)),
    ("no_shared", variant(n_shared_experts=None, first_k_dense_replace=0)),
    ("every_other", variant(moe_layer_freq=2, num_hidden_layers=4)),
]


@pytest.mark.parametrize("case", LEGAL, ids=[case[0] for case in LEGAL])
def test_legal_variants_run(abruzzi, tmp_path, case):
    path = tmp_path / "checkpoint"
    mc.write_checkpoint(path, mc.tiny_config())
    case[1](path)
    for command in ALL:
        status, err = run(abruzzi, command, path)
        assert status == 0, (command, err)
