"""Damaged checkpoints: exit 65 and a message with the name of the file or tensor, never a crash.

Each case damages a copy of one small checkpoint; test_legal.py shows that it is the damage that is
refused.
"""

import json
import os
import shutil
import struct

import numpy as np
import pytest

from cli.damage import (
    ALL,
    INDEX,
    SHARD,
    add_tensor,
    append,
    config,
    duplicate,
    edit_json,
    edit_tensor,
    other_checkpoint,
    poke,
    poke_length,
    raw_header,
    read_shard,
    remove_tensor,
    replace_tensor,
    run,
    set_index,
    shift,
    swap,
    tokenizer_line,
    truncate,
    twice,
)
from reference import make_checkpoint as mc

EXPERT = "model.layers.1.mlp.experts.3.up_proj"
READS = ("verify", "complete")  # what reads the weights' values
TOKENS = ("complete",)  # what reads the tokenizer


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "good"
    mc.write_checkpoint(path, mc.tiny_config())
    return path


@pytest.fixture
def copy(good, tmp_path):
    return shutil.copytree(good, tmp_path / "checkpoint")


@pytest.fixture(scope="module")
def call(abruzzi):
    return lambda command, path: run(abruzzi, command, path)


# ---------------------------------------------------------------------------------------------
# (id, damage, words of the message[, commands])

HEADER = [
    ("length_over_file", lambda p: poke_length(p, 1 << 20), [SHARD, "truncated"]),
    ("length_over_limit", lambda p: poke_length(p, 100_000_001), [SHARD]),
    ("length_2_64", lambda p: poke_length(p, (1 << 64) - 1), [SHARD]),
    ("length_wraps", lambda p: poke_length(p, (1 << 64) - 8), [SHARD]),
    ("length_zero", lambda p: poke_length(p, 0), [SHARD]),
    ("length_short", lambda p: poke_length(p, 100), [SHARD]),
    ("not_json", raw_header(lambda t: b"x" + t[1:]), [SHARD]),
    ("leading_space", raw_header(lambda t: b" " + t), [SHARD, "{"]),
    ("trailing_newline", raw_header(lambda t: t + b"\n"), [SHARD]),
    ("trailing_bytes", raw_header(lambda t: t + b"{}"), [SHARD]),
    ("not_utf8", raw_header(lambda t: t.replace(b"up_proj", b"up\xffproj", 1)), [SHARD, "UTF-8"]),
    ("nul_in_name", raw_header(lambda t: t.replace(b"up_proj", b"up\\u0000", 1)), [SHARD, "NUL"]),
    ("metadata_number", raw_header(lambda t: t.replace(b'"pt"', b"1")), [SHARD]),
    ("metadata_twice", raw_header(lambda t: b'{"__metadata__":{},' + t[1:]), [SHARD, "twice"]),
    ("empty_entry", raw_header(lambda t: t[:-1] + b',"xxx":{}}'), [SHARD]),
    ("float_offset", raw_header(lambda t: t.replace(b"[0, ", b"[0.0, ", 1)), [SHARD, "integer"]),
    ("negative_offset", raw_header(lambda t: t.replace(b"[0, ", b"[-1, ", 1)), [SHARD]),
    (
        "huge_offset",
        raw_header(lambda t: t.replace(b"[0, ", b"[99999999999999999999, ", 1)),
        [SHARD],
    ),
    ("unknown_dtype", raw_header(lambda t: t.replace(b'"BF16"', b'"BF17"', 1)), [SHARD, "BF17"]),
    ("unknown_field", raw_header(lambda t: t.replace(b'"dtype"', b'"dtypo"', 1)), [SHARD, "dtypo"]),
    ("hole", shift(4), [SHARD, "hole"]),
    ("overlap", shift(-4), [SHARD, "overlaps"]),
    ("bytes_after", lambda p: append(p / SHARD, b"\0"), [SHARD, "after the last tensor"]),
    ("duplicate_name", duplicate, [SHARD, "twice"]),
    (
        "shape_overflow",
        lambda p: edit_tensor(
            p,
            EXPERT + ".weight_packed",
            lambda t: t.update(shape=[4194305, 4194305, 211106198978564]),
        ),
        [EXPERT + ".weight_packed", "overflow"],
    ),
    (
        "shape_not_its_bytes",
        lambda p: edit_tensor(p, EXPERT + ".weight_packed", lambda t: t.update(shape=[64, 64])),
        [EXPERT + ".weight_packed"],
    ),
    (
        "offsets_reversed",
        lambda p: edit_tensor(p, EXPERT + ".weight_packed", lambda t: t["data_offsets"].reverse()),
        [EXPERT + ".weight_packed"],
    ),
    (
        "offsets_past_the_end",
        lambda p: edit_tensor(
            p,
            EXPERT + ".weight_packed",
            lambda t: t.update(shape=[1 << 30, 8], data_offsets=[0, 1 << 35]),
        ),
        [EXPERT + ".weight_packed"],
    ),
]

