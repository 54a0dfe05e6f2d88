#!/usr/bin/env python3
"""Prints the speed of Abruzzi's tokenizer beside tiktoken's on the same texts, in one run.

    build/venv/bin/python bench/token_speed.py [--build build] [--shared ../shared] [--rounds 3]

Needs `make bench venv` and the model's tokenizer in ../shared. Times are processor time of one thread,
the best of the rounds; the two take turns, so that both see the same machine.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cli"))

from test_tokenizer_oracle import Reference, cuts  # noqa: E402

MEGABYTES = 2


def prose(shared):
    records = [json.loads(line) for line in open(shared / "data/gsm8k/train.jsonl", encoding="utf-8")]
    return "\n\n".join(r["question"] + "\n" + r["answer"] for r in records)


def minified_json(text):
    rng, words, records = random.Random(1), text.split(), []
    for number in range(12000 * MEGABYTES):
        records.append(
            {
                "id": number,
                rng.choice(words): rng.choice(words),
                "list": [rng.random(), None, True, rng.randrange(1000)],
                "nested": {rng.choice(words).lower(): " ".join(rng.choices(words, k=3))},
            }
        )
    return json.dumps(records, separators=(",", ":"))


def han(shared):
    guide = (shared / "seed/guide.zh.txt").read_text(encoding="utf-8")
    found = [c for c in guide if "\u4e00" <= c <= "\u9fff"]
    return "".join(random.Random(1).choices(found, k=400_000 * MEGABYTES))


def texts(shared):
    size = 1_000_000 * MEGABYTES
    english = prose(shared)
    yield "prose (GSM8K)", english[:size]
    yield "C source", "".join(p.read_text() for p in sorted(ROOT.glob("src/*/*.c")))[:size]
    yield "minified JSON", minified_json(english)[:size]
    yield "Chinese guide", (shared / "seed/guide.zh.txt").read_text(encoding="utf-8") * 40
    yield "Han, any order", han(shared)
    yield "one letter", "a" * size
    yield "spaces", " " * size


def ours(program, folder, file):
    done = subprocess.run([program, folder, file, "1"], capture_output=True, check=True, text=True)
    return json.loads(done.stdout)


def theirs(reference, parts):
    """Without the cutting, which is Python's time and not tiktoken's; ours is with it."""
    start = time.thread_time()
    count = sum(len(reference.encoding.encode_ordinary(part)) for part in parts)
    return count, time.thread_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--shared", type=pathlib.Path, default=ROOT.parent / "shared")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    folder = args.shared / "data/kimi-tokenizer"
    reference = Reference(folder)
    print(f"{'text':16}{'MB':>6}{'ids':>9}{'abruzzi MB/s':>14}{'tiktoken MB/s':>15}{'ratio':>8}")
    with tempfile.NamedTemporaryFile() as file:
        for name, text in texts(args.shared):
            data, parts = text.encode("utf-8"), list(cuts(text))
            pathlib.Path(file.name).write_bytes(data)
            best = [0.0, 0.0]
            for _ in range(args.rounds):
                result = ours(args.build / "bench/token_speed", folder, file.name)
                count, seconds = theirs(reference, parts)
                assert count == result["ids"], f"{name}: {count} ids, ours {result['ids']}"
                best[0] = max(best[0], result["MB_per_s"])
                best[1] = max(best[1], len(data) / seconds / 1e6)
            print(
                f"{name:16}{len(data) / 1e6:6.1f}{count:9}{best[0]:14.1f}{best[1]:15.1f}"
                f"{best[0] / best[1]:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
