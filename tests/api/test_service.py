"""The server as a service: clients that leave, metrics, the end, and engines that are lost."""

import concurrent.futures
import http.client
import json
import re
import signal
import time

import pytest

PATIENCE = 120
STEP_MS = 150


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)


def begin(server, body, path="/v1/completions"):
    """A connection on which a request was sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    return connection


# --- clients that leave ---


@pytest.fixture(scope="module")
def slow(serve, tiny):
    """Few places, small steps and a long time for each: what goes on can be counted."""
    return serve(
        tiny,
        *("--max-num-seqs", "4", "--max-num-batched-tokens", "16", "--max-model-len", "2048"),
        *("--max-queue", "8", "--no-enable-prefix-caching"),
        env={"ABRUZZI_FAULTS": "1", "SLOW_STEP_MS": str(STEP_MS)},
    )


LONG = {"prompt": [5] * 1500, "max_tokens": 400, "ignore_eos": True}
SHORT = {"prompt": [5] * 10, "max_tokens": 400, "ignore_eos": True}


def state(server):
    m = server.metrics()
    labels = next(k for k in m if k.startswith("vllm:num_requests_running")).partition("{")[2]
    return {
        "running": m["vllm:num_requests_running{" + labels],
        "waiting": m["vllm:num_requests_waiting{" + labels],
        "generated": m["vllm:generation_tokens_total{" + labels],
        "computed": m["abruzzi_tokens_computed_total"],
        "steps": m["abruzzi_engine_steps_total"],
        "used": m["abruzzi_kv_blocks_total"] - m["abruzzi_kv_blocks_free"],
    }


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("phase", ["prefill", "decode", "decode of 4"])
def test_a_client_that_leaves_frees_its_blocks(slow, phase, stream):
    body = LONG if phase == "prefill" else SHORT
    n = 4 if phase == "decode of 4" else 1
    before = state(slow)
    assert (before["running"], before["used"]) == (0, 0)
    client = begin(slow, {**body, "stream": stream, "n": n})
    if phase == "prefill":
        wait_until(lambda: state(slow)["computed"] > before["computed"], "prefill")
    else:
        wait_until(lambda: state(slow)["generated"] >= before["generated"] + 2 * n, "decode")
    there = state(slow)
    assert there["running"] == n and there["used"] > 0
    if phase == "prefill":
        assert there["generated"] == before["generated"]
    client.sock.close()
    wait_until(lambda: state(slow)["used"] == 0, "blocks are given back")
    gone = state(slow)
    # The step that runs is finished, and the next may have begun before the news was there.
    assert gone["steps"] <= there["steps"] + 2
    assert gone["running"] == gone["waiting"] == 0
    time.sleep(3 * STEP_MS / 1000)
    later = state(slow)
    assert (later["computed"], later["steps"]) == (gone["computed"], gone["steps"])


def test_clients_that_leave_the_queue(slow):
    runner = begin(slow, {**SHORT, "n": 4})
    wait_until(lambda: state(slow)["running"] == 4, "running")
    queued = [begin(slow, {**SHORT, "stream": i % 2 == 0, "n": 2}) for i in range(4)]
    wait_until(lambda: state(slow)["waiting"] == 8, "waiting")
    status, reply = slow.post("/v1/completions", SHORT)
    assert (status, reply["error"]["type"]) == (429, "RateLimitError")
    for client in queued:
        client.sock.close()
    wait_until(lambda: state(slow)["waiting"] == 0, "the queue is empty")
    assert state(slow)["running"] == 4
    runner.sock.close()
    wait_until(lambda: state(slow)["used"] == 0, "blocks are given back")
    assert slow.get("/health")[0] == 200


# --- metrics ---

NAMES = """vllm:num_requests_running vllm:num_requests_waiting vllm:kv_cache_usage_perc
vllm:prompt_tokens_total vllm:generation_tokens_total vllm:prefix_cache_queries_total
vllm:prefix_cache_hits_total vllm:num_preemptions_total vllm:request_success_total
vllm:time_to_first_token_seconds vllm:inter_token_latency_seconds
vllm:e2e_request_latency_seconds vllm:request_queue_time_seconds
vllm:request_prefill_time_seconds vllm:request_decode_time_seconds vllm:iteration_tokens_total
vllm:cache_config_info abruzzi_kv_blocks_total abruzzi_kv_blocks_free
abruzzi_engine_steps_total abruzzi_tokens_computed_total abruzzi_open_connections
abruzzi_nan_guard_total abruzzi_rank_up""".split()
SAMPLE = re.compile(
    r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
    r'(?:,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*)\})? (\+Inf|-?[0-9.]+(?:e[+-]?[0-9]+)?)'
)


def test_metrics_are_prometheus_text(serve, tiny):
    server = serve(tiny, "--served-model-name", 'a "quoted\\name"')
    for _ in range(3):
        assert server.post("/v1/completions", {"prompt": "a", "max_tokens": 3})[0] == 200
    status, headers, text = server.get("/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families, family, counts = {}, None, {}
    for line in text.decode().splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in families
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family
            families[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            name = found.group(1)
            if families[family] == "histogram":
                assert name in (family + "_bucket", family + "_sum", family + "_count")
                if 'le="+Inf"' in line or name.endswith("_count"):
                    counts.setdefault(family, []).append(float(found.group(3)))
            else:
                assert name == family
            if name.startswith("vllm:"):
                assert 'model_name="a \\"quoted\\\\name\\"",engine="0"' in line
    assert set(NAMES) <= set(families)
    assert counts["vllm:e2e_request_latency_seconds"] == [3, 3]
    assert all(inf == count for inf, count in counts.values())
    # vLLM's own measure counts a step by what it gave: 3 prompts of 1 token and 9 tokens.
    assert counts["vllm:iteration_tokens_total"] == [9, 9]


# --- the end ---


def drain_client(server, i):
    """How a request ended: the finish of its stream, or its status."""
    stream = i % 3 != 0
    client = begin(server, {"prompt": f"{i}", "max_tokens": 500, "stream": stream})
    reply = client.getresponse()
    body = reply.read().decode()
    client.close()
    if reply.status != 200:
        return reply.status
    if stream:
        assert body.endswith("data: [DONE]\n\n"), body[-200:]
        assert '"error"' not in body
        return "stop"
    return json.loads(body)["choices"][0]["finish_reason"]


def test_a_drain_under_load_loses_nothing(replay):
    script = {"match": "*", "text": "word " * 30, "delay_ms": 20}
    server = replay([script], "--max-num-seqs", "16", "--max-queue", "64")
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        jobs = [pool.submit(drain_client, server, i) for i in range(40)]
        wait_until(lambda: server.metric("vllm:num_requests_waiting") > 0, "a queue")
        assert server.get("/health/ready")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        ends = [job.result(PATIENCE) for job in jobs]
    assert server.process.wait(PATIENCE) == 0
    assert set(ends) <= {"stop", 503}
    assert ends.count("stop") >= 17  # those that ran, and of those that waited
    assert "Shutdown complete." in server.log()


# --- engines that are lost ---


def test_a_stuck_engine_ends_the_process(serve, tiny):
    server = serve(
        tiny,
        *("--stall-timeout", "1", "--watchdog-timeout", "4"),
        env={"ABRUZZI_FAULTS": "1", "STALL_RANK": "0"},
    )
    assert server.get("/health")[0] == 200
    clients = [begin(server, {**SHORT, "stream": True}) for _ in range(3)]
    wait_until(lambda: server.get("/health")[0] == 503, "not healthy")
    assert server.get("/health/live")[0] == 200
    assert server.metric("abruzzi_rank_up") == 0
    assert server.post("/v1/completions", SHORT)[0] == 503
    assert server.process.wait(PATIENCE) == 70
    assert "no progress" in server.log()
    for client in clients:
        client.close()


def test_one_nan_is_an_error_and_no_end(serve, tiny):
    server = serve(tiny, env={"ABRUZZI_FAULTS": "1", "NAN_AT_STEP": "2"})
    body = {"prompt": "a", "max_tokens": 5}
    status, reply = server.post("/v1/completions", body)
    assert (status, reply["error"]["type"]) == (500, "InternalServerError")
    status, reply = server.post("/v1/completions", body)
    assert (status, reply["usage"]["completion_tokens"]) == (200, 5)
    assert server.metric("abruzzi_nan_guard_total") == 1
    assert server.get("/health")[0] == 200


# --- keys ---

KEY = "sk-0123456789abcdef0123456789abcdef"
GUARDED = [
    ("GET", "/v1/models"),
    ("GET", "/version"),
    ("GET", "/load"),
    ("GET", "/metrics"),
    ("GET", "/tokenizer_info"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/nothing"),
]
OPEN = ["/", "/health", "/health/live", "/health/ready", "/ping"]
WRONG = [None, "wrong", KEY[:-1], KEY + "0", KEY.upper(), "", f"{KEY},{KEY}"]


def test_keys_guard_all_routes(serve, tiny):
    server = serve(tiny, "--api-key", "other", KEY)
    for method, path in GUARDED:
        body = {"prompt": "a", "tokens": [1], "messages": []} if method == "POST" else None
        for key in WRONG:
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            status, reply_headers, reply = server.request(method, path, body, headers)
            assert status == 401, (path, key)
            assert reply_headers["WWW-Authenticate"] == "Bearer"
            assert json.loads(reply)["error"]["type"] == "AuthenticationError"
        assert server.request(method, f"{path}?api_key={KEY}", body)[0] == 401
        for key in (KEY, "other"):
            headers = {"Authorization": f"Bearer {key}"}
            assert server.request(method, path, body, headers)[0] != 401
    for path in OPEN:
        assert server.get(path)[0] == 200
    assert KEY not in server.log()