FILES = [
    ("no_config", lambda p: (p / "config.json").unlink(), ["config.json"]),
    ("empty_config", lambda p: truncate(p / "config.json", 0), ["config.json"]),
    ("cut_config", lambda p: truncate(p / "config.json", -20), ["config.json"]),
    ("config_is_a_list", lambda p: (p / "config.json").write_text("[]"), ["config.json"]),
    (
        "cut_generation",
        lambda p: truncate(p / "generation_config.json", -2),
        ["generation_config.json"],
    ),
    ("no_index", lambda p: (p / INDEX).unlink(), [INDEX]),
    ("empty_index", lambda p: truncate(p / INDEX, 0), [INDEX]),
    ("cut_index", lambda p: truncate(p / INDEX, -40), [INDEX]),
    ("index_without_map", lambda p: (p / INDEX).write_text('{"metadata":{}}'), [INDEX]),
    ("missing_shard", lambda p: (p / SHARD).unlink(), [SHARD]),
    ("empty_shard", lambda p: truncate(p / SHARD, 0), [SHARD]),
    ("shard_is_a_folder", lambda p: ((p / SHARD).unlink(), (p / SHARD).mkdir()), [SHARD]),
    ("shard_is_a_fifo", lambda p: ((p / SHARD).unlink(), os.mkfifo(p / SHARD)), [SHARD]),
    ("dangling_link", lambda p: ((p / SHARD).unlink(), (p / SHARD).symlink_to("gone")), [SHARD]),
    ("link_to_itself", lambda p: ((p / SHARD).unlink(), (p / SHARD).symlink_to(SHARD)), [SHARD]),
    ("swapped_shards", swap, ["model-0000"]),
    (
        "copied_shard",
        lambda p: shutil.copy(p / SHARD, p / "model-00003-of-000003.safetensors"),
        ["model-00003"],
    ),
    ("shard_of_larger_model", other_checkpoint(hidden_size=128), [SHARD]),
    ("shard_of_other_experts", other_checkpoint(n_routed_experts=16), ["model-0000"]),
    ("shard_of_bf16_model", other_checkpoint(int4=False), [SHARD]),
    ("shard_outside", set_index(EXPERT + ".weight_packed", "../x.safetensors"), [INDEX, "../x"]),
    ("shard_absolute", set_index(EXPERT + ".weight_packed", "/etc/x.safetensors"), [INDEX]),
    (
        "index_names_other_shard",
        set_index(EXPERT + ".weight_packed", "model-00001-of-000003.safetensors"),
        [EXPERT],
    ),
    ("index_names_missing_tensor", set_index("model.extra", SHARD), [SHARD, "model.extra"]),
    (
        "index_misses_tensor",
        lambda p: edit_json(p / INDEX, lambda i: i["weight_map"].pop(EXPERT + ".weight_scale")),
        [EXPERT + ".weight_scale"],
    ),
    ("tensor_in_two_shards", twice, ["model.layers.1.input_layernorm.weight"]),
]

