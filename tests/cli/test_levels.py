"""The kernel levels from outside: each gives the scalar level's answer, to the last bit."""

import os
import pathlib
import subprocess

import pytest

# What a level needs, in the words of /proc/cpuinfo.
LEVELS = {
    "avx2": {"avx2", "fma"},
    "avx512": {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl",
               "avx512_vnni"},
}
PROMPTS = {"short": range(1, 6), "long": range(100, 170)}


def cpu_flags():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def complete(abruzzi, model, level, *args):
    """The JSON lines as printed; the log says that the level asked for is the one that ran."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("ABRUZZI_")}
    done = subprocess.run(
        [abruzzi, "complete", "--model", model, "--max-model-len", "512", "--json", *args],
        capture_output=True,
        text=True,
        env=env | {"ABRUZZI_CPU": level},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"(cpu, {level} kernels," in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def answer(abruzzi, tiny):
    """The answer of a level, worked out once for each level, numerics and prompt."""
    known = {}

    def get(level, numerics, prompt):
        key = level, numerics, prompt
        if key not in known:
            known[key] = complete(
                abruzzi, tiny, level, "--numerics", numerics, "--max-tokens", "32", "--seed", "1",
                "--prompt-ids", ",".join(map(str, PROMPTS[prompt])), "--logprobs", "3",
                "--prompt-logprobs", "3",
            )
        return known[key]

    return get


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("numerics", ["exact", "fast"])
@pytest.mark.parametrize("level", LEVELS)
def test_level_answers_as_scalar_does(answer, level, numerics, prompt):
    missing = LEVELS[level] - cpu_flags()
    if missing:
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    wanted = answer("scalar", numerics, prompt)
    assert '"logprob"' in wanted
    assert answer(level, numerics, prompt) == wanted


def test_numerics_are_told_apart(answer):
    """Or the comparison above would see one of them twice."""
    assert answer("scalar", "exact", "long") != answer("scalar", "fast", "long")
