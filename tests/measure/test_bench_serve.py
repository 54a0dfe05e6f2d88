"""abruzzi bench serve against servers whose delays are known, and against servers that fail."""

import http.server
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from api.server import Server

PATIENCE = 120
WORDS = " ".join(f"word{i}" for i in range(400))


@pytest.fixture(scope="module")
def env():
    """The environment without settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ABRUZZI_")}
    kept.pop("OPENAI_API_KEY", None)
    return kept | {"no_proxy": "*"}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """A custom dataset of 50 prompts."""
    path = tmp_path_factory.mktemp("dataset") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Prompt {i}"}) + "\n" for i in range(50)))
    return path


class Bench:
    """Calls of abruzzi bench serve on one dataset."""

    def __init__(self, abruzzi, tokenizer, prompts, folder, env):
        self.abruzzi, self.env, self.folder = abruzzi, env, folder
        self.dataset = ["--tokenizer", tokenizer, "--dataset-name", "custom", "--dataset-path",
                        prompts, "--skip-chat-template", "--disable-shuffle"]

    def command(self, url, *flags, dataset=None):
        dataset = self.dataset if dataset is None else dataset
        return [str(word) for word in [self.abruzzi, "bench", "serve", "--base-url", url, *dataset,
                                       *flags]]

    def __call__(self, url, *flags, status=0, dataset=None, **env):
        """(result, output, errors); the result is that of --save-result --save-detailed."""
        path = self.folder / "result.json"
        path.unlink(missing_ok=True)
        done = subprocess.run(
            self.command(url, *flags, "--save-result", "--save-detailed", "--result-filename", path,
                         dataset=dataset),
            capture_output=True, text=True, env=self.env | env, timeout=PATIENCE,
        )
        assert done.returncode == status, done.stdout + done.stderr
        result = json.loads(path.read_text()) if path.exists() else None
        return result, done.stdout, done.stderr


@pytest.fixture(scope="module")
def bench(abruzzi, tiny, prompts, tmp_path_factory, env):
    return Bench(abruzzi, tiny, prompts, tmp_path_factory.mktemp("results"), env)


@pytest.fixture(scope="module")
def replay(abruzzi, tiny, tmp_path_factory):
    """replay(script, *flags): a server that answers everything with one script."""
    servers = []

    def start(script, *flags):
        folder = tmp_path_factory.mktemp("replay")
        (folder / "scripts.jsonl").write_text(json.dumps({"match": "*", "text": WORDS, **script}))
        servers.append(Server(abruzzi, folder, [
            tiny, "--served-model-name", "tiny", "--engine", f"replay:{folder / 'scripts.jsonl'}",
            "--disable-access-log", *flags]))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def steady(replay):
    """A server whose first token comes after 230 ms and each other one 30 ms later."""
    return replay({"prefill_ms": 200, "delay_ms": 30}, "--max-num-seqs", "1024")


def table(output):
    """{label: number} of the printed table."""
    lines = output[output.index("============ Serving"):].splitlines()
    end = lines.index("=" * 50)
    pairs = (re.fullmatch(r"(.{40}) (.{10,})", line) for line in lines[:end])
    return {pair[1].strip(): float(pair[2]) for pair in pairs if pair}


# --------------------------------------------------------------------------------------------
# Numbers


def test_known_delays(bench, steady):
    result, output, _ = bench(
        steady.url, "--model", "tiny", "--num-prompts", "30", "--max-concurrency", "10",
        "--output-len", "20", "--percentile-metrics", "ttft,tpot,itl,e2el", "--ignore-eos",
        "--goodput", "ttft:100000", "e2el:100000")
    assert (result["completed"], result["failed"]) == (30, 0)
    assert result["total_output_tokens"] == 30 * 20 and result["output_lens"] == [20] * 30
    assert [len(gaps) for gaps in result["itls"]] == [19] * 30
    # Never early; late as far as this machine is busy.
    assert 229 < result["median_ttft_ms"] < 330
    assert 29 < result["median_itl_ms"] < 45
    assert 29.5 < result["median_tpot_ms"] < 45
    assert 229 + 19 * 29.5 < result["median_e2el_ms"] < 1200
    assert result["max_concurrent_requests"] == 10
    assert result["duration"] > 3 * (0.229 + 19 * 0.0295)
    assert result["max_output_tokens_per_s"] <= 30 * 20
    # The numbers belong together.
    duration = result["duration"]
    assert result["request_throughput"] == pytest.approx(30 / duration)
    assert result["request_goodput"] == pytest.approx(30 / duration)
    assert result["output_throughput"] == pytest.approx(600 / duration)
    total = sum(result["input_lens"]) + 600
    assert result["total_token_throughput"] == pytest.approx(total / duration)
    ttfts, latencies = result["ttfts"], result["latencies"]
    assert result["mean_ttft_ms"] == pytest.approx(1000 * sum(ttfts) / 30)
    for ttft, gaps, latency in zip(ttfts, result["itls"], latencies):
        assert latency == pytest.approx(ttft + sum(gaps))
    tpots = [(latency - ttft) / 19 for ttft, latency in zip(ttfts, latencies)]
    assert result["mean_tpot_ms"] == pytest.approx(1000 * sum(tpots) / 30)
    # So do table and file.
    printed = table(output)
    assert printed["Successful requests:"] == 30 and printed["Maximum request concurrency:"] == 10
    for label, key in [
        ("Benchmark duration (s):", "duration"),
        ("Request throughput (req/s):", "request_throughput"),
        ("Request goodput (req/s):", "request_goodput"),
        ("Output token throughput (tok/s):", "output_throughput"),
        ("Peak concurrent requests:", "max_concurrent_requests"),
        ("Mean TTFT (ms):", "mean_ttft_ms"),
        ("P99 E2EL (ms):", "p99_e2el_ms"),
        ("Median ITL (ms):", "median_itl_ms"),
    ]:
        assert printed[label] == pytest.approx(result[key], abs=0.00501)


def test_many_streams(bench, steady):
    """A thousand streams in one thread: their gaps stay what the server made them."""
    result, _, _ = bench(steady.url, "--model", "tiny", "--num-prompts", "1000", "--output-len",
                         "15", "--request-rate", "2000")
    assert (result["completed"], result["failed"]) == (1000, 0)
    assert result["max_concurrent_requests"] > 200
    assert 29 < result["median_tpot_ms"] < 60
    assert 229 < result["median_ttft_ms"] < 1000


def test_arrivals(bench, steady):
    result, output, _ = bench(steady.url, "--model", "tiny", "--num-prompts", "20",
                              "--request-rate", "40", "--output-len", "1", "--burstiness", "inf")
    assert "Traffic request rate: 40.0\nBurstiness factor: inf (Gamma distribution)\n" in output
    starts = result["start_times"]
    gaps = [b - a for a, b in zip(starts, starts[1:])]
    assert sorted(gaps)[10] == pytest.approx(1 / 40, abs=0.01)
    assert starts[-1] - starts[0] == pytest.approx(19 / 40, abs=0.2)
    assert all(0 <= wait < 0.5 for wait in result["queue_times"])
    assert table(output)["Request rate configured (RPS):"] == 40


def test_waiting_is_not_measured(bench, steady):
    """With a semaphore the clock of a request starts when it is sent."""
    result, _, _ = bench(steady.url, "--model", "tiny", "--num-prompts", "4", "--max-concurrency",
                         "1", "--output-len", "1")
    starts, latencies = result["start_times"], result["latencies"]
    for i in range(3):
        assert starts[i + 1] >= starts[i] + latencies[i]
    assert result["median_ttft_ms"] < 400
    assert result["queue_times"][3] > 3 * 0.229
    assert result["max_concurrent_requests"] == 1


def test_chat(bench, steady):
    """The chunk that has nothing but the role is no token, as for vLLM; in 2025 it was one."""
    flags = ["--backend", "openai-chat", "--num-prompts", "3", "--output-len", "5"]
    result, _, _ = bench(steady.url, *flags)
    assert [len(gaps) for gaps in result["itls"]] == [4] * 3
    assert result["output_lens"] == [5] * 3
    assert result["backend"] == result["endpoint_type"] == "openai-chat"
    result, _, _ = bench(steady.url, *flags, "--compat", "2025-11")
    assert [len(gaps) for gaps in result["itls"]] == [5] * 3
    assert result["output_lens"] == [5] * 3
    assert min(result["itls"][0]) < 0.02


def test_model_of_the_server(bench, steady, tiny):
    """Without --model: the server's first, and its directory has the tokenizer."""
    result, output, _ = bench(
        steady.url, "--num-prompts", "2", "--random-input", "5", "--random-output", "3",
        dataset=["--dataset-name", "random"])
    assert result["model_id"] == result["tokenizer_id"] == str(tiny)
    assert result["input_lens"][0] == 5 and result["output_lens"] == [3, 3]
    lines = output.splitlines()
    assert lines[0].startswith("Namespace(") and "num_prompts=2" in lines[0]
    assert lines[1:3] == ["Model not specified, fetching first model from server...",
                          f"First model name: tiny, first model id: {tiny}"]