TENSORS = [
    (
        "missing_" + name.split(".")[-2] + "_" + name.split(".")[-1],
        lambda p, name=name: remove_tensor(p, name),
        [name],
    )
    for name in (
        "model.norm.weight",
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.2.self_attn.kv_b_proj.weight",
        "model.layers.1.mlp.gate.e_score_correction_bias",
        "model.layers.2.mlp.shared_experts.down_proj.weight",
        EXPERT + ".weight_packed",
        EXPERT + ".weight_scale",
        EXPERT + ".weight_shape",
    )
] + [
    (
        "missing_in_shard",
        lambda p: remove_tensor(p, "model.layers.1.self_attn.o_proj.weight", False),
        ["model.layers.1.self_attn.o_proj.weight"],
    ),
    (
        "f16_weight",
        lambda p: edit_tensor(p, "lm_head.weight", lambda t: t.update(dtype="F16")),
        ["lm_head.weight", "F16"],
    ),
    (
        "u32_codes",
        lambda p: edit_tensor(p, EXPERT + ".weight_packed", lambda t: t.update(dtype="U32")),
        [EXPERT + ".weight_packed", "U32"],
    ),
    (
        "f32_scale",
        lambda p: replace_tensor(p, EXPERT + ".weight_scale", "F32", np.ones((64, 2), np.float32)),
        [EXPERT + ".weight_scale", "F32"],
    ),
    (
        "i32_bias",
        lambda p: edit_tensor(
            p, "model.layers.1.mlp.gate.e_score_correction_bias", lambda t: t.update(dtype="I32")
        ),
        ["model.layers.1.mlp.gate.e_score_correction_bias"],
    ),
    (
        "transposed",
        lambda p: edit_tensor(
            p, "model.layers.0.mlp.up_proj.weight", lambda t: t["shape"].reverse()
        ),
        ["model.layers.0.mlp.up_proj.weight", "[64, 96]"],
    ),
    (
        "flat",
        lambda p: edit_tensor(p, "lm_head.weight", lambda t: t.update(shape=[512 * 64])),
        ["lm_head.weight"],
    ),
    (
        "norm_is_a_row",
        lambda p: edit_tensor(p, "model.norm.weight", lambda t: t.update(shape=[1, 64])),
        ["model.norm.weight"],
    ),
    (
        "short_vocabulary",
        lambda p: replace_tensor(
            p, "model.embed_tokens.weight", "BF16", np.zeros((511, 64), np.uint16)
        ),
        ["model.embed_tokens.weight", "511"],
    ),
    (
        "scale_per_channel",
        lambda p: replace_tensor(p, EXPERT + ".weight_scale", "BF16", np.ones((64, 1), np.uint16)),
        [EXPERT + ".weight_scale"],
    ),
    (
        "shape_value_wrong",
        lambda p: poke(p, EXPERT + ".weight_shape", 0, struct.pack("<i", 63)),
        [EXPERT + ".weight_shape", "63"],
    ),
    (
        "shape_value_negative",
        lambda p: poke(p, EXPERT + ".weight_shape", 1, struct.pack("<i", -64)),
        [EXPERT + ".weight_shape"],
    ),
    (
        "shape_of_three",
        lambda p: replace_tensor(
            p, EXPERT + ".weight_shape", "I32", np.array([64, 64, 1], np.int32)
        ),
        [EXPERT + ".weight_shape"],
    ),
    (
        "zero_point",
        lambda p: add_tensor(p, EXPERT + ".weight_zero_point", "I32"),
        [EXPERT + ".weight_zero_point"],
    ),
    ("g_idx", lambda p: add_tensor(p, EXPERT + ".weight_g_idx", "I32"), [EXPERT + ".weight_g_idx"]),
    (
        "fp8_scale",
        lambda p: add_tensor(p, "model.layers.0.mlp.up_proj.weight_scale_inv", "F32"),
        ["model.layers.0.mlp.up_proj.weight_scale_inv"],
    ),
    (
        "fp8_weight",
        lambda p: edit_tensor(
            p, "lm_head.weight", lambda t: t.update(dtype="F8_E4M3", shape=[1024, 64])
        ),
        ["lm_head.weight", "F8_E4M3"],
    ),
    (
        "a_bias",
        lambda p: add_tensor(p, "model.layers.1.self_attn.o_proj.bias", shape=(64,)),
        ["model.layers.1.self_attn.o_proj.bias"],
    ),
    (
        "one_layer_more",
        lambda p: add_tensor(p, "model.layers.3.input_layernorm.weight", shape=(64,)),
        ["model.layers.3.input_layernorm.weight"],
    ),
    (
        "one_expert_more",
        lambda p: add_tensor(p, "model.layers.1.mlp.experts.8.up_proj.weight_shape", "I32", (2,)),
        ["model.layers.1.mlp.experts.8.up_proj.weight_shape"],
    ),
    (
        "two_models",
        lambda p: add_tensor(p, "other.model.embed_tokens.weight", shape=(512, 64)),
        ["other.model.embed_tokens.weight"],
    ),
]

