"""What only shows after a while: memory that grows, answers that drift, rare schedules.

ABRUZZI_SOAK_SECONDS (600) is how long each test goes on.
"""

import os
import pathlib
import subprocess
import time

import pytest

SECONDS = float(os.environ.get("ABRUZZI_SOAK_SECONDS", "600"))
FIRST_SEED = 1000  # make test runs the seeds below


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/status has no VmRSS")


@pytest.fixture
def completing(abruzzi, tiny):
    """`abruzzi complete` reading prompts from its standard input, with a cache that must evict."""
    command = [abruzzi, "complete", "--model", tiny, "--json", "--temperature", "0"]
    command += ["--max-tokens", "16", "--ignore-eos", "--max-model-len", "512"]
    command += ["--kv-cache-memory-bytes", "4M", "--log-level", "error"]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    yield child
    child.stdin.close()
    child.stdout.close()
    child.kill()
    child.wait()


def ask(child, prompt):
    child.stdin.write(prompt + "\n")
    child.stdin.flush()
    answer = child.stdout.readline()
    assert answer, f"the program ended: {child.poll()}"
    return answer


def without_usage(answer):
    """Cached tokens may differ from time to time; what was computed may not."""
    return answer[: answer.index('"usage"')]


def test_memory_and_answers_stay(completing):
    prompts = [f"{word} " * (1 + 7 * i) for i, word in enumerate(["a", "the", "mountain", "山"])]
    first = {prompt: without_usage(ask(completing, prompt)) for prompt in prompts}
    deadline, rounds, settled = time.monotonic() + SECONDS, 0, None
    half = deadline - SECONDS / 2
    while time.monotonic() < deadline:
        for prompt in prompts:
            assert without_usage(ask(completing, prompt)) == first[prompt]
            ask(completing, f"{rounds} {prompt}")  # a new prefix each time, so the cache evicts
        rounds += 1
        if settled is None and rounds >= 20 and time.monotonic() > half:
            settled = resident_kib(completing.pid)
    assert settled is not None, f"only {rounds} rounds: give it more time"
    assert resident_kib(completing.pid) <= settled + 1024, "memory grows"


@pytest.mark.parametrize("variant", ["", "variant-address", "variant-thread"])
def test_engine_seeds(root, variant):
    program = root / "build" / variant / "tests" / "unit" / "test_engine_random"
    if not program.exists():
        pytest.skip(f"{program} is not built")
    deadline, seed = time.monotonic() + SECONDS, FIRST_SEED
    while time.monotonic() < deadline:
        env = {**os.environ, "ENGINE_TEST_SEED": str(seed)}
        done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
        seed += 1
    assert seed > FIRST_SEED