def test_agent(bench, steady, tiny, tmp_path):
    """Turns of a conversation follow each other, and conversations run beside each other."""
    lines = []
    for c in range(2):
        messages = [{"role": "system", "content": f"You are {c}."}]
        for turn in range(3):
            messages.append({"role": "user", "content": f"Turn {turn}"})
            messages.append({"role": "assistant", "content": "Well."})
        lines.append(json.dumps({"messages": messages}))
    path = tmp_path / "agent.jsonl"
    path.write_text("\n".join(lines))
    result, _, _ = bench(
        steady.url, "--backend", "openai-chat", "--num-prompts", "6", "--output-len", "2",
        dataset=["--tokenizer", tiny, "--dataset-name", "agent", "--dataset-path", path,
                 "--disable-shuffle"])
    assert result["completed"] == 6
    starts, latencies = result["start_times"], result["latencies"]
    for c in (0, 3):
        for i in (c, c + 1):
            assert starts[i + 1] >= starts[i] + latencies[i]
    assert abs(starts[3] - starts[0]) < 0.2
    assert result["max_concurrent_requests"] == 2


# --------------------------------------------------------------------------------------------
# Failures


def test_queue_is_full(bench, replay):
    server = replay({"prefill_ms": 300, "delay_ms": 10}, "--max-num-seqs", "2", "--max-queue", "3")
    result, output, _ = bench(server.url, "--model", "tiny", "--num-prompts", "30", "--output-len",
                              "5")
    assert result["completed"] + result["failed"] == 30
    assert result["completed"] >= 5 and result["failed"] >= 15
    assert table(output)["Failed requests:"] == result["failed"]
    assert re.search(rf"^ +{result['failed']}  HTTP 429: ", output, re.M), output
    assert sum(error.startswith("HTTP 429") for error in result["errors"]) == result["failed"]
    assert result["total_output_tokens"] == 5 * result["completed"]


