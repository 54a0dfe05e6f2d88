"""Running build/tests/tools/logprobs from Python, and the configurations the comparisons use."""

import os
import subprocess
from pathlib import Path
from unittest import mock

import make_checkpoint
import numpy as np
from make_checkpoint import tiny_config, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / os.environ.get("ABRUZZI_BUILD", "build") / "tests/tools/logprobs"

YARN_K2 = {
    "beta_fast": 1.0,
    "beta_slow": 1.0,
    "factor": 64.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 4096,
    "type": "yarn",
}
YARN_K25 = dict(YARN_K2, beta_fast=32.0)
YARN_DEEPSEEK = dict(YARN_K2, beta_fast=32.0, factor=40.0)


def configurations():
    """{name: (config, seed)}: between them every branch of the formula that a config can take.

    The seeds are such that no expert selection of the tests is near enough to a tie to flip under
    float32 arithmetic; the tests print the smallest margins and check that they are not.
    """
    return {
        # K2-Thinking in small: INT4, one shared expert, a hard YaRN step, real rotary dimensions.
        "k2": (
            tiny_config(
                n_routed_experts=16,
                num_experts_per_tok=4,
                qk_rope_head_dim=64,
                qk_nope_head_dim=32,
                kv_lora_rank=64,
                rope_scaling=YARN_K2,
                max_position_embeddings=262144,
            ),
            11,
        ),
        # K2.5: a YaRN ramp; names with a prefix and the config one level down.
        "k25": (
            nested(
                tiny_config(
                    num_attention_heads=8,
                    num_key_value_heads=8,
                    n_routed_experts=24,
                    num_experts_per_tok=8,
                    moe_intermediate_size=256,
                    qk_rope_head_dim=64,
                    qk_nope_head_dim=16,
                    v_head_dim=32,
                    rope_scaling=YARN_K25,
                    max_position_embeddings=262144,
                )
            ),
            22,
        ),
        # DeepSeek-V3: groups, BF16 experts, three dense layers, other eps and scale.
        "deepseek": (
            tiny_config(
                int4=False,
                num_hidden_layers=5,
                first_k_dense_replace=3,
                n_routed_experts=32,
                num_experts_per_tok=6,
                n_group=8,
                topk_group=4,
                moe_intermediate_size=32,
                qk_rope_head_dim=32,
                rms_norm_eps=1e-6,
                routed_scaling_factor=2.5,
                rope_theta=10000.0,
                rope_scaling=YARN_DEEPSEEK,
                max_position_embeddings=163840,
            ),
            153,
        ),
        # Moonlight: q_proj without a latent, two shared experts, no rope scaling, BF16 experts.
        "moonlight": (
            tiny_config(
                int4=False,
                q_lora_rank=None,
                n_shared_experts=2,
                n_routed_experts=12,
                num_experts_per_tok=6,
                moe_intermediate_size=96,
                routed_scaling_factor=2.446,
                rope_scaling=None,
                max_position_embeddings=8192,
            ),
            4,
        ),
        # q_proj with INT4 experts and groups, no shared expert, every second layer dense.
        "mixed": (
            tiny_config(
                q_lora_rank=None,
                hidden_size=96,
                intermediate_size=160,
                num_hidden_layers=5,
                moe_layer_freq=2,
                n_shared_experts=0,
                n_routed_experts=16,
                num_experts_per_tok=3,
                n_group=4,
                topk_group=2,
                v_head_dim=24,
                kv_lora_rank=48,
                rope_scaling=dict(YARN_K25, mscale=0.7, factor=4.0),
                max_position_embeddings=16384,
            ),
            15,
        ),
        # One expert a token, weights not normalised, three shared experts, all layers MoE.
        "single": (
            tiny_config(
                first_k_dense_replace=0,
                num_hidden_layers=2,
                n_routed_experts=5,
                num_experts_per_tok=1,
                n_shared_experts=3,
                norm_topk_prob=False,
                rms_norm_eps=1e-6,
                rope_theta=800000.0,
                rope_scaling=None,
                max_position_embeddings=8192,
            ),
            16,
        ),
        # Every expert chosen, odd sizes, no dense layer, wide latent.
        "all": (
            tiny_config(
                hidden_size=160,
                num_attention_heads=5,
                num_key_value_heads=5,
                q_lora_rank=72,
                kv_lora_rank=96,
                qk_nope_head_dim=40,
                qk_rope_head_dim=16,
                v_head_dim=56,
                first_k_dense_replace=0,
                n_routed_experts=4,
                num_experts_per_tok=4,
                moe_intermediate_size=32,
                vocab_size=300,
                rope_scaling=dict(YARN_K2, factor=32.0),
                max_position_embeddings=131072,
            ),
            7,
        ),
    }


def nested(config):
    """The same model as K2.5 stores it: language_model.* names, config under text_config."""
    outer = {"architectures": ["KimiK25ForConditionalGeneration"], "model_type": "kimi_k25"}
    return dict(outer, text_config=config)


def write_model(path, config, seed):
    """write_checkpoint, but with INT4 codes over their whole range: its -7 become -8."""
    quantize = make_checkpoint.quantize_int4

    def with_lowest_code(w):
        packed, scale = quantize(w)
        words = packed.view(np.uint32)
        for k in range(8):
            ones = (words >> np.uint32(4 * k) & np.uint32(15)) == 1
            words = words - (ones.astype(np.uint32) << np.uint32(4 * k))
        return words.view(np.int32), scale

    with mock.patch.object(make_checkpoint, "quantize_int4", with_lowest_code):
        write_checkpoint(path, config, seed)


def vocab_size(config):
    return config.get("text_config", config)["vocab_size"]


def random_ids(config, count, seed):
    return np.random.default_rng(seed).integers(0, vocab_size(config), count)


def run_tool(checkpoint, ids, work, backend="reference", **options):
    """Log-probabilities float32 [positions, vocab] and the tool's line of statistics."""
    ids_file, out_file = Path(work) / "ids.txt", Path(work) / "out.bin"
    ids_file.write_text(" ".join(str(int(i)) for i in ids))
    command = [str(TOOL), str(checkpoint), "--ids", str(ids_file), "--out", str(out_file)]
    command += ["--backend", backend]
    for name, value in options.items():
        command += ["--" + name.replace("_", "-"), str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    rows = np.fromfile(out_file, dtype="<f4").reshape(len(ids) - options.get("first", 0), -1)
    return rows, done.stderr.strip()
