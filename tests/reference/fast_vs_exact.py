"""How far `--numerics fast` is from exact on a checkpoint: KL divergence and top-1 agreement.

    python tests/reference/fast_vs_exact.py CHECKPOINT [--tokens N] [--ids FILE] [--margin M]

One sequence, every position teacher-forced: the same ids go through both numerics, so a difference
at one position never changes what the next one is asked. KL is of fast from exact, in nats, per
position. On random weights most of it comes from expert selections that flip near a tie, not from
rounding: so flips are counted, and fast is measured once more with the experts exact chose: what
is left then is arithmetic. With --margin (small models only: it runs the NumPy code) positions are also counted
apart: clear, where every layer's own selection leads by more than M, and near, the rest. A clear
position still attends to near ones, so what it shows is an upper bound for rounding alone.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from harness import run_tool
from kimi_ref import Model


def random_text_ids(vocab, count, seed):
    """Uniform ids: there is no text a random model would find natural."""
    return np.random.default_rng(seed).integers(0, vocab, count)


def divergence(exact, fast):
    """(KL [positions], whether the most likely id agrees [positions])"""
    kl = np.empty(len(exact))
    for row in range(len(exact)):  # a row at a time: a vocabulary of 163,840 in float64
        p, q = exact[row].astype(np.float64), fast[row].astype(np.float64)
        kl[row] = np.sum(np.exp(p) * (p - q))
    return kl, exact.argmax(axis=1) == fast.argmax(axis=1)


def summary(what, kl, same):
    if not len(kl):
        return f"{what}: no positions"
    return (
        f"{what}: {len(kl)} positions, mean KL {kl.mean():.2e}, median {np.median(kl):.2e}, "
        f"max {kl.max():.2e}, top-1 agreement {100 * same.mean():.2f} %"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ids", help="file of decimal ids instead of random ones")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--margin", type=float, help="count positions apart by their margins")
    args = parser.parse_args()
    config = Model.read_config(args.checkpoint)
    if args.ids:
        ids = [int(i) for i in Path(args.ids).read_text().split()][: args.tokens]
    else:
        ids = random_text_ids(config["vocab_size"], args.tokens, args.seed)
    with tempfile.TemporaryDirectory() as work:

        def run(numerics, **options):
            rows, stats = run_tool(
                args.checkpoint, ids, work, "cpu", numerics=numerics, threads=args.threads, **options
            )
            print(f"{numerics}: {stats}")
            return rows

        def read_experts(path):
            return np.fromfile(path, dtype="<i4").reshape(len(ids), -1, config["num_experts_per_tok"])

        exact_file, fast_file = Path(work) / "exact", Path(work) / "fast"
        exact, fast = run("exact", experts=exact_file), run("fast", experts=fast_file)
        chosen, chosen_fast = read_experts(exact_file), read_experts(fast_file)
        kl, same = divergence(exact, fast)
        print(summary("fast against exact", kl, same))
        is_moe = (chosen >= 0).all(axis=(0, 2))
        flips = (chosen != chosen_fast).any(axis=2)[:, is_moe]
        print(
            f"selections that differ: {flips.sum()} of {flips.size} ({100 * flips.mean():.2f} %), "
            f"at {flips.any(axis=1).sum()} of {len(flips)} positions; by layer, %: "
            + " ".join(f"{100 * share:.1f}" for share in flips.mean(axis=0))
        )
        forced = run("fast", force_experts=exact_file)
        print(summary("the same experts forced", *divergence(exact, forced)))
    if args.margin is not None:
        margins = Model(args.checkpoint).forward(ids).margins
        clear = (margins > args.margin).all(axis=0)
        print(summary(f"clear (every margin above {args.margin:g})", kl[clear], same[clear]))
        print(summary("near", kl[~clear], same[~clear]))


if __name__ == "__main__":
    main()