def test_server_dies(bench, replay):
    server = replay({"prefill_ms": 100, "delay_ms": 50})
    command = bench.command(server.url, "--model", "tiny", "--num-prompts", "10", "--output-len",
                            "200", "--request-rate", "4", "--burstiness", "inf")
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=bench.env)
    end = time.monotonic() + PATIENCE
    while server.metric("vllm:generation_tokens_total") < 10 and time.monotonic() < end:
        time.sleep(0.02)
    server.kill()
    output, _ = child.communicate(timeout=PATIENCE)
    assert child.returncode == 71  # none came to its end
    printed = table(output)
    assert (printed["Successful requests:"], printed["Failed requests:"]) == (0, 10)
    reasons = dict(reversed(pair) for pair in re.findall(r"^ +(\d+)  (.+)$", output, re.M))
    assert sum(map(int, reasons.values())) == 10
    assert "the connection broke" in reasons and "could not connect" in reasons


def test_timeouts(bench, replay):
    server = replay({"prefill_ms": 5000, "delay_ms": 10})
    result, output, errors = bench(server.url, "--model", "tiny", "--num-prompts", "3",
                                   "--request-timeout", "0.3", status=71)
    assert (result["completed"], result["failed"]) == (0, 3)
    assert re.search(r"^ +3  timed out$", output, re.M)
    assert "All requests failed" in errors
    assert result["mean_ttft_ms"] == 0


