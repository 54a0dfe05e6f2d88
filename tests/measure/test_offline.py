"""abruzzi bench throughput and abruzzi bench latency on a tiny checkpoint."""

import json
import random
import re
import signal
import statistics
import subprocess
import time

import numpy as np
import pytest

NUMBER = r"(\d+(?:\.\d+)?(?:e-?\d+)?)"
ROOFLINE = re.compile(
    rf"Weights read: {NUMBER} GB/s, {NUMBER} % of the {NUMBER} GB/s that "
    r"(?:(\d+) threads read|1 thread reads) from this machine's memory"
)


@pytest.fixture
def bench(abruzzi, tiny):
    def run(kind, *flags, model=True, status=0):
        command = [abruzzi, "bench", kind, *([tiny] if model else []), *map(str, flags)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == status, done.stderr
        return done

    return run


def check_roofline(line, result, threads):
    gbs, share, memory, n = ROOFLINE.fullmatch(line).groups()
    assert int(n or 1) == threads
    assert float(gbs) == pytest.approx(result["weight_gb_per_second"], abs=0.006)
    assert float(memory) == pytest.approx(result["memory_gb_per_second"], abs=0.006)
    assert float(share) == pytest.approx(100 * result["roofline_share"], abs=0.06)
    assert result["roofline_share"] == pytest.approx(
        result["weight_gb_per_second"] / result["memory_gb_per_second"]
    )
    assert result["weight_gb_per_second"] > 0


# throughput ----------------------------------------------------------------------------------


def check_throughput(done, path, n, prompt_tokens, output_tokens, threads=1):
    result = json.loads(path.read_text())
    lines = done.stdout.splitlines()[-4:]
    found = re.fullmatch(
        rf"Throughput: {NUMBER} requests/s, {NUMBER} total tokens/s, {NUMBER} output tokens/s",
        lines[0],
    )
    seconds, total = result["elapsed_time"], prompt_tokens + output_tokens
    expected = [n / seconds, total / seconds, output_tokens / seconds]
    assert [float(x) for x in found.groups()] == pytest.approx(expected, abs=0.006)
    assert lines[1] == f"Total num prompt tokens:  {prompt_tokens}"
    assert lines[2] == f"Total num output tokens:  {output_tokens}"
    check_roofline(lines[3], result, threads)
    assert result["num_requests"] == n and result["total_num_tokens"] == total
    assert result["requests_per_second"] == pytest.approx(expected[0])
    assert result["tokens_per_second"] == pytest.approx(expected[1])
    # vLLM's keys, in its order and its indent, before ours
    assert list(result)[:6] == ["model_id", "elapsed_time", "num_requests", "total_num_tokens",
                                "requests_per_second", "tokens_per_second"]
    assert path.read_text().startswith('{\n    "model_id": "')
    return result


@pytest.mark.parametrize("threads", [1, 2])
def test_random(bench, build, tiny, tmp_path, threads):
    out = tmp_path / "t.json"
    lengths = subprocess.run(
        [build / "tests/tools/samples", tiny, "random", "12", "40", "6", "5", "0.5", "3", "0"],
        capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [json.loads(line) for line in lengths]
    done = bench("throughput", "--random-input-len", 40, "--output-len", 6, "--num-prompts", 12,
                 "--random-prefix-len", 5, "--random-range-ratio", 0.5, "--seed", 3,
                 "--threads", threads, "--output-json", out)
    result = check_throughput(done, out, 12, sum(r["prompt_len"] for r in rows),
                              sum(r["output_len"] for r in rows), threads)
    assert result["model_id"] == str(tiny)


def test_choices_and_warmups(bench, tmp_path):
    out = tmp_path / "t.json"
    done = bench("throughput", "--input-len", 16, "--output-len", 5, "--num-prompts", 6, "--n", 3,
                 "--num-warmups", 2, "--max-num-seqs", 4, "--disable-detokenize", "--threads", 1,
                 "--output-json", out)
    assert "Warming up with 2 requests...\n" in done.stdout
    assert out.exists()
    assert "Total num output tokens:  90\n" in done.stdout  # of the six, not of the two


def test_end_of_sequence_does_not_end(bench):
    """As many tokens as asked for, whatever is sampled: 60 of 768 ids, and one is the end."""
    done = bench("throughput", "--input-len", 8, "--output-len", 200, "--num-prompts", 8,
                 "--threads", 1)
    assert "Total num output tokens:  1600\n" in done.stdout


def test_sharegpt(bench, tmp_path):
    source = random.Random(1)

    def text():
        return " ".join(source.choice(["so", "it", "goes", "on"]) for _ in range(9))

    path = tmp_path / "s.json"
    path.write_text(json.dumps([{"conversations": [{"value": text()}, {"value": text()}]}
                                for _ in range(5)]))
    done = bench("throughput", "--dataset-path", path, "--num-prompts", 9, "--output-len", 4,
                 "--threads", 1)
    assert "Total num output tokens:  36\n" in done.stdout
    done = bench("throughput", "--dataset-path", path, "--num-prompts", 9, "--output-len", 4,
                 "--no-oversample", "--threads", 1)
    assert "Total num output tokens:  20\n" in done.stdout


def test_custom(bench, tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"prompt": "abc", "output_tokens": 3}\n{"prompt": "d", "output_tokens": 5}\n')
    flags = ["--dataset-name", "custom", "--dataset-path", path, "--num-prompts", 2, "--threads", 1]
    plain = bench("throughput", *flags, "--skip-chat-template").stdout
    assert "Total num output tokens:  8\n" in plain
    chat = bench("throughput", *flags).stdout
    prompts = [int(re.search(r"prompt tokens:  (\d+)", text)[1]) for text in (plain, chat)]
    assert prompts[1] > prompts[0] + 2 * 10  # the template's own


WRONG = [
    (["--dataset-name", "sharegpt"], "--dataset-path"),
    (["--dataset-name", "random", "--dataset-path", "x"], "--dataset-path"),
    (["--dataset-path", "/nonexistent/s.json"], "/nonexistent/s.json"),
    (["--dataset-name", "sonnet"], "--dataset-name"),
    (["--random-range-ratio", "1"], "--random-range-ratio"),
    (["--input-len", "0", "--num-prompts", "1"], "--random-input-len"),
    (["--num-prompts", "0"], "--num-prompts"),
    (["--input-len", "300000", "--num-prompts", "1"], "max_model_len"),
    (["--max-model-len", "64", "--input-len", "40", "--output-len", "30", "--num-prompts", "1"],
     "max_model_len 64"),
    (["--tensor-parallel-size", "8"], "--tensor-parallel-size"),
    (["--output-json", "/nonexistent/o.json", "--num-prompts", "1", "--input-len", "4",
      "--output-len", "1"], "/nonexistent/o.json"),
]


@pytest.mark.parametrize("flags, word", WRONG)
def test_wrong(abruzzi, tiny, flags, word):
    done = subprocess.run([abruzzi, "bench", "throughput", tiny, "--threads", "1", *flags],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode in (64, 71) and word in done.stderr
    assert done.stderr.count("abruzzi bench throughput: ") == 1


def test_no_model(bench):
    for kind in ("throughput", "latency"):
        assert "no model given" in bench(kind, model=False, status=64).stderr


@pytest.mark.parametrize("kind", ["throughput", "latency"])
def test_interrupt(abruzzi, tiny, kind, tmp_path):
    """Ctrl-C ends a run that would take minutes, without numbers of what was not done."""
    out = tmp_path / "o.json"
    flags = ["--num-prompts", "1000", "--input-len", "300"] if kind == "throughput" else [
        "--num-iters", "1000", "--output-len", "1000"]
    log = tmp_path / "log"
    with open(log, "w") as stderr:
        process = subprocess.Popen(
            [abruzzi, "bench", kind, tiny, "--threads", "1", "--output-json", out, *flags],
            stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        until = time.monotonic() + 60
        while "it/s" not in log.read_text():
            assert time.monotonic() < until and process.poll() is None, log.read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert "Throughput" not in stdout and "latency" not in stdout and not out.exists()


# latency -------------------------------------------------------------------------------------


def test_latency(bench, tiny, tmp_path):
    out = tmp_path / "l.json"
    done = bench("latency", "--input-len", 10, "--output-len", 4, "--batch-size", 3, "--threads", 2,
                 "--num-iters", 7, "--num-iters-warmup", 2, "--output-json", out)
    result = json.loads(out.read_text())
    seconds = result["latencies"]
    assert len(seconds) == 7 and min(seconds) > 0
    assert result["avg_latency"] == pytest.approx(statistics.mean(seconds))
    assert result["std_latency"] == pytest.approx(statistics.pstdev(seconds))
    percents = [10, 25, 50, 75, 90, 99]
    assert list(result["percentiles"]) == [str(p) for p in percents]
    assert list(result["percentiles"].values()) == pytest.approx(np.percentile(seconds, percents))
    keys = ["model_id", "avg_latency", "std_latency", "latencies", "percentiles"]
    assert list(result)[:5] == keys
    lines = done.stdout.splitlines()
    expected = ["Warming up...", f"Avg latency: {result['avg_latency']} seconds",
                f"Std latency: {result['std_latency']} seconds"]
    expected += [f"{p}% percentile latency: {v} seconds" for p, v in result["percentiles"].items()]
    assert lines[:-1] == expected
    check_roofline(lines[-1], result, 2)


def test_latency_of_one(bench, tmp_path):
    out = tmp_path / "l.json"
    bench("latency", "--input-len", 1, "--output-len", 1, "--batch-size", 1, "--num-iters", 1,
          "--num-iters-warmup", 0, "--threads", 1, "--n", 2, "--output-json", out)
    result = json.loads(out.read_text())
    assert result["std_latency"] == 0
    assert set(result["percentiles"].values()) == {result["avg_latency"]}


def test_latency_without_prefix_caching(bench):
    """The same prompts again cost the same, so the weights read grow with the iterations; with
    caching asked for, prompts of many blocks are found."""
    def slowest(*flags):
        out = bench("latency", "--input-len", 1500, "--output-len", 1, "--batch-size", 2,
                    "--num-iters", 3, "--num-iters-warmup", 1, "--threads", 1, *flags).stdout
        return float(re.search(rf"50% percentile latency: {NUMBER} seconds", out)[1])

    assert slowest() > 3 * slowest("--enable-prefix-caching")


def test_latency_too_long(bench):
    done = bench("latency", "--input-len", 60, "--output-len", 8, "--max-model-len", 64, status=64)
    assert "max_model_len 64" in done.stderr