NAN, INF, NEGATIVE_NAN = b"\xc0\x7f", b"\x80\x7f", b"\x81\xff"
VALUES = [
    (
        "nan_in_" + name.split(".")[-2] + f"_{element}",
        lambda p, a=(name, element, bits): poke(p, *a),
        [name],
        READS,
    )
    for name, element, bits in (
        (EXPERT + ".weight_scale", 0, NAN),
        (EXPERT + ".weight_scale", -1, NEGATIVE_NAN),
        ("model.layers.2.mlp.experts.7.down_proj.weight_scale", 5, INF),
        ("model.norm.weight", 63, NAN),
        ("model.embed_tokens.weight", -1, INF),
        ("lm_head.weight", 0, NAN),
        ("model.layers.0.mlp.down_proj.weight", 77, b"\x80\xff"),
        ("model.layers.1.self_attn.kv_a_layernorm.weight", 0, NAN),
        ("model.layers.2.self_attn.kv_b_proj.weight", 100, NAN),
        ("model.layers.1.mlp.shared_experts.up_proj.weight", 9, NAN),
        ("model.layers.1.mlp.gate.weight", 3, INF),
    )
] + [
    (
        "nan_bias",
        lambda p: poke(
            p, "model.layers.2.mlp.gate.e_score_correction_bias", 7, struct.pack("<f", float("nan"))
        ),
        ["model.layers.2.mlp.gate.e_score_correction_bias"],
        READS,
    ),
    (
        "inf_bias",
        lambda p: poke(
            p,
            "model.layers.2.mlp.gate.e_score_correction_bias",
            0,
            struct.pack("<f", float("-inf")),
        ),
        ["model.layers.2.mlp.gate.e_score_correction_bias"],
        READS,
    ),
]

QUANT = "quantization_config.config_groups.group_0.weights."
NUMBERS = [
    (
        f"{key.split('.')[-1]}_{json.dumps(value)[:24]}",
        config(key, value),
        ["config.json", word or key.split(".")[-1]],
    )
    for key, value, word in (
        ("hidden_size", 0, None),
        ("hidden_size", -64, None),
        ("hidden_size", 1 << 31, None),
        ("hidden_size", 1 << 62, None),
        ("hidden_size", 64.5, None),
        ("hidden_size", "64", None),
        ("num_hidden_layers", 1_000_000_000, None),
        ("num_hidden_layers", 0, None),
        ("num_attention_heads", -1, None),
        ("vocab_size", 1 << 40, None),
        ("n_routed_experts", 1 << 30, None),
        ("num_experts_per_tok", 9, None),
        ("num_experts_per_tok", 0, None),
        ("kv_lora_rank", 31, None),
        ("moe_intermediate_size", 33, None),
        ("n_group", 3, None),
        ("topk_group", 2, None),
        ("rms_norm_eps", -1, None),
        ("rms_norm_eps", None, None),
        ("routed_scaling_factor", 1e300, None),
        ("rope_theta", 0, None),
        ("rope_scaling.factor", -1, None),
        ("rope_scaling.type", "dynamic", "dynamic"),
        ("rope_scaling.original_max_position_embeddings", 0, None),
        ("max_position_embeddings", 1 << 33, None),
        ("first_k_dense_replace", 99, None),
        ("eos_token_id", 512, None),
        ("eos_token_id", [1, -1], None),
        ("architectures", ["LlamaForCausalLM"], "LlamaForCausalLM"),
        ("model_type", "deepseek_v2", None),
        ("hidden_act", "relu", None),
        ("scoring_func", "softmax", None),
        ("topk_method", "greedy", None),
        ("attention_bias", True, None),
        ("tie_word_embeddings", True, None),
        ("quantization_config.quant_method", "fp8", "fp8"),
        (QUANT + "num_bits", 8, None),
        (QUANT + "group_size", 128, None),
        (QUANT + "symmetric", False, None),
    )
]

# Numbers that are fine alone but not those of the tensors.
MISMATCHES = [
    (f"{key}_{value}", config(key, value), [tensor])
    for key, value, tensor in (
        ("num_hidden_layers", 4, "model.layers.3."),
        ("num_hidden_layers", 2, "model.layers.2."),
        ("n_routed_experts", 9, "model.layers.1.mlp.gate.weight"),
        ("num_attention_heads", 8, "config.json"),
        ("hidden_size", 128, "model.embed_tokens.weight"),
        ("vocab_size", 768, "model.embed_tokens.weight"),
        ("kv_lora_rank", 30, "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"),
        ("q_lora_rank", None, "model.layers.0.self_attn.q_proj.weight"),
        ("n_shared_experts", 2, "model.layers.1.mlp.shared_experts.gate_proj.weight"),
        ("first_k_dense_replace", 2, "model.layers.1.mlp.gate_proj.weight"),
        ("moe_intermediate_size", 96, "model.layers.1.mlp."),
        ("quantization_config", None, "model.layers.1.mlp.experts.0.gate_proj.weight"),
    )
]


