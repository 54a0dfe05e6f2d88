"""Random checkpoints in the Kimi-K2-Thinking file format, written with NumPy alone.

Independent of `abruzzi synth` on purpose: what the program writes and reads could be wrong twice in
the same way. Tensors are scaled so that activations stay of order one through all layers.

    python tests/reference/make_checkpoint.py OUT [--config config.json] [--seed N] [--shards N]
"""

import argparse
import base64
import itertools
import json
import os
import struct

import numpy as np

GROUP = 32

# Offsets from the first control id; names not listed are "<|reserved_token_ID|>".
CONTROL_TOKENS = {
    0: ("[BOS]", True),
    1: ("[EOS]", True),
    2: ("<|im_end|>", True),
    3: ("<|im_user|>", True),
    4: ("<|im_assistant|>", True),
    6: ("<|start_header_id|>", True),
    7: ("<|end_header_id|>", True),
    9: ("[EOT]", True),
    10: ("<|im_system|>", True),
    11: ("<|tool_calls_section_begin|>", False),
    12: ("<|tool_calls_section_end|>", False),
    13: ("<|tool_call_begin|>", False),
    14: ("<|tool_call_argument_begin|>", False),
    15: ("<|tool_call_end|>", False),
    17: ("<|im_middle|>", True),
    18: ("<|media_begin|>", True),
    19: ("<|media_content|>", True),
    20: ("<|media_end|>", True),
    21: ("<|media_pad|>", True),
    22: ("<think>", False),
    23: ("</think>", False),
}

QUANTIZATION = {
    "config_groups": {
        "group_0": {
            "input_activations": None,
            "output_activations": None,
            "targets": ["Linear"],
            "weights": {
                "actorder": None,
                "block_structure": None,
                "dynamic": False,
                "group_size": GROUP,
                "num_bits": 4,
                "observer": "minmax",
                "observer_kwargs": {},
                "strategy": "group",
                "symmetric": True,
                "type": "int",
            },
        }
    },
    "format": "pack-quantized",
    "ignore": [
        "lm_head",
        "re:.*self_attn.*",
        "re:.*shared_experts.*",
        "re:.*mlp\\.(gate|up|gate_up|down)_proj.*",
    ],
    "kv_cache_scheme": None,
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
}


def n_ordinary(vocab_size):
    """Ordinary tokens of the generated tokenizer: all but 256 control ids, as in the real one."""
    return vocab_size - min(256, vocab_size - 256)


def tiny_config(int4=True, **overrides):
    """A small but complete config.json; keyword arguments replace keys."""
    config = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "attention_bias": False,
        "first_k_dense_replace": 1,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 96,
        "kv_lora_rank": 32,
        "max_position_embeddings": 4096,
        "model_type": "kimi_k2",
        "moe_intermediate_size": 64,
        "moe_layer_freq": 1,
        "n_group": 1,
        "n_routed_experts": 8,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_attention_heads": 4,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "num_nextn_predict_layers": 0,
        "q_lora_rank": 48,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "beta_fast": 1.0,
            "beta_slow": 1.0,
            "factor": 64.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 64,
            "type": "yarn",
        },
        "rope_theta": 50000.0,
        "routed_scaling_factor": 2.827,
        "scoring_func": "sigmoid",
        "tie_word_embeddings": False,
        "topk_group": 1,
        "topk_method": "noaux_tc",
        "torch_dtype": "bfloat16",
        "v_head_dim": 16,
        "vocab_size": 512,
    }
    if int4:
        config["quantization_config"] = QUANTIZATION
    config.update(overrides)
    if "eos_token_id" not in overrides:
        vocab = config["vocab_size"]
        config["eos_token_id"] = n_ordinary(vocab) + 2 if vocab >= 282 else vocab - 1
    return config


def to_bf16(x):
    """float32 -> uint16 with the bits of BF16, round to nearest even. Finite input only."""
    u = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(h):
    """uint16 with the bits of BF16 -> float32."""
    return (np.asarray(h, dtype=np.uint32) << 16).view(np.float32)