def test_interrupt(bench, steady):
    """Ctrl-C prints what there is."""
    command = bench.command(steady.url, "--model", "tiny", "--num-prompts", "40",
                            "--max-concurrency", "2", "--output-len", "10")
    before = steady.metric("vllm:request_success_total")
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=bench.env)
    end = time.monotonic() + PATIENCE
    while steady.metric("vllm:request_success_total") < before + 3 and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    printed = table(output)
    left = int(re.search(r"^Interrupted: (\d+) requests had not ended\.$", output, re.M)[1])
    assert printed["Successful requests:"] >= 2 and printed["Failed requests:"] == 0
    assert printed["Successful requests:"] + left == 40


# --------------------------------------------------------------------------------------------
# A server that says what the test wants


def chunk(text="x", **more):
    choices = [{"index": 0, "text": text, "finish_reason": None}]
    return f"data: {json.dumps({'choices': choices, **more})}\n\n"


USAGE = 'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}\n\n'
DONE = "data: [DONE]\n\n"


class Scripted(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.replies = []  # (status, pieces, whether the reply is complete), used in turn
        self.tokenizer = {}  # "/tokenize": what the reply to a body is; not among the requests
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        pass  # clients that left


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path in ("/tokenize", "/detokenize"):
            return self.answer_tokenizer(json.loads(body))
        with self.server.lock:
            n = len(self.server.requests)
            self.server.requests.append((self.path, self.headers, json.loads(body)))
        status, pieces, complete = self.server.replies[n % len(self.server.replies)]
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            data = piece.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        if complete:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def answer_tokenizer(self, body):
        known = self.server.tokenizer.get(self.path)
        data = json.dumps(known(body) if known else {}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def scripted():
    server = Scripted()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_reasons(bench, scripted):
    good = [": ping\n\n", chunk("a"), chunk(""), USAGE, DONE]
    scripted.replies = [
        (200, good, True),
        (200, [chunk(), chunk(), 'data: {"choices": [}\n\n', DONE], True),
        (200, [chunk(), chunk()], False),
        (200, [chunk()], True),
        (200, [USAGE, DONE], True),
        (200, [chunk(), 'data: {"error": {"message": "no more"}}\n\n', DONE], True),
        (503, ['{"error": {"message": "Busy"}}'], True),
    ]
    result, output, _ = bench(scripted.url, "--model", "m", "--num-prompts", "14",
                              "--max-concurrency", "1")
    assert (result["completed"], result["failed"]) == (2, 12)
    reasons = dict(reversed(pair) for pair in re.findall(r"^ +(\d+)  (.+)$", output, re.M))
    assert reasons == {
        "malformed chunk": "2",
        "the connection broke": "2",
        "the stream ended without [DONE]": "2",
        "Never received a valid chunk to calculate TTFT.": "2",
        "the stream reported an error: no more": "2",
        "HTTP 503: Busy": "2",
    }
    assert result["input_lens"][0] == 7 and result["output_lens"][0] == 2
    assert result["generated_texts"][0] == "a" and len(result["itls"][0]) == 1
    assert result["total_input_tokens"] == 14


def test_without_usage(bench, scripted):
    """Tokens are counted here where the server does not."""
    scripted.replies = [(200, [chunk("abc"), chunk("def"), DONE], True)]
    result, _, _ = bench(scripted.url, "--model", "m", "--num-prompts", "1")
    assert result["output_lens"][0] >= 2
    assert result["input_lens"][0] >= 2


def test_bodies_and_headers(bench, scripted):
    scripted.replies = [(200, [chunk("a"), USAGE, DONE], True)]
    bench(scripted.url, "--model", "org/m", "--served-model-name", "served", "--num-prompts", "2",
          "--max-concurrency", "1", "--output-len", "9", "--top-k", "5", "--extra-body",
          '{"top_p": 0.5, "chat": {"a": [1]}}', "--header", "X-One=1", "X-Two=a=b",
          "--request-id-prefix", "id-", OPENAI_API_KEY="secret")
    path, headers, body = scripted.requests[0]
    assert path == "/v1/completions"
    assert body == {
        "model": "served", "prompt": "Prompt 0", "repetition_penalty": 1.0, "max_tokens": 9,
        "logprobs": None, "stream": True, "stream_options": {"include_usage": True}, "top_k": 5,
        "top_p": 0.5, "chat": {"a": [1]},
    }
    assert headers["Authorization"] == "Bearer secret"
    assert (headers["X-One"], headers["X-Two"]) == ("1", "a=b")
    assert headers["Expect"] is None
    assert [one[1]["X-Request-Id"] for one in scripted.requests] == ["id-0", "id-1"]

    del scripted.requests[:]
    bench(scripted.url, "--model", "m", "--num-prompts", "1", "--backend", "openai-chat",
          "--compat", "2025-11", "--ready-check-timeout-sec", "0")
    path, headers, body = scripted.requests[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] is None
    assert re.fullmatch(r"bench-[0-9a-f]{8}-0", headers["X-Request-Id"])
    assert body == {
        "model": "m", "max_completion_tokens": 256, "stream": True, "temperature": 0.0,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Prompt 0"}]}],
        "stream_options": {"include_usage": True},
    }


def test_random_ignores_eos(bench, scripted, tiny):
    """As vLLM has it now; in 2025 only when it was asked to."""
    scripted.replies = [(200, [chunk("a"), USAGE, DONE], True)]
    dataset = ["--dataset-name", "random", "--tokenizer", tiny, "--random-input", "4"]
    bench(scripted.url, "--model", "m", "--num-prompts", "1", dataset=dataset)
    assert scripted.requests[0][2]["ignore_eos"] is True
    assert "temperature" not in scripted.requests[0][2]
    bench(scripted.url, "--model", "m", "--num-prompts", "1", "--compat", "2025-11",
          "--ready-check-timeout-sec", "0", dataset=dataset)
    assert "ignore_eos" not in scripted.requests[1][2]
    assert scripted.requests[1][2]["temperature"] == 0.0


def test_server_counts_otherwise(bench, scripted, tiny):
    """Random prompts are cut to their lengths as the server counts them, if it counts otherwise."""
    scripted.replies = [(200, [chunk("a"), USAGE, DONE], True)]
    dataset = ["--dataset-name", "random", "--tokenizer", tiny, "--random-input", "6"]
    asked = []

    def tokenize(body):
        asked.append(body["prompt"])
        return {"tokens": list(range(extra + 6))}

    scripted.tokenizer = {"/tokenize": tokenize,
                          "/detokenize": lambda body: {"prompt": f"cut to {body['tokens']}"}}
    extra = 0
    bench(scripted.url, "--model", "m", "--num-prompts", "3", dataset=dataset)
    assert len(asked) == 1 and asked[0] in [body["prompt"] for _, _, body in scripted.requests]
    extra = 20
    del scripted.requests[:], asked[:]
    _, _, errors = bench(scripted.url, "--model", "m", "--num-prompts", "3", dataset=dataset)
    assert len(scripted.requests) == 3  # prompts may be a little longer than they were to be
    assert all(body["prompt"].startswith("cut to [0, 1, 2, 3, 4, 5")
               for _, _, body in scripted.requests)
    assert len(asked) == 4 and "tokenizer mismatch (server=26, expected=6)" in errors
    del asked[:]
    bench(scripted.url, "--model", "m", "--num-prompts", "3", "--compat", "2025-11",
          "--ready-check-timeout-sec", "0", dataset=dataset)
    assert not asked


def test_warm_up_and_ready_check(bench, scripted):
    scripted.replies = [(200, [chunk("a"), USAGE, DONE], True)]
    result, output, _ = bench(scripted.url, "--model", "m", "--num-prompts", "2", "--num-warmups",
                              "3", "--ready-check-timeout-sec", "60")
    assert len(scripted.requests) == 1 + 3 + 2 and result["completed"] == 2
    lines = output.splitlines()
    at = lines.index("Starting initial single prompt test run...")
    assert lines[at + 1 : at + 7] == [
        "Waiting for endpoint to become up in 60 seconds",
        "Initial test run completed.",
        "Warming up with 3 requests...",
        "Warmup run completed.",
        "Starting main benchmark run...",
        "Traffic request rate: inf",
    ]
    scripted.replies = [(500, ["{}"], True)]
    result, output, errors = bench(scripted.url, "--model", "m", "--num-prompts", "2",
                                   "--ready-check-timeout-sec", "1", status=71)
    assert result is None and "Starting main" not in output
    assert "Initial test run failed" in errors and "HTTP 500" in errors


# --------------------------------------------------------------------------------------------
# Files


def test_files(bench, scripted, tmp_path):
    scripted.replies = [(200, [chunk("a"), USAGE, DONE], True)]
    folder = tmp_path / "a" / "b"

    def call(*flags):
        command = bench.command(scripted.url, "--model", "org/Model-1", "--num-prompts", "2",
                                "--result-dir", folder, *flags)
        done = subprocess.run(command, capture_output=True, text=True, env=bench.env,
                              timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done

    call()
    assert not folder.exists()
    call("--save-result", "--max-concurrency", "2", "--metadata", "tp=8", "gpu=H200")
    (path,) = folder.iterdir()
    assert re.fullmatch(r"openai-infqps-concurrency2-Model-1-\d{8}-\d{6}\.json", path.name)
    result = json.loads(path.read_text())
    assert list(result) == [
        "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts",
        "tp", "gpu", "request_rate", "burstiness", "max_concurrency", "duration", "completed",
        "failed", "total_input_tokens", "total_output_tokens", "request_throughput",
        "request_goodput", "output_throughput", "total_token_throughput", "latencies",
        "queue_times", "max_output_tokens_per_s", "max_concurrent_requests",
        "rtfx", "mean_ttft_ms", "median_ttft_ms", "std_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "median_tpot_ms", "std_tpot_ms",
        "p99_tpot_ms", "mean_itl_ms", "median_itl_ms", "std_itl_ms", "p99_itl_ms",
    ]
    call("--save-result", "--label", "L", "--result-filename", "named.json",
         "--metric-percentiles", "50,99.9", "--percentile-metrics", "e2el")
    result = json.loads((folder / "named.json").read_text())
    assert result["label"] == "L"
    assert "p50_e2el_ms" in result and "p99.9_e2el_ms" in result and "p99_ttft_ms" not in result
    call("--append-result", "--result-filename", "named.json")
    assert [json.loads(line)["completed"]
            for line in (folder / "named.json").read_text().splitlines()] == [2, 2]


def test_compare(bench, steady, abruzzi, tmp_path):
    paths = []
    for n in (1, 8):
        paths.append(tmp_path / f"c{n}.json")
        bench(steady.url, "--model", "tiny", "--num-prompts", "8", "--output-len", "4",
              "--max-concurrency", str(n))
        (bench.folder / "result.json").rename(paths[-1])
    done = subprocess.run([abruzzi, "bench", "serve", "--compare", *paths], capture_output=True,
                          text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "| Metric | c1 | c8 | Change | Improvement(%) |"
    row = re.fullmatch(r"\| Request Throughput\(req/s\) \| (\S+) \| (\S+) \| \+(\S+) \| "
                       r"\+(\S+)% \|", lines[2])
    assert row, lines[2]
    before, after = (json.loads(path.read_text())["request_throughput"] for path in paths)
    assert after > 1.5 * before
    assert float(row[4]) == pytest.approx((after - before) / before * 100, abs=0.051)


# --------------------------------------------------------------------------------------------
# Usage


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--profile"], "--profile: is not supported by abruzzi bench serve"),
        (["--lora-modules", "a", "b"], "--lora-modules: is not supported by abruzzi bench serve"),
        (["--backend", "openai-embeddings"],
         "--backend: 'openai-embeddings' is not available in this version"),
        (["--dataset-name", "sonnet"], "--dataset-name: 'sonnet' is not available in this version"),
        (["--dataset-name", "sharegpt", "--model", "{tiny}"],
         "--dataset-path: dataset sharegpt needs a file"),
        (["--dataset-name", "agent", "--dataset-path", "x", "--model", "{tiny}"],
         "--dataset-name agent has messages: it needs --backend openai-chat"),
        (["--endpoint", "/v1/chat/completions"],
         "--endpoint: /v1/chat/completions is none of backend openai, whose paths end in "
         "/completions"),
        (["--request-rate", "0"], "--request-rate: 0 is not between 1e-09 and 1000000000"),
        (["--request-rate", "5", "--ramp-up-strategy", "linear"],
         "--request-rate: a ramp has its own rates (--ramp-up-strategy)"),
        (["--ramp-up-strategy", "linear"],
         "--ramp-up-strategy needs --ramp-up-start-rps and --ramp-up-end-rps"),
        (["--goodput", "itl:3"], "--goodput: 'itl:3' is not KIND:MS with ttft, tpot or e2el"),
        (["--percentile-metrics", "ttft,x"],
         "--percentile-metrics: 'x' is not one of ttft, tpot, itl, e2el"),
        (["--metric-percentiles", "101"],
         "--metric-percentiles: '101' is no number from 0 to 100"),
        (["--metadata", "x"], "--metadata: 'x' is not KEY=VALUE"),
        (["--extra-body", "[1]"], "--extra-body: not a JSON object"),
        (["--header", "x", "--model", "m"], "--header: 'x' is not KEY=VALUE"),
        (["--base-url", "ftp://x", "--model", "m"],
         "ftp://x: not a URL that begins with http:// or https://"),
        (["--compare", "one.json"], "--compare takes two files"),
        (["--random-range-ratio", "1.5", "--model", "{tiny}"],
         "--random-range-ratio: 1.5: not a number from 0 to less than 1, nor JSON with two of them "
         "as input and output"),
    ],
)
def test_usage(abruzzi, env, tiny, flags, message):
    flags = [flag.replace("{tiny}", str(tiny)) for flag in flags]
    done = subprocess.run([abruzzi, "bench", "serve", *flags], capture_output=True, text=True,
                          env=env, timeout=PATIENCE)
    assert done.returncode == 64
    assert done.stderr == f"abruzzi bench serve: {message}\nTry 'abruzzi bench serve --help'.\n"


def test_no_tokenizer(abruzzi, env, tmp_path):
    done = subprocess.run([abruzzi, "bench", "serve", "--model", "org/nowhere"],
                          capture_output=True, text=True, env=env | {"HF_HOME": str(tmp_path)},
                          timeout=PATIENCE)
    assert done.returncode == 65
    assert "no tokenizer to count prompts with (--tokenizer): org/nowhere: " in done.stderr


def test_no_server(abruzzi, env):
    done = subprocess.run([abruzzi, "bench", "serve", "--base-url", "http://127.0.0.1:1"],
                          capture_output=True, text=True, env=env, timeout=PATIENCE)
    assert done.returncode == 71
    assert "http://127.0.0.1:1/v1/models: " in done.stderr and "could not connect" in done.stderr
