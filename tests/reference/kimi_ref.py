"""Kimi-K2 (DeepSeek-V3 architecture) in float64 NumPy, from a checkpoint directory to
log-probabilities: an independent second opinion on the C code, from the published formula alone.

    model = Model("DIR")
    result = model.forward([1, 2, 3])
    result.logprobs   float64 [positions, vocab]
    result.margins    float64 [moe layers, positions], see below

Weights are what the files say, (nibble - 8) * scale unrounded; nothing is rounded in between.

A margin tells how clear an expert selection was: the last chosen score minus the best one that was
not chosen, relative to the former; where experts come in groups the groups' margin counts too, and
the smaller of both is given. Arithmetic with relative errors near a margin may choose differently,
and then the difference downstream has nothing to do with the size of those errors.
"""

import json
import math
import os
import struct
from dataclasses import dataclass

import numpy as np


# Checkpoint files


def read_safetensors(path):
    """{name: array}; BF16 is widened to float32, which is exact."""
    with open(path, "rb") as f:
        raw = f.read()
    (size,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    dtypes = {"BF16": "<u2", "F32": "<f4", "I32": "<i4", "I64": "<i8"}
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + at for at in entry["data_offsets"])
        array = np.frombuffer(raw[begin:end], dtype=dtypes[entry["dtype"]])
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = array.reshape(entry["shape"])
    return tensors


def read_checkpoint(path):
    with open(os.path.join(path, "model.safetensors.index.json")) as f:
        weight_map = json.load(f)["weight_map"]
    tensors = {}
    for file in sorted(set(weight_map.values())):
        shard = read_safetensors(os.path.join(path, file))
        tensors.update({name: t for name, t in shard.items() if weight_map.get(name) == file})
    prefix = "language_model."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def unpack_int4(packed, scale):
    """weight_packed [out, in / 8], weight_scale [out, in / 32] -> float64 [out, in]."""
    rows = packed.shape[0]
    octets = np.ascontiguousarray(packed).view(np.uint8)  # byte b: columns 2b (low), 2b + 1
    codes = np.empty((rows, 2 * octets.shape[1]))
    codes[:, 0::2] = octets & 15
    codes[:, 1::2] = octets >> 4
    return (codes - 8) * np.repeat(scale.astype(np.float64), 32, axis=1)


# Rotary embedding


