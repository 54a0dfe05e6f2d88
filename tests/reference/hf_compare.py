"""The reference backend and the NumPy code against transformers' DeepseekV3ForCausalLM.

Both sides get the same weights: BF16 as stored, INT4 as code x scale unrounded, which float32
holds exactly. Transformers runs in float32 with plain (eager) attention. Its two inner norms have
eps 1e-6 whatever the config says, so ours are told the same. Needs torch and transformers:

    python tests/reference/hf_compare.py [--ids N] [--backend reference|cpu]

Transformers also computes rotary frequencies and angles in float32. At position 4,000 an angle is
then off by some 1e-4, which is the largest difference there is; "numpy, their angles" is the
NumPy code given exactly those angles, to show that nothing else differs.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from harness import TOOL, configurations, random_ids, run_tool, write_model
from kimi_ref import Model

INNER_EPS = 1e-6

# "mixed" is left out: transformers has no moe_layer_freq and always wants a shared expert.
COMPARED = ["k2", "k25", "deepseek", "moonlight", "single", "all"]


def hf_config(config):
    from transformers import DeepseekV3Config

    known = dict(config.get("text_config", config))
    for key in ("model_type", "architectures", "quantization_config", "moe_layer_freq"):
        known.pop(key, None)
    return DeepseekV3Config(**known, attn_implementation="eager")


def hf_state(ours):
    """Our float64 weights under transformers' names; a layer's experts are stacked there."""
    state = {}
    experts = ours.config["n_routed_experts"]
    for name in sorted({n.rsplit(".weight", 1)[0] for n in ours.tensors}):
        if ".mlp.experts." in name:
            continue
        if name.endswith("e_score_correction_bias"):
            state[name] = ours.tensors[name]
            continue
        state[name + ".weight"] = ours.weight(name)
        if name.endswith("mlp.gate"):
            at = name.removesuffix("gate") + "experts."
            stacks = {
                kind: np.stack([ours.weight(f"{at}{e}.{kind}_proj") for e in range(experts)])
                for kind in ("gate", "up", "down")
            }
            both = np.concatenate([stacks["gate"], stacks["up"]], axis=1)
            state[at + "gate_up_proj"], state[at + "down_proj"] = both, stacks["down"]
    return state


def hf_logprobs(ours, config, ids):
    import torch
    from transformers import DeepseekV3ForCausalLM

    theirs = DeepseekV3ForCausalLM(hf_config(config)).float().eval()
    state = {
        name: torch.from_numpy(np.array(value, dtype=np.float32))
        for name, value in hf_state(ours).items()
    }
    theirs.load_state_dict(state, strict=True)
    with torch.no_grad():
        logits = theirs(torch.tensor(np.asarray(ids)[None]), use_cache=False).logits[0]
    return torch.log_softmax(logits.double(), dim=-1).numpy()


class TheirAngles(Model):
    """Rotary frequencies as transformers computes them, and angles rounded to float32."""

    def __init__(self, path, config):
        from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RotaryEmbedding

        super().__init__(path, INNER_EPS)
        self.inv_freq = DeepseekV3RotaryEmbedding(hf_config(config)).inv_freq.numpy()

    def angles(self, positions):
        return super().angles(positions.astype(np.float32)).astype(np.float64)


def compare(name, count, work, backend="reference"):
    """Largest differences of log-probabilities and the smallest margin of an expert selection."""
    config, seed = configurations()[name]
    path = Path(work) / name
    write_model(path, config, seed)
    ids = random_ids(config, count, seed)
    ours = Model(path, inner_eps=INNER_EPS)
    expected = ours.forward(ids)
    theirs = hf_logprobs(ours, config, ids)
    with_angles = TheirAngles(path, config).forward(ids)
    result = {
        "margin": expected.margins.min(initial=np.inf),
        "numpy": np.abs(expected.logprobs - theirs).max(),
        "numpy, their angles": np.abs(with_angles.logprobs - theirs).max(),
    }
    if TOOL.exists():
        options = {"inner_eps": INNER_EPS, "prefill_chunks": 256}
        got, _ = run_tool(path, ids, work, backend, **options)
        result[backend] = np.abs(got - theirs).max()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ids", type=int, default=300, help="tokens of the sequence")
    parser.add_argument("--backend", default="reference")
    parser.add_argument("names", nargs="*", default=COMPARED)
    args = parser.parse_args()
    import torch
    import transformers

    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {args.ids} tokens")
    with tempfile.TemporaryDirectory() as work:
        for name in args.names:
            result = compare(name, args.ids, work, args.backend)
            print(name, " ".join(f"{key} {value:.2e}" for key, value in result.items()))


if __name__ == "__main__":
    main()
