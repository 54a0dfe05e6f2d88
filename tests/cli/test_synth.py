"""abruzzi synth: checkpoints read back by a parser that shares nothing with the program."""

import base64
import fcntl
import hashlib
import json
import os
import re
import subprocess

import numpy as np
import pytest
import tiktoken

DTYPES = {"BF16": np.dtype("<u2"), "F32": np.dtype("<f4"), "I32": np.dtype("<i4")}


def run_synth(abruzzi, out, *flags):
    return subprocess.run(
        [abruzzi, "synth", out, *map(str, flags)], capture_output=True, text=True, timeout=300
    )


def synth(abruzzi, out, *flags):
    done = run_synth(abruzzi, out, *flags)
    assert done.returncode == 0, done.stderr
    return out


def read_shard(path):
    """{name: (dtype, array)}, after checking every rule of the format."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + length].decode("utf-8")
    assert text[0] == "{" and text == text.rstrip() + " " * (length - len(text.rstrip()))
    header = json.loads(text)
    assert header.pop("__metadata__") == {"format": "pt"}
    tensors, at = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        dtype = DTYPES[entry["dtype"]]
        assert begin == at and begin % dtype.itemsize == 0
        assert end - begin == np.prod(entry["shape"]) * dtype.itemsize
        raw = data[8 + length + begin : 8 + length + end]
        tensors[name] = (entry["dtype"], np.frombuffer(raw, dtype).reshape(entry["shape"]))
        at = end
    assert 8 + length + at == len(data)
    return tensors


def read_checkpoint(path):
    index = json.loads((path / "model.safetensors.index.json").read_text())
    tensors = {}
    for file in sorted(set(index["weight_map"].values())):
        shard = read_shard(path / file)
        assert all(index["weight_map"][name] == file for name in shard)
        assert not tensors.keys() & shard.keys()
        tensors.update(shard)
    assert tensors.keys() == index["weight_map"].keys()
    assert index["metadata"]["total_size"] == sum(a.nbytes for _, a in tensors.values())
    return tensors


def widen(bf16):
    return (bf16.astype(np.uint32) << 16).view(np.float32)


def sizes(config):
    """{end of a tensor's name: its shape in this config}; the longest end that fits counts."""
    c = config
    heads, nope, rope, v = (
        c["num_attention_heads"],
        c["qk_nope_head_dim"],
        c["qk_rope_head_dim"],
        c["v_head_dim"],
    )
    h, e = c["hidden_size"], c["moe_intermediate_size"]
    return {
        "layernorm.weight": [h],
        "q_a_proj.weight": [c["q_lora_rank"], h],
        "q_a_layernorm.weight": [c["q_lora_rank"]],
        "q_b_proj.weight": [heads * (nope + rope), c["q_lora_rank"]],
        "kv_a_proj_with_mqa.weight": [c["kv_lora_rank"] + rope, h],
        "kv_a_layernorm.weight": [c["kv_lora_rank"]],
        "kv_b_proj.weight": [heads * (nope + v), c["kv_lora_rank"]],
        "o_proj.weight": [h, heads * v],
        "layers.0.mlp.gate_proj.weight": [c["intermediate_size"], h],
        "layers.0.mlp.up_proj.weight": [c["intermediate_size"], h],
        "layers.0.mlp.down_proj.weight": [h, c["intermediate_size"]],
        "mlp.gate.weight": [c["n_routed_experts"], h],
        "e_score_correction_bias": [c["n_routed_experts"]],
        "shared_experts.gate_proj.weight": [e * c["n_shared_experts"], h],
        "shared_experts.up_proj.weight": [e * c["n_shared_experts"], h],
        "shared_experts.down_proj.weight": [h, e * c["n_shared_experts"]],
        "gate_proj.weight_packed": [e, h // 8],
        "up_proj.weight_packed": [e, h // 8],
        "down_proj.weight_packed": [h, e // 8],
        "gate_proj.weight_scale": [e, h // 32],
        "up_proj.weight_scale": [e, h // 32],
        "down_proj.weight_scale": [h, e // 32],
        "weight_shape": [2],
        "embed_tokens.weight": [c["vocab_size"], h],
        "norm.weight": [h],
        "lm_head.weight": [c["vocab_size"], h],
    }


def expected(inventory, config):
    """{name: (dtype, shape)} from K2-Thinking's tensor patterns, with this config's numbers."""
    shapes = sorted(sizes(config).items(), key=lambda item: -len(item[0]))
    result = {}
    for pattern in inventory["K2-Thinking"]:
        shape = next(s for end, s in shapes if pattern["name"].endswith(end))
        first, last = pattern.get("layers", "0-0").split("-")[0], config["num_hidden_layers"]
        layers = range(int(first), 1 if pattern.get("layers") == "0" else last)
        experts = range(config["n_routed_experts"] if "experts" in pattern else 1)
        for layer in layers if "layers" in pattern else [0]:
            for expert in experts:
                name = pattern["name"].replace("{L}", str(layer)).replace("{E}", str(expert))
                result[name] = (pattern["dtype"], shape)
    return result


def test_inventory(tiny, shared):
    config = json.loads((tiny / "config.json").read_text())
    inventory = json.loads((shared / "data/inventories/kimi_int4_tensors.json").read_text())
    found = {n: (d, list(a.shape)) for n, (d, a) in read_checkpoint(tiny).items()}
    assert found == expected(inventory, config)


def test_shard_names(tiny):
    files = sorted(p.name for p in tiny.glob("*.safetensors"))
    assert len(files) >= 3
    for i, file in enumerate(files):
        assert file == f"model-{i + 1:05}-of-{len(files):06}.safetensors"
    # A shard a layer, then the ends.
    for i, file in enumerate(files[:-1]):
        assert all(n.startswith(f"model.layers.{i}.") for n in read_shard(tiny / file))
    last = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    assert read_shard(tiny / files[-1]).keys() == last


def test_values(tiny):
    tensors = read_checkpoint(tiny)
    for name, (dtype, array) in tensors.items():
        if name.endswith("weight_shape"):
            packed = tensors[name.replace("weight_shape", "weight_packed")][1]
            assert array.tolist() == [packed.shape[0], packed.shape[1] * 8]
        elif dtype == "BF16":
            values = widen(array)
            assert np.isfinite(values).all()
            assert not name.endswith("weight_scale") or (values > 0).all()
            assert not name.endswith("norm.weight") or 0.5 < values.min() < values.max() < 1.5
        elif dtype == "F32":
            assert np.isfinite(array).all() and 0 < np.abs(array).max() < 0.5


def test_int4_codes(tiny):
    tensors = read_checkpoint(tiny)
    name = "model.layers.2.mlp.experts.5.down_proj.weight"
    packed, scale = tensors[name + "_packed"][1], widen(tensors[name + "_scale"][1])
    # Plain bytes: byte b of a row has column 2b in its low nibble, 2b + 1 in the high one.
    raw = packed.astype("<i4").view(np.uint8).reshape(packed.shape[0], -1)
    codes = np.stack([raw & 15, raw >> 4], axis=2).reshape(packed.shape[0], -1).astype(int) - 8
    assert set(np.unique(codes)) >= set(range(-7, 8))
    # Normal and symmetric in every column of a word, scaled to the deviation that keeps size.
    for column in range(8):
        part = codes[:, column::8]
        assert abs(part.mean()) < 0.1 and 2.8 < part.std() < 3.1
    weights = codes * np.repeat(scale, 32, axis=1)
    groups = np.abs(codes).reshape(codes.shape[0], -1, 32).max(axis=2)
    assert groups.min() >= 3 and scale.std() > 0.1 * scale.mean()
    assert np.corrcoef(weights[:, 0], weights[:, 1])[0, 1] < 0.2


def test_configs(tiny):
    config = json.loads((tiny / "config.json").read_text())
    generation = json.loads((tiny / "generation_config.json").read_text())
    tokenizer = json.loads((tiny / "tokenizer_config.json").read_text())
    names = {int(i): t["content"] for i, t in tokenizer["added_tokens_decoder"].items()}
    first = config["vocab_size"] - 256
    assert names[config["bos_token_id"]] == "[BOS]" and config["bos_token_id"] == first
    assert names[config["eos_token_id"]] == "<|im_end|>"
    assert names[config["pad_token_id"]] == "[PAD]" and config["pad_token_id"] == first + 255
    assert generation == {
        "max_length": config["max_position_embeddings"],
        "eos_token_id": config["eos_token_id"],
    }
    assert config["num_attention_heads"] == 8 and config["moe_intermediate_size"] % 256 == 0
    assert list(config) == sorted(config)


def test_control_names(tiny, shared):
    """The generated control tokens are Kimi's, moved."""
    ours = json.loads((tiny / "tokenizer_config.json").read_text())
    kimi = json.loads((shared / "data/kimi-tokenizer/tokenizer_config.json").read_text())
    first = json.loads((tiny / "config.json").read_text())["vocab_size"] - 256

    def moved(entries, by):
        return {int(i) - by: entry for i, entry in entries["added_tokens_decoder"].items()}

    assert moved(ours, first) == moved(kimi, 163584)
    assert {**ours, "added_tokens_decoder": 0} == {**kimi, "added_tokens_decoder": 0}


def read_vocabulary(path):
    tokens = []
    for i, line in enumerate(path.read_text().splitlines()):
        token, rank = line.split(" ")
        assert int(rank) == i
        tokens.append(base64.b64decode(token, validate=True))
    assert len(set(tokens)) == len(tokens)
    return tokens


def merges_of(ranks, text):
    """What byte-pair merging makes of `text`, slowly."""
    parts = [text[i : i + 1] for i in range(len(text))]
    while len(parts) > 1:
        pairs = [ranks.get(a + b, len(ranks)) for a, b in zip(parts, parts[1:])]
        best = min(pairs)
        if best == len(ranks):
            break
        i = pairs.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def check_vocabulary(path, n):
    tokens = read_vocabulary(path)
    assert len(tokens) == n
    ranks = {token: i for i, token in enumerate(tokens)}
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order = printable + [b for b in range(256) if b not in printable]
    assert tokens[:256] == [bytes([b]) for b in order]
    for i, token in enumerate(tokens):
        assert merges_of(ranks, token) == [token]
        assert i < 256 or any(
            max(ranks.get(token[:k], i), ranks.get(token[k:], i)) < i for k in range(1, len(token))
        )
    return ranks


def test_tiny_vocabulary(tiny):
    ranks = check_vocabulary(tiny / "tiktoken.model", 768)
    assert b" the" in ranks and '{"'.encode() in ranks and "你好".encode() in ranks
    encoding = tiktoken.Encoding(
        "tiny", pat_str=r"\s?\S+|\s+", mergeable_ranks=ranks, special_tokens={}
    )
    text = 'What is the weather in Rome? {"city": "Roma"} 你好，世界。\n\x00\x7f naïve'
    ids = encoding.encode(text)
    assert encoding.decode(ids) == text
    assert len(ids) < len(text.encode()) * 0.7


def test_sizes_on_request(abruzzi, tmp_path):
    """The three flags; a vocabulary large enough to have all kinds of generated tokens."""
    out = synth(
        abruzzi, tmp_path / "m", "--preset", "tiny", "--vocab", 40000, "--layers", 2, "--experts", 4
    )
    config = json.loads((out / "config.json").read_text())
    assert (config["vocab_size"], config["num_hidden_layers"], config["n_routed_experts"]) == (
        40000,
        2,
        4,
    )
    check_vocabulary(out / "tiktoken.model", 40000 - 256)
    tensors = read_checkpoint(out)
    assert tensors["lm_head.weight"][1].shape == (40000, 256)
    experts = {re.search(r"experts\.(\d+)\.", n)[1] for n in tensors if ".experts." in n}
    assert experts == {"0", "1", "2", "3"}


def hashes(path):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in path.iterdir()}


def test_seed(abruzzi, tiny, tmp_path):
    same = synth(abruzzi, tmp_path / "same", "--preset", "tiny")
    other = synth(abruzzi, tmp_path / "other", "--preset", "tiny", "--seed", 12345)
    assert hashes(same) == hashes(tiny)
    changed = {name for name, h in hashes(other).items() if h != hashes(tiny)[name]}
    assert changed == {p.name for p in tiny.glob("*.safetensors")} | {"synthesis.json"}


def test_real_tokenizer(abruzzi, shared, tmp_path):
    source = shared / "data/kimi-tokenizer"
    flags = ["--preset", "tiny", "--layers", 1, "--tokenizer", source]
    out = synth(abruzzi, tmp_path / "m", *flags)
    config = json.loads((out / "config.json").read_text())
    assert config["vocab_size"] == 163840
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (
        163584,
        163586,
        163839,
    )
    for name in ("tiktoken.model", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    # A checkpoint's own tokenizer can be kept.
    synth(abruzzi, out, "--preset", "tiny", "--layers", 1, "--tokenizer", out)
    assert (out / "tiktoken.model").read_bytes() == (source / "tiktoken.model").read_bytes()
    done = run_synth(abruzzi, tmp_path / "n", *flags, "--vocab", 1024)
    assert done.returncode == 64 and "vocab_size 1024" in done.stderr


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--preset", "huge"], ["huge"]),
        (["--preset", "tiny", "--vocab", "300"], ["vocab_size"]),
        (["--preset", "tiny", "--experts", "2"], ["num_experts_per_tok"]),
    ],
)
def test_refused(abruzzi, tmp_path, flags, words):
    done = run_synth(abruzzi, tmp_path / "m", *flags)
    assert done.returncode == 64
    assert all(word in done.stderr for word in words)
    assert not (tmp_path / "m").exists()


def test_foreign_directory(abruzzi, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    done = run_synth(abruzzi, tmp_path, "--preset", "tiny")
    assert done.returncode == 64 and str(tmp_path) in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_missing_tokenizer(abruzzi, tmp_path):
    done = run_synth(abruzzi, tmp_path / "m", "--preset", "tiny", "--tokenizer", tmp_path / "none")
    assert done.returncode == 65 and "none" in done.stderr


def test_two_at_once_are_one_too_many(abruzzi, tmp_path):
    out = synth(abruzzi, tmp_path / "out")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    folder = os.open(out, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # as a synthesis that is still writing holds it
    done = run_synth(abruzzi, out, "--seed", 2)
    assert done.returncode == 71
    assert done.stderr == f"abruzzi synth: {out}: another synthesis is writing there\n"
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    os.close(folder)
    synth(abruzzi, out, "--seed", 2)
    shard = "model-00001-of-000005.safetensors"
    assert (out / shard).read_bytes() != before[shard]