def rope_parameters(config):
    """(inv_freq [rope / 2], multiplier of cos and sin, softmax scale)"""
    dim, base = config["qk_rope_head_dim"], config["rope_theta"]
    head_dim = config["qk_nope_head_dim"] + dim
    pair = np.arange(dim // 2)
    plain = float(base) ** (-2.0 * pair / dim)
    scaling = config.get("rope_scaling")
    if not scaling:
        return plain, 1.0, head_dim**-0.5
    factor, trained = scaling["factor"], scaling["original_max_position_embeddings"]

    def turns(r):  # the dimension whose wave turns r times within the trained length
        return dim * math.log(trained / (2 * math.pi * r)) / (2 * math.log(base))

    low = max(math.floor(turns(scaling["beta_fast"])), 0)
    high = min(math.ceil(turns(scaling["beta_slow"])), dim - 1)
    ramp = np.clip((pair - low) / ((high - low) or 0.001), 0, 1)
    inv_freq = plain / factor * ramp + plain * (1 - ramp)

    def mscale(m):
        return 1.0 if factor <= 1 else 0.1 * m * math.log(factor) + 1.0

    of_all = mscale(scaling.get("mscale_all_dim", 0))
    return inv_freq, mscale(scaling.get("mscale", 1)) / of_all, head_dim**-0.5 * of_all**2


# Forward pass


def rmsnorm(x, weight, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * weight


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def best(values, count):
    """Indices of the `count` largest along the last axis, ties by the lower index."""
    return np.argsort(-values, axis=-1, kind="stable")[..., :count]


def margin(values, count):
    """How clearly the `count` largest lead, relative to the last of them."""
    ordered = -np.sort(-values, axis=-1)
    if count == values.shape[-1]:
        return np.full(values.shape[:-1], np.inf)
    last, following = ordered[..., count - 1], ordered[..., count]
    return (last - following) / np.maximum(np.abs(last), 1e-300)


@dataclass
class Result:
    logprobs: np.ndarray
    margins: np.ndarray


class Model:
    @staticmethod
    def read_config(path):
        with open(os.path.join(path, "config.json")) as f:
            config = json.load(f)
        return config.get("text_config", config)

    def __init__(self, path, inner_eps=None):
        self.config = config = self.read_config(path)
        self.tensors = read_checkpoint(path)
        self.eps = config["rms_norm_eps"]
        self.inner_eps = self.eps if inner_eps is None else inner_eps
        self.inv_freq, self.cos_sin_scale, self.softmax_scale = rope_parameters(config)

    def weight(self, name):
        """Any matrix or vector of the checkpoint in float64."""
        packed = self.tensors.get(name + ".weight_packed")
        if packed is not None:
            return unpack_int4(packed, self.tensors[name + ".weight_scale"])
        return self.tensors[name + ".weight"].astype(np.float64)

    def linear(self, x, name):
        return x @ self.weight(name).T

    def angles(self, positions):
        return positions[:, None] * self.inv_freq

    def rotate(self, x, positions):
        """Rotates the pairs (x[2i], x[2i + 1]) of the last axis; x [positions, ..., rope]."""
        turn = self.cos_sin_scale * np.exp(1j * self.angles(positions))
        turn = turn.reshape(len(positions), *[1] * (x.ndim - 2), -1)
        turned = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)

    def attention(self, x, at):
        config, n = self.config, len(x)
        heads, nope = config["num_attention_heads"], config["qk_nope_head_dim"]
        rank = config["kv_lora_rank"]
        positions = np.arange(n)
        if config.get("q_lora_rank"):
            low = self.linear(x, at + "q_a_proj")
            low = rmsnorm(low, self.weight(at + "q_a_layernorm"), self.inner_eps)
            q = self.linear(low, at + "q_b_proj")
        else:
            q = self.linear(x, at + "q_proj")
        q = q.reshape(n, heads, -1)
        q_pe = self.rotate(q[:, :, nope:], positions)
        compressed = self.linear(x, at + "kv_a_proj_with_mqa")
        latent = rmsnorm(compressed[:, :rank], self.weight(at + "kv_a_layernorm"), self.inner_eps)
        k_pe = self.rotate(compressed[:, rank:], positions)
        kv = self.linear(latent, at + "kv_b_proj").reshape(n, heads, -1)
        out = np.empty((n, heads, config["v_head_dim"]))
        for head in range(heads):
            k, v = kv[:, head, :nope], kv[:, head, nope:]
            for begin in range(0, n, 512):  # a band of queries, to bound memory
                end = min(begin + 512, n)
                scores = q[begin:end, head, :nope] @ k[:end].T
                scores += q_pe[begin:end, head] @ k_pe[:end].T
                scores *= self.softmax_scale
                scores[positions[:end] > positions[begin:end, None]] = -np.inf
                p = np.exp(scores - scores.max(axis=1, keepdims=True))
                out[begin:end, head] = p / p.sum(axis=1, keepdims=True) @ v[:end]
        return self.linear(out.reshape(n, -1), at + "o_proj")

    def mlp(self, x, at):
        gate = self.linear(x, at + "gate_proj")
        return self.linear(gate * sigmoid(gate) * self.linear(x, at + "up_proj"), at + "down_proj")

    def route(self, x, at):
        """(experts [rows, k], their weights [rows, k], margins [rows])"""
        config, n = self.config, len(x)
        scores = sigmoid(self.linear(x, at + "gate"))
        choice = scores + self.tensors[at + "gate.e_score_correction_bias"].astype(np.float64)
        clear = np.full(n, np.inf)
        groups, kept = config.get("n_group") or 1, config.get("topk_group") or 1
        if groups > 1:
            grouped = choice.reshape(n, groups, -1)
            group_score = -np.sort(-grouped, axis=2)[:, :, :2].sum(axis=2)
            stays = np.zeros((n, groups), dtype=bool)
            np.put_along_axis(stays, best(group_score, kept), True, axis=1)
            choice = np.where(stays[:, :, None], grouped, 0.0).reshape(n, -1)
            clear = margin(group_score, kept)
        k = config["num_experts_per_tok"]
        chosen = best(choice, k)
        weights = np.take_along_axis(scores, chosen, axis=1)
        if config["norm_topk_prob"]:
            weights = weights / (weights.sum(axis=1, keepdims=True) + 1e-20)
        clear = np.minimum(clear, margin(choice, k))
        return chosen, weights * config["routed_scaling_factor"], clear

    def moe(self, x, at):
        chosen, weights, clear = self.route(x, at)
        out = np.zeros_like(x)
        for expert in np.unique(chosen):
            rows, slots = np.nonzero(chosen == expert)
            out[rows] += weights[rows, slots, None] * self.mlp(x[rows], f"{at}experts.{expert}.")
        if self.config.get("n_shared_experts"):
            out += self.mlp(x, at + "shared_experts.")
        return out, clear

    def forward(self, ids, first=0):
        """Log-probabilities after each prefix ids[:p + 1], p from `first` on."""
        h = self.weight("model.embed_tokens")[np.asarray(ids)]
        margins = []
        for layer in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{layer}."
            x = rmsnorm(h, self.weight(at + "input_layernorm"), self.eps)
            h = h + self.attention(x, at + "self_attn.")
            x = rmsnorm(h, self.weight(at + "post_attention_layernorm"), self.eps)
            if at + "mlp.gate.weight" in self.tensors:
                y, clear = self.moe(x, at + "mlp.")
                margins.append(clear)
            else:
                y = self.mlp(x, at + "mlp.")
            h = h + y
        x = rmsnorm(h[first:], self.weight("model.norm"), self.eps)
        logits = self.linear(x, "lm_head")
        logits -= logits.max(axis=1, keepdims=True)
        logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return Result(logprobs, np.array(margins).reshape(-1, len(ids)))
