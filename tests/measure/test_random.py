"""The generators of src/measure/random.c beside numpy's and Python's own."""

import random
import subprocess

import numpy as np
import pytest

SEEDS = [0, 1, 42, 1234, 2**31, 2**32 - 1]
LARGE_SEEDS = [*SEEDS, 2**32, 2**40 + 7, 2**64 - 1]


@pytest.fixture
def compare(build):
    """Draws what the lines of (line, expected numbers) ask for, and expects these numbers."""

    def run(cases, number=int):
        done = subprocess.run(
            [build / "tests/tools/draws"],
            input="\n".join(line for line, _ in cases) + "\n",
            capture_output=True,
            text=True,
            check=True,
        )
        found = done.stdout.splitlines()
        assert len(found) == len(cases)
        for (line, expected), words in zip(cases, found):
            assert [number(x) for x in words.split()] == list(expected), line

    return run


def test_numpy_doubles(compare):
    cases = []
    for seed in SEEDS:
        values = np.random.RandomState(seed).random_sample(2000)
        cases.append((f"numpy {seed} double 2000", values))
    compare(cases, float)


@pytest.mark.parametrize("shape", [0, 0.1, 0.5, 0.99, 1, 1.01, 2, 3.7, 50, 1000])
def test_numpy_gamma(compare, shape):
    cases = []
    for seed in SEEDS:
        values = np.random.RandomState(seed).gamma(shape=shape, scale=0.125, size=1500)
        cases.append((f"numpy {seed} gamma {shape} 0.125 1500", values))
    compare(cases, float)


def test_python_doubles(compare):
    cases = []
    for seed in LARGE_SEEDS:
        source = random.Random(seed)
        cases.append((f"python {seed} double 2000", [source.random() for _ in range(2000)]))
    compare(cases, float)


def test_python_choice(compare):
    cases = []
    for seed in LARGE_SEEDS:
        for n in (1, 2, 3, 1000, 2**32 - 1, 2**32, 2**32 + 1, 2**63 + 5):
            source = random.Random(seed)
            cases.append((f"python {seed} below {n} 300",
                          [source.choice(range(n)) if n < 2**63 else source.randrange(n)
                           for _ in range(300)]))
    compare(cases)


def test_python_sample(compare):
    cases = []
    for seed in LARGE_SEEDS:
        # Around the sizes at which Python goes over from a list to a set.
        for n, k in [(0, 0), (5, 0), (5, 5), (21, 5), (22, 5), (85, 6), (86, 6), (1000, 5),
                     (7473, 5), (1000, 85), (1045, 86), (1046, 86), (3000, 3000), (10**12, 400)]:
            cases.append((f"python {seed} sample {n} {k}",
                          random.Random(seed).sample(range(n), k)))
    compare(cases)


def test_python_shuffle(compare):
    cases = []
    for seed in LARGE_SEEDS:
        for n in (0, 1, 2, 17, 1319):
            items = list(range(n))
            random.Random(seed).shuffle(items)
            cases.append((f"python {seed} shuffle {n}", items))
    compare(cases)


RANGES = [(0, 1, 3), (5, 6, 1), (0, 2, 101), (0, 163840, 999), (8000, 8001, 7), (0, 1000, 33),
          (0, 2**32 - 1, 51), (0, 2**32, 51), (0, 2**32 + 1, 51), (-5, 17, 31),
          (-(2**63), 2**63 - 1, 41), (0, 3 * 2**61, 201), (0, 3 * 2**30, 201)]


@pytest.mark.parametrize("seed", LARGE_SEEDS)
def test_pcg_integers(compare, seed):
    cases = []
    for ranges in [*([r] for r in RANGES), RANGES, RANGES[::-1]]:
        source = np.random.default_rng(seed)
        expected = []
        for low, high, n in ranges:
            expected += source.integers(low, high, size=n).tolist()
        words = " ".join(f"{low} {high} {n}" for low, high, n in ranges)
        cases.append((f"pcg {seed} integers {words}", expected))
    compare(cases)