def quantize_int4(w):
    """[out, in] float32 -> weight_packed int32 [out, in / 8], weight_scale bf16 [out, in / 32]."""
    rows, cols = w.shape
    groups = w.reshape(rows, cols // GROUP, GROUP)
    scale = to_bf16(np.abs(groups).max(axis=2) / 7)
    code = np.rint(groups / np.maximum(from_bf16(scale), 1e-30)[:, :, None])
    code = np.clip(code, -8, 7).astype(np.int64).reshape(rows, cols // 8, 8)
    nibbles = (code + 8).astype(np.uint32)
    packed = np.zeros((rows, cols // 8), dtype=np.uint32)
    for k in range(8):
        packed |= nibbles[:, :, k] << np.uint32(4 * k)
    return packed.view(np.int32), scale


def dequantize_int4(packed, scale):
    """The weights a checkpoint means: (nibble - 8) * scale, as float64 [out, in]."""
    words = packed.view(np.uint32)
    nibbles = np.stack([(words >> np.uint32(4 * k)) & np.uint32(15) for k in range(8)], axis=2)
    rows = words.shape[0]
    code = nibbles.astype(np.float64).reshape(rows, -1, GROUP) - 8
    return (code * from_bf16(scale).astype(np.float64)[:, :, None]).reshape(rows, -1)


def is_moe_layer(text, layer):
    return (
        bool(text.get("n_routed_experts"))
        and layer >= text["first_k_dense_replace"]
        and layer % text.get("moe_layer_freq", 1) == 0
    )


def make_tensors(config, seed=0, shape_dtype="I32", inv_freq=False):
    """All tensors in checkpoint order: {name: (dtype, array)}; BF16 arrays are uint16 bits."""
    text = config.get("text_config", config)
    prefix = "language_model." if "text_config" in config else ""
    int4 = bool(text.get("quantization_config") or config.get("quantization_config"))
    rng = np.random.default_rng(seed)
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    nope, rope, v = text["qk_nope_head_dim"], text["qk_rope_head_dim"], text["v_head_dim"]
    kv_lora, q_lora = text["kv_lora_rank"], text.get("q_lora_rank")
    tensors = {}

    def normal(rows, cols):
        return rng.standard_normal((rows, cols), dtype=np.float32) / np.float32(np.sqrt(cols))

    def linear(name, rows, cols):
        tensors[prefix + name + ".weight"] = ("BF16", to_bf16(normal(rows, cols)))

    def norm(name, size):
        w = 1 + 0.1 * np.clip(rng.standard_normal(size), -3, 3)
        tensors[prefix + name + ".weight"] = ("BF16", to_bf16(w))

    def expert(name, rows, cols):
        if not int4:
            linear(name, rows, cols)
            return
        packed, scale = quantize_int4(normal(rows, cols))
        tensors[prefix + name + ".weight_packed"] = ("I32", packed)
        tensors[prefix + name + ".weight_scale"] = ("BF16", scale)
        shape = np.array([rows, cols], dtype=np.int32 if shape_dtype == "I32" else np.int64)
        tensors[prefix + name + ".weight_shape"] = (shape_dtype, shape)

    def mlp(name, width, matrix):
        matrix(name + ".gate_proj", width, hidden)
        matrix(name + ".up_proj", width, hidden)
        matrix(name + ".down_proj", hidden, width)

    embed = rng.standard_normal((text["vocab_size"], hidden))
    tensors[prefix + "model.embed_tokens.weight"] = ("BF16", to_bf16(embed))
    n_layers = text["num_hidden_layers"]
    for layer in range(n_layers + text.get("num_nextn_predict_layers", 0)):
        at = f"model.layers.{layer}."
        norm(at + "input_layernorm", hidden)
        norm(at + "post_attention_layernorm", hidden)
        if q_lora:
            linear(at + "self_attn.q_a_proj", q_lora, hidden)
            norm(at + "self_attn.q_a_layernorm", q_lora)
            linear(at + "self_attn.q_b_proj", heads * (nope + rope), q_lora)
        else:
            linear(at + "self_attn.q_proj", heads * (nope + rope), hidden)
        linear(at + "self_attn.kv_a_proj_with_mqa", kv_lora + rope, hidden)
        norm(at + "self_attn.kv_a_layernorm", kv_lora)
        linear(at + "self_attn.kv_b_proj", heads * (nope + v), kv_lora)
        linear(at + "self_attn.o_proj", hidden, heads * v)
        if inv_freq:
            stale = np.ones(max(1, rope // 2 - 1))
            tensors[prefix + at + "self_attn.rotary_emb.inv_freq"] = ("BF16", to_bf16(stale))
        if not is_moe_layer(text, layer):
            mlp(at + "mlp", text["intermediate_size"], linear)
            continue
        n_experts, width = text["n_routed_experts"], text["moe_intermediate_size"]
        linear(at + "mlp.gate", n_experts, hidden)
        bias = (0.05 * rng.standard_normal(n_experts)).astype(np.float32)
        tensors[prefix + at + "mlp.gate.e_score_correction_bias"] = ("F32", bias)
        if text.get("n_shared_experts"):
            mlp(at + "mlp.shared_experts", text["n_shared_experts"] * width, linear)
        for e in range(n_experts):
            mlp(at + f"mlp.experts.{e}", width, expert)
    norm("model.norm", hidden)
    linear("lm_head", text["vocab_size"], hidden)
    return tensors


def safetensors_bytes(tensors, metadata=None):
    """One shard. Wider types first, as the reference writer does, so that all are aligned."""
    width = {"I64": 8, "I32": 4, "F32": 4, "BF16": 2}
    order = sorted(tensors, key=lambda name: -width[tensors[name][0]])
    header, parts, offset = {"__metadata__": metadata or {"format": "pt"}}, [], 0
    for name in order:
        dtype, array = tensors[name]
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(raw)],
        }
        parts.append(raw)
        offset += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def write_shards(path, tensors, n_shards):
    """Cuts the tensors, in order, into shards of about equal size and writes the index."""
    total = sum(array.nbytes for _, array in tensors.values())
    shards, size = [{} for _ in range(n_shards)], 0
    for name, value in tensors.items():
        shards[min(n_shards - 1, size * n_shards // max(1, total))][name] = value
        size += value[1].nbytes
    weight_map = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05d}-of-{n_shards:06d}.safetensors"
        with open(os.path.join(path, file), "wb") as f:
            f.write(safetensors_bytes(shard))
        weight_map.update({name: file for name in shard})
    with open(os.path.join(path, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f, indent=1)


def byte_order():
    """Single bytes by rank, GPT-2's order: printable ones first."""
    first = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return first + [b for b in range(256) if b not in first]


def write_tokenizer(path, vocab_size):
    """tiktoken.model and tokenizer_config.json that fill `vocab_size` ids (282 or more)."""
    n = n_ordinary(vocab_size)
    tokens = [bytes([b]) for b in byte_order()]
    letters = b"etaoinshrdlucmfwypvbgkjqxz"
    merges = itertools.chain.from_iterable(
        itertools.product(letters, repeat=length) for length in (2, 3, 4)
    )
    tokens += [bytes(m) for m in itertools.islice(merges, n - 256)]
    if len(tokens) != n or vocab_size - n < 26:
        raise ValueError(f"vocab_size {vocab_size}: no generated tokenizer of that size")
    with open(os.path.join(path, "tiktoken.model"), "wb") as f:
        for rank, token in enumerate(tokens):
            f.write(base64.b64encode(token) + b" %d\n" % rank)
    names = {n + offset: value for offset, value in CONTROL_TOKENS.items()}
    names[vocab_size - 2] = ("[UNK]", True)
    names[vocab_size - 1] = ("[PAD]", True)
    added = {
        str(i): {
            "content": name,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": special,
        }
        for i, (name, special) in sorted(names.items())
    }
    config = {
        "added_tokens_decoder": added,
        "bos_token": "[BOS]",
        "eos_token": "[EOS]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "model_max_length": 1000000000,
        "tokenizer_class": "TikTokenTokenizer",
    }
    with open(os.path.join(path, "tokenizer_config.json"), "w") as f:
        json.dump(config, f, indent=2)


def write_checkpoint(path, config, seed=0, n_shards=3, shape_dtype="I32", inv_freq=False):
    """Writes a whole checkpoint directory and returns its tensors ({name: (dtype, array)}).

    config            a complete config.json; experts are INT4 when it has a quantization_config,
                      names get the prefix "language_model." when it has a text_config
    shape_dtype       of the weight_shape tensors: "I32" or "I64"
    inv_freq          add the stale rotary_emb.inv_freq tensors that loaders must ignore
    The tokenizer is only written when vocab_size leaves room for it (282 or more).
    """
    os.makedirs(path, exist_ok=True)
    text = config.get("text_config", config)
    tensors = make_tensors(config, seed, shape_dtype, inv_freq)
    write_shards(path, tensors, n_shards)
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
    generation = {
        "max_length": text["max_position_embeddings"],
        "eos_token_id": text.get("eos_token_id"),
    }
    with open(os.path.join(path, "generation_config.json"), "w") as f:
        json.dump(generation, f, indent=2)
    if text["vocab_size"] >= 282:
        write_tokenizer(path, text["vocab_size"])
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--config", help="config.json to follow (default: a tiny one)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=3)
    args = parser.parse_args()
    config = tiny_config()
    if args.config:
        with open(args.config) as f:
            config = json.load(f)
    write_checkpoint(args.out, config, args.seed, args.shards)


if __name__ == "__main__":
    main()