VOCABULARY = [
    ("no_tiktoken", lambda p: (p / "tiktoken.model").unlink(), ["tiktoken.model"], TOKENS),
    ("empty_tiktoken", lambda p: truncate(p / "tiktoken.model", 0), ["tiktoken.model"], TOKENS),
    ("cut_tiktoken", lambda p: truncate(p / "tiktoken.model", 1000), ["tiktoken.model"], TOKENS),
    ("bad_base64", tokenizer_line(9, b"!!!! 9\n"), ["tiktoken.model"], TOKENS),
    ("no_rank", tokenizer_line(9, b"AA==\n"), ["tiktoken.model"], TOKENS),
    ("rank_twice", tokenizer_line(9, b"AAAA 8\n"), ["tiktoken.model"], TOKENS),
    ("huge_rank", tokenizer_line(9, b"AAAA 99999999999999999999\n"), ["tiktoken.model"], TOKENS),
    (
        "binary_tiktoken",
        lambda p: (p / "tiktoken.model").write_bytes(bytes(range(256)) * 16),
        ["tiktoken.model"],
        TOKENS,
    ),
    (
        "no_tokenizer_config",
        lambda p: (p / "tokenizer_config.json").unlink(),
        ["tokenizer_config.json"],
        TOKENS,
    ),
    (
        "cut_tokenizer_config",
        lambda p: truncate(p / "tokenizer_config.json", 500),
        ["tokenizer_config.json"],
        TOKENS,
    ),
    (
        "control_id_negative",
        lambda p: edit_json(
            p / "tokenizer_config.json",
            lambda c: c["added_tokens_decoder"].update({"-5": {"content": "x", "special": True}}),
        ),
        ["tokenizer_config.json"],
        TOKENS,
    ),
    (
        "control_id_huge",
        lambda p: edit_json(
            p / "tokenizer_config.json",
            lambda c: c["added_tokens_decoder"].update(
                {"99999999": {"content": "x", "special": True}}
            ),
        ),
        ["tokenizer_config.json"],
        TOKENS,
    ),
    (
        "control_without_name",
        lambda p: edit_json(
            p / "tokenizer_config.json", lambda c: c["added_tokens_decoder"]["258"].pop("content")
        ),
        ["tokenizer_config.json"],
        TOKENS,
    ),
]


CASES = HEADER + FILES + TENSORS + VALUES + NUMBERS + MISMATCHES + VOCABULARY


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_damage_is_refused_by_name(call, copy, case):
    _, damage, words, commands = (*case, ALL)[:4]
    damage(copy)
    for command in commands:
        status, err = call(command, copy)
        assert status == 65, (command, err)
        last = err.strip().splitlines()[-1]
        for word in words:
            assert word in last, (command, err)


def test_truncation_at_every_boundary(call, copy):
    shard = copy / SHARD
    whole = shard.read_bytes()
    header, _ = read_shard(shard)
    (n,) = struct.unpack("<Q", whole[:8])
    ends = sorted(t["data_offsets"][1] for k, t in header.items() if k != "__metadata__")
    sizes = {0, 1, 7, 8, 9, 8 + n // 2, 8 + n - 1, 8 + n, len(whole) - 1}
    sizes |= {8 + n + end + by for end in ends[:: len(ends) // 8] for by in (-1, 0, 1)}
    for size in sorted(s for s in sizes if s < len(whole)):
        shard.write_bytes(whole[:size])
        for command in ("inspect", "verify"):
            status, err = call(command, copy)
            assert status == 65 and SHARD in err, (size, err)
    shard.write_bytes(whole)
    assert call("verify", copy)[0] == 0


def test_flipped_bits_never_crash(call, copy):
    """Random damage: some of it is harmless or cannot be seen, none of it may crash."""
    rng = np.random.default_rng(3)
    names = [
        "config.json",
        INDEX,
        SHARD,
        "tiktoken.model",
        "tokenizer_config.json",
        "generation_config.json",
    ]
    for i in range(60):
        path = copy / names[i % len(names)]
        whole = path.read_bytes()
        raw = bytearray(whole)
        for at in rng.integers(0, min(len(raw), 4000), 4):
            raw[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(raw)
        status, err = call("complete", copy)
        assert status in (0, 65), (path.name, status, err)
        assert status == 0 or path.name in err or "tensor" in err, err
        path.write_bytes(whole)


@pytest.mark.parametrize("fault", ["FAIL_ALLOC", "FAIL_IO"])
def test_failing_memory_and_reads(abruzzi, good, fault):
    """Not the checkpoint's fault: 71, whatever allocation or read it is that fails."""
    seen = 0
    for n in [*range(1, 30), 40, 80, 160, 320, 10**6]:
        status, err = run(abruzzi, "verify", good, ABRUZZI_FAULTS="1", **{fault: str(n)})
        assert status in (0, 71), (n, err)
        seen += status == 71
    assert status == 0 and seen >= 20
