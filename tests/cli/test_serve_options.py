"""abruzzi serve from outside: its flags, what it prints at start, signals and how it ends."""

import ast
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from api.server import PATIENCE, Server

SHORT = ("--max-model-len", "4096", "--max-num-seqs", "4")


@pytest.fixture(scope="module")
def env():
    """The environment without settings of whoever runs the tests."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("ABRUZZI_", "NOTIFY_"))}


@pytest.fixture
def start(abruzzi, tmp_path):
    """start(*flags, env=...): a server in this test; killed at its end."""
    servers = []

    def run(*flags, env=None):
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(Server(abruzzi, folder, [*flags, *SHORT], env))
        return servers[-1]

    yield run
    for server in servers:
        server.kill()


@pytest.fixture
def refused(abruzzi, env):
    """refused(status, *flags): a start that must fail; its messages."""

    def run(status, *flags, **extra):
        done = subprocess.run(
            [abruzzi, "serve", *map(str, flags)], capture_output=True, text=True,
            env=env | extra, timeout=PATIENCE,
        )
        assert done.returncode == status, done.stderr
        assert done.stdout == ""
        return done.stderr

    return run


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.02)


def printed(server):
    """What the server printed for people, after its log lines."""
    wait_for(lambda: "print(client" in server.log(), "the OpenAI lines")
    wait_for(lambda: server.log().endswith("\n"), "the end of the line")
    text = server.log().split("Application startup complete.\n", 1)[1]
    return re.split(r"^[A-Z]+ \d\d-\d\d ", text, maxsplit=1, flags=re.M)[0]


# --------------------------------------------------------------------------------------------
# Flags


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "no model given: a directory or a hub id. 'make run' serves a small one of random "
             "weights, 'abruzzi synth DIR' writes one"),
        (["m", "n"], "unexpected argument 'n'"),
        (["m", "--prot", "1"], "unknown option --prot; did you mean --port?"),
        (["m", "--tool-call-praser=x"],
         "unknown option --tool-call-praser; did you mean --tool-call-parser?"),
        (["m", "--compilation-config", "{}"], "unknown option --compilation-config"),
        (["m", "--enable"], "ambiguous option --enable: could be --enable-auto-tool-choice, "
         "--enable-prompt-tokens-details, --enable-force-include-usage, "
         "--enable-server-load-tracking, --enable-request-id-headers, "
         "--enable-tokenizer-info-endpoint, --enable-log-requests, --enable-prefix-caching, "
         "--enable-chunked-prefill"),
        (["m", "--port", "65536"], "--port: 65536 is not between 0 and 65535"),
        (["m", "--port", "tcp://1.2.3.4:8000"], "--port: 'tcp://1.2.3.4:8000' is not an integer"),
        (["m", "-tp", "8"], "--tensor-parallel-size 8: not available in this version, which "
                            "computes with one rank"),
        (["m", "-dcp=8"], "--decode-context-parallel-size 8: not available in this version, which "
                          "computes with one rank"),
        (["m", "--tensor-parallel-size", "9"],
         "--tensor-parallel-size: 9 is not between 1 and 8"),
        (["m", "--distributed-executor-backend", "mpi"],
         "--distributed-executor-backend: 'mpi' is not available in this version"),
        (["m", "--distributed-executor-backend", "ray"],
         "--distributed-executor-backend: 'ray' is not one of threads"),
        (["m", "--device", "cuda"], "--device: 'cuda' is not available in this version"),
        (["m", "--dtype", "float16"], "--dtype: 'float16' is not one of auto, bfloat16"),
        (["m", "--kv-cache-dtype", "fp8"],
         "--kv-cache-dtype: 'fp8' is not available in this version"),
        (["m", "--kv-cache-dtype", "bf16"],
         "--kv-cache-dtype bf16 needs --numerics fast: exact keeps a float32 cache"),
        (["m", "--scheduling-policy", "priority"],
         "--scheduling-policy: 'priority' is not available in this version"),
        (["m", "--no-enable-chunked-prefill"],
         "--no-enable-chunked-prefill: long prompts are always computed in chunks; see "
         "--max-num-batched-tokens"),
        (["m", "--load-format", "pt"],
         "--load-format: 'pt' is not one of auto, safetensors, dummy"),
        (["m", "--tool-call-parser", "hermes"],
         "--tool-call-parser: 'hermes' is not one of kimi_k2, none"),
        (["m", "--enable-auto-tool-choice", "--tool-call-parser", "none"],
         "--enable-auto-tool-choice needs a --tool-call-parser that is not none"),
        (["m", "--chat-template", "x.jinja"],
         "--chat-template: prompts are built from token ids by Kimi K2's own template, which is "
         "part of the program; there is no other"),
        (["m", "--gpu-memory-utilization", "90"],
         "--gpu-memory-utilization: 90 is not between 0.01 and 1"),
        (["m", "--max-logprobs", "-2"], "--max-logprobs: -2 is not between -1 and 16777216"),
        (["m", "--engine", "replay"],
         "--engine: 'replay' is neither native nor replay:FILE"),
        (["m", "--engine", "replay:"],
         "--engine: 'replay:' is neither native nor replay:FILE"),
        (["m", "--served-model-name", ""], "--served-model-name: a name is empty"),
        (["m", "--api-key", ""], "--api-key: a key is empty"),
        (["m", "--api-key", "secret\tkey"],
         "--api-key: a key has a blank or a character beyond ASCII"),
        (["m", "--ssl-keyfile", "k"], "--ssl-keyfile needs --ssl-certfile"),
        (["m", "--uds", "s", "--ssl-certfile", "c"],
         "--ssl-certfile: TLS is for TCP; with --uds give --host or --port too"),
        (["m", "--shutdown-timeout", "-1"], "--shutdown-timeout: -1 is not between 0 and 86400"),
        (["m", "--no-disable-log-requests"],
         "unknown option --no-disable-log-requests; did you mean --no-enable-log-requests?"),
    ],
)
def test_wrong_flags(refused, flags, message):
    messages = f"abruzzi serve: {message}\nTry 'abruzzi serve --help'.\n"
    assert refused(64, *flags) == messages


def test_wrong_environment(refused):
    assert "ABRUZZI_PORT: '80a' is not an integer" in refused(64, "m", ABRUZZI_PORT="80a")


def test_help_is_grouped_and_whole(abruzzi, env):
    """Every flag of the contract is there, with its default, in a group."""
    text = subprocess.run([abruzzi, "serve", "--help"], capture_output=True, text=True,
                          check=True, env=env).stdout
    groups = re.findall(r"^(\w+):$", text, re.M)
    assert groups == ["Model", "Server", "API", "Logging", "Engine", "General"]
    flags = """host port uds api-key api-key-file served-model-name max-model-len max-num-seqs
        max-num-batched-tokens tensor-parallel-size decode-context-parallel-size
        dcp-kv-cache-interleave-size distributed-executor-backend device dtype kv-cache-dtype
        gpu-memory-utilization kv-cache-memory-bytes block-size enable-prefix-caching
        no-enable-prefix-caching enable-auto-tool-choice tool-call-parser reasoning-parser
        trust-remote-code seed generation-config override-generation-config
        enable-prompt-tokens-details max-logprobs load-format threads numerics config log-level
        ssl-certfile ssl-keyfile shutdown-timeout max-queue engine"""
    for flag in flags.split():
        assert re.search(rf"--{flag}\b", text), flag
    assert "-tp, --tensor-parallel-size N" in text and "-dcp, --decode-context" in text
    assert "chat-template" not in text  # it is only there to be refused
    for default in ("127.0.0.1", "8000", "kimi_k2", "1024"):
        assert f"(default: {default})" in re.sub(r"\s+", " ", text)


def test_without_effect_is_said(start, tiny):
    server = start(tiny, "--gpu-memory-utilization=0.9", "--seed", "3", "--enforce-eager",
                   "--log-level=debug")
    log = server.log()
    assert re.search(r"^WARNING .*--gpu-memory-utilization has no effect", log, re.M)
    assert re.search(r"^DEBUG .*--enforce-eager has no effect", log, re.M)


def test_the_command_line_of_the_guide(start, refused, tiny, tmp_path):
    """`vllm serve` as the guide has it, with one word changed and one rank."""
    repository = tmp_path / "hub" / "models--moonshotai--Kimi-K2-Thinking"
    (repository / "snapshots").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    (repository / "snapshots" / "0123abc").symlink_to(tiny)
    guide = """vllm serve moonshotai/Kimi-K2-Thinking \\
  --tensor-parallel-size 8 \\
  --enable-auto-tool-choice \\
  --tool-call-parser kimi_k2 \\
  --reasoning-parser kimi_k2  \\
  --trust-remote-code"""
    words = shlex.split(guide.replace("\\\n", " "))[2:]
    home = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    assert "--tensor-parallel-size 8: not available" in refused(64, *words, "--port=0", **home)
    server = start(*["1" if word == "8" else word for word in words], env=home)
    status, reply = server.post("/v1/completions", {
        "model": "moonshotai/Kimi-K2-Thinking", "prompt": "a", "max_tokens": 1})
    assert status == 200 and reply["model"] == "moonshotai/Kimi-K2-Thinking"


def test_names(start, tiny):
    server = start(tiny, "--served-model-name", "first", "second", "--port", "0")
    _, _, body = server.get("/v1/models")
    models = json.loads(body)["data"]
    assert [m["id"] for m in models] == ["first", "second"]
    assert all(m["root"] == str(tiny) for m in models)
    for name in ("first", "second"):
        status, _ = server.post("/v1/completions",
                                {"model": name, "prompt": "a", "max_tokens": 1})
        assert status == 200


def test_a_kubernetes_link_is_no_port(start, tiny):
    server = start(tiny, "--port", "0", env={"ABRUZZI_PORT": "tcp://10.0.0.1:8000"})
    assert server.get("/health")[0] == 200


def test_keys(start, refused, tiny, tmp_path):
    path = tmp_path / "keys"
    path.write_text("\n  key-of-a-file \r\n\nanother\n")
    server = start(tiny, "--api-key", "key-one", "key-two", "--api-key-file", path, "--port", "0",
                   env={"ABRUZZI_LOG_LEVEL": "debug"})
    assert server.get("/v1/models")[0] == 401
    for key in ("key-one", "key-two", "key-of-a-file", "another"):
        assert server.get("/v1/models", headers={"Authorization": f"Bearer {key}"})[0] == 200
    assert server.get("/v1/models", headers={"Authorization": "Bearer key"})[0] == 401
    log = server.log()
    assert "'api_key': '***'" in log
    assert not re.search("key-one|key-two|key-of|another", log)
    path.write_text("\n \n")
    assert "there is no key in it" in refused(64, tiny, "--api-key-file", path)
    path.write_text("two words\n")
    messages = refused(64, tiny, "--api-key-file", path)
    assert "a key has a blank" in messages and "two" not in messages
    assert str(tmp_path / "none") in refused(64, tiny, "--api-key-file", tmp_path / "none")


def test_key_of_the_environment(start, tiny):
    server = start(tiny, env={"ABRUZZI_API_KEY": "from-outside"})
    assert server.get("/v1/models")[0] == 401
    bearer = {"Authorization": "Bearer from-outside"}
    assert server.get("/v1/models", headers=bearer)[0] == 200
    curl = next(line for line in printed(server).splitlines() if line.startswith("curl "))
    assert "from-outside" not in server.log() and "$ABRUZZI_API_KEY" in curl


# --------------------------------------------------------------------------------------------
# Generation defaults


def with_generation(tiny, folder, text):
    shutil.copytree(tiny, folder, copy_function=os.link)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "generation_config.json").write_text(text)
    return folder


def count_tokens(server):
    status, reply = server.post("/v1/completions", {
        "model": "m", "prompt": "a", "ignore_eos": True})
    assert status == 200
    return reply["usage"]["completion_tokens"]


def test_generation_config(start, tiny, tmp_path):
    model = with_generation(
        tiny, tmp_path / "model", '{"max_new_tokens": 3, "temperature": 0, "do_sample": true}')
    named = (model, "--served-model-name", "m", "--port", "0")
    server = start(*named)
    assert count_tokens(server) == 3
    assert re.search(r"Default sampling parameters from .*/model/generation_config.json: "
                     r"\{'max_new_tokens': 3, 'temperature': 0\}", server.log())
    server = start(*named, "--generation-config", "vllm")
    assert count_tokens(server) == 16 and "Default sampling" not in server.log()
    server = start(*named, "--override-generation-config", '{"max_new_tokens": 2, "top_k": -1}')
    assert count_tokens(server) == 2
    other = tmp_path / "other"
    other.mkdir()
    (other / "generation_config.json").write_text('{"max_new_tokens": 5}')
    assert count_tokens(start(*named, "--generation-config", other)) == 5
    assert count_tokens(
        start(*named, "--generation-config", other / "generation_config.json")) == 5


def test_wrong_generation_config(refused, tiny, tmp_path):
    model = with_generation(tiny, tmp_path / "model", '{"temperature": 2.5}')
    assert "generation_config.json: temperature: 2.5 is not between 0 and 2" in refused(
        65, model, "--port=0")
    other = tmp_path / "generation.json"
    cases = [
        ('{"top_p": 0}', "top_p: 0 is not between 1e-09 and 1"),
        ('{"top_k": 1.5}', "top_k: must be an integer"),
        ('{"min_p": true}', "min_p: must be a number"),
        ("[]", "not a JSON object"),
        ("{", "generation.json: line 1"),
        ('{"eos_token_id": [1]}', "eos_token_id: 1 is none of the model's own"),
    ]
    for text, message in cases:
        other.write_text(text)
        assert message in refused(65, tiny, "--port=0", "--generation-config", other)
    assert "there is no " in refused(64, tiny, "--port=0", "--generation-config", tmp_path / "no")
    cases = [
        ('{"temperature": -1}', "temperature: -1 is not between 0 and 2"),
        ('{"temprature": 1}', "temprature: not one of temperature, top_p"),
        ("temperature=1", "--override-generation-config: line 1"),
        ("3", "not a JSON object"),
    ]
    for text, message in cases:
        assert message in refused(64, tiny, "--port=0", "--override-generation-config", text)


# --------------------------------------------------------------------------------------------
# Where it listens


def test_port_in_use(refused, tiny):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        messages = refused(71, tiny, "--port", port)
    assert "127.0.0.1" in messages and str(port) in messages and "in use" in messages
    assert "Loading weights" not in messages  # it is found out first


def test_address_of_somebody_else(refused, tiny):
    assert "192.0.2.1" in refused(71, tiny, "--host", "192.0.2.1", "--port", "0")


def test_unix_socket(start, refused, tiny, tmp_path):
    path = tmp_path / "socket"
    server = start(tiny, "--uds", path)
    assert server.port is None and f"Starting Abruzzi server on unix:{path}\n" in server.log()
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()
    assert str(path) in refused(71, tiny, "--uds", path)
    lines = printed(server).splitlines()
    assert f"unix:{path}" in lines
    ast.parse("\n".join(lines[lines.index("import httpx"):]))
    curl = next(line for line in lines if line.startswith("curl "))
    reply = subprocess.run(["bash", "-c", f"{curl} -sS"], capture_output=True, timeout=PATIENCE)
    assert json.loads(reply.stdout)["object"] == "chat.completion", reply.stderr
    assert server.terminate() == 0
    assert not path.exists()
    path.write_text("a file")
    assert str(path) in refused(71, tiny, "--uds", path)
    assert path.read_text() == "a file"


def test_unix_socket_and_port(start, tiny, tmp_path):
    server = start(tiny, "--uds", tmp_path / "socket", "--port", "0")
    assert server.port and server.get("/health")[0] == 200
    assert (tmp_path / "socket").is_socket()


def certificate(folder, name):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", folder / f"{name}.key", "-out",
         folder / f"{name}.pem"],
        check=True, capture_output=True,
    )
    return folder / f"{name}.pem", folder / f"{name}.key"


def test_tls(start, refused, tiny, tmp_path):
    cert, key = certificate(tmp_path, "good")
    server = start(tiny, "--ssl-certfile", cert, "--ssl-keyfile", key)
    assert f"Starting Abruzzi server on https://127.0.0.1:{server.port}\n" in server.log()
    context = ssl.create_default_context(cafile=str(cert))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context)
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()
    both = tmp_path / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    start(tiny, "--ssl-certfile", both)
    _, other = certificate(tmp_path, "other")
    assert "other.key" in refused(64, tiny, "--port=0", "--ssl-certfile", cert, "--ssl-keyfile",
                                  other)
    messages = refused(64, tiny, "--port=0", "--ssl-certfile", tmp_path / "none")
    assert "none" in messages and "Loading weights" not in messages


# --------------------------------------------------------------------------------------------
# What it prints


def test_lines_at_start(start, tiny, root):
    server = start(tiny, "--served-model-name", "tiny", "--port", "0")
    expected = [
        rf"Abruzzi version {re.escape((root / 'VERSION').read_text().strip())}$",
        r"non-default args: \{'port': 0, 'served_model_name': \['tiny'\], 'max_model_len': 4096, "
        r"'max_num_seqs': 4\}$",
        r"Resolved architecture: DeepseekV3ForCausalLM$",
        r"Memory per rank$",
        r"Loading weights took \d+\.\d\d seconds",
        r"Available KV cache memory: \d+\.\d\d GiB$",
        r"CPU KV cache size: 16,384 tokens$",
        r"Maximum concurrency for 4,096 tokens per request: 4\.00x$",
        r"Route: /health, Methods: GET$",
        r"Route: /v1/chat/completions, Methods: POST$",
        rf"Starting Abruzzi server on http://127\.0\.0\.1:{server.port}$",
        r"Application startup complete\.$",
    ]
    lines = iter(server.log().splitlines())
    for pattern in expected:
        assert any(re.search(rf"^INFO \d\d-\d\d \d\d:\d\d:\d\d \[\w+\.c:\d+\] {pattern}", line)
                   for line in lines), f"{pattern} is missing or out of order in\n{server.log()}"


@pytest.mark.parametrize("name", ["tiny", "it's \"odd\" \\ $HOME"])
def test_three_things_to_copy(start, tiny, name):
    server = start(tiny, "--served-model-name", name, "--port", "0")
    url, curl, python = printed(server).strip("\n").split("\n\n")
    assert url == f"http://127.0.0.1:{server.port}/v1"
    done = subprocess.run(["bash", "-c", f"{curl} -sS"], capture_output=True, timeout=PATIENCE)
    reply = json.loads(done.stdout)
    assert reply["model"] == name and reply["usage"]["completion_tokens"] > 0, done.stderr
    calls = [node for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Call)]
    values = {k.arg: ast.literal_eval(k.value) for call in calls for k in call.keywords}
    assert values["base_url"] == url and values["model"] == name
    assert values["messages"] == [{"role": "user", "content": "Hello"}]
    assert ast.parse(python).body[0].module == "openai"


def test_wildcards_become_addresses_one_can_use(start, tiny):
    server = start(tiny, "--host", "0.0.0.0", "--port", "0")
    assert printed(server).split()[0] == f"http://127.0.0.1:{server.port}/v1"


def test_without_chat_tokens(start, tiny, tmp_path):
    model = tmp_path / "plain"
    shutil.copytree(tiny, model, copy_function=os.link)
    config = json.loads((model / "tokenizer_config.json").read_text())
    for token in config["added_tokens_decoder"].values():
        token["content"] = token["content"].replace("<|im_user|>", "<|other|>")
    (model / "tokenizer_config.json").unlink()
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    server = start(model, "--served-model-name", "m", "--port", "0")
    assert re.search(r"^WARNING .*There will be no chat, only completions: .*<\|im_user\|>",
                     server.log(), re.M)
    curl = next(line for line in printed(server).splitlines() if line.startswith("curl "))
    done = subprocess.run(["bash", "-c", f"{curl} -sS"], capture_output=True, timeout=PATIENCE)
    assert json.loads(done.stdout)["object"] == "text_completion", done.stderr


# --------------------------------------------------------------------------------------------
# Replay


def test_replay_needs_no_weights(start, tiny, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer_config.json", "tiktoken.model"):
        shutil.copy(tiny / name, model)
    config = json.loads((model / "config.json").read_text())
    config |= {"num_hidden_layers": 61, "hidden_size": 7168, "n_routed_experts": 384}
    (model / "config.json").write_text(json.dumps(config))  # nothing that would fit in memory
    scripts = tmp_path / "scripts.jsonl"
    scripts.write_text(json.dumps({"match": "*", "text": "played"}) + "\n")
    server = start(model, "--engine", f"replay:{scripts}", "--served-model-name", "m")
    assert re.search(r"Replaying 1 scripts of .*scripts\.jsonl instead of the model", server.log())
    for line in ("Loading weights took", "Available KV cache memory", "CPU KV cache size"):
        assert line in server.log()
    status, reply = server.post("/v1/completions", {"model": "m", "prompt": "a"})
    assert status == 200
    assert reply["choices"][0]["text"] == "played"
    assert reply["choices"][0]["finish_reason"] == "stop"


def test_wrong_scripts(refused, tiny, tmp_path):
    scripts = tmp_path / "scripts.jsonl"
    scripts.write_text('{"match": "*", "text": 3}\n')
    messages = refused(64, tiny, "--port=0", "--engine", f"replay:{scripts}")
    assert "scripts.jsonl" in messages and "text" in messages
    assert "none.jsonl" in refused(64, tiny, "--port=0", "--engine", "replay:none.jsonl")


def test_dummy_weights(start, tiny, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer_config.json", "tiktoken.model"):
        shutil.copy(tiny / name, model)
    server = start(model, "--load-format", "dummy", "--served-model-name", "m")
    assert count_tokens(server) == 16


# --------------------------------------------------------------------------------------------
# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(start, tiny, number):
    server = start(tiny)
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE) == 0
    assert re.search(r"Draining: 0 requests\n.*Shutdown complete\.", server.log())


def test_a_terminal_that_closes_does_not_end_nohup(abruzzi, tiny, tmp_path):
    script = tmp_path / "nohup.sh"
    script.write_text(f'#!/bin/sh\ntrap "" HUP\nexec {abruzzi} "$@"\n')
    script.chmod(0o755)
    server = Server(script, tmp_path, [tiny, *SHORT])
    try:
        server.process.send_signal(signal.SIGHUP)
        for _ in range(5):
            assert server.get("/health")[0] == 200
            time.sleep(0.05)
        assert server.terminate() == 0
    finally:
        server.kill()


def long_stream(server, tokens, seen, lines):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    body = {"model": "m", "prompt": "a", "max_tokens": tokens, "ignore_eos": True, "stream": True}
    connection.request("POST", "/v1/completions", json.dumps(body),
                       {"Content-Type": "application/json"})
    try:
        reply = connection.getresponse()
        for line in reply:
            if line.startswith(b"data: "):
                lines.append(line)
                seen.set()
    except (http.client.HTTPException, OSError):
        pass
    seen.set()
    connection.close()


@pytest.fixture
def slow(start, tiny, tmp_path):
    """A server whose answers take `seconds`, and a stream of one that has begun."""
    threads = []

    def run(seconds, *flags):
        scripts = tmp_path / "slow.jsonl"
        n = 100
        scripts.write_text(json.dumps({
            "match": "*", "token_ids": [65] * n, "delay_ms": seconds * 1000 / n,
            "finish": "length"}) + "\n")
        server = start(tiny, "--served-model-name", "m", "--port", "0", "--engine",
                       f"replay:{scripts}", *flags)
        seen, lines = threading.Event(), []
        threads.append(threading.Thread(target=long_stream, args=(server, n, seen, lines)))
        threads[-1].start()
        assert seen.wait(PATIENCE)
        return server, threads[-1], lines

    yield run
    for thread in threads:
        thread.join(PATIENCE)


def test_running_streams_end_first(slow):
    server, thread, lines = slow(2)
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "Draining: 1 requests" in server.log(), "draining")
    assert server.get("/health/ready")[0] == 503
    assert server.get("/health/live")[0] == 200
    status, reply = server.post("/v1/completions", {"model": "m", "prompt": "a"})
    assert status == 503 and reply["error"]["code"] == 503
    assert server.process.wait(PATIENCE) == 0
    thread.join(PATIENCE)
    assert lines[-1].strip() == b"data: [DONE]"
    assert len(lines) >= 101


def test_streams_have_only_so_much_time(slow):
    server, thread, lines = slow(100, "--shutdown-timeout", "0.2")
    begin = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - begin < 50
    thread.join(PATIENCE)
    assert len(lines) < 100
    assert "1 requests did not end within --shutdown-timeout 0.2 s" in server.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_quits(slow, tmp_path, number):
    server, _, _ = slow(100, "--uds", tmp_path / "socket")
    assert (tmp_path / "socket").exists()
    server.process.send_signal(number)
    wait_for(lambda: "Draining: 1 requests" in server.log(), "draining")
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE) == 128 + number
    assert not (tmp_path / "socket").exists()


def test_a_signal_ends_loading_at_once(abruzzi, env, tiny, tmp_path):
    """Not after minutes, and not in a drain of nothing."""
    model = tmp_path / "model"
    model.mkdir()
    for name in ("tokenizer_config.json", "tiktoken.model"):
        shutil.copy(tiny / name, model)
    config = json.loads((tiny / "config.json").read_text())
    config["num_hidden_layers"] = 400  # as made up as the weights
    (model / "config.json").write_text(json.dumps(config))
    process = subprocess.Popen(
        [abruzzi, "serve", model, "--load-format=dummy", "--port=0", *SHORT],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)
    try:
        for line in process.stderr:
            if "Loading weights:" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
        assert "quitting at once" in rest and "Loading weights took" not in rest
    finally:
        process.kill()
        process.stderr.close()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_service_manager_is_told(start, tiny, tmp_path, kind):
    name = str(tmp_path / "notify") if kind == "path" else f"\0abruzzi-test-{os.getpid()}"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(name)
    manager.settimeout(PATIENCE)
    server = start(tiny, env={"NOTIFY_SOCKET": name.replace("\0", "@")})
    assert manager.recv(100) == b"READY=1"
    assert server.terminate() == 0
    assert manager.recv(100) == b"STOPPING=1"
    manager.close()


def test_nobody_reads_what_is_printed(abruzzi, tiny, tmp_path):
    """A closed standard output is no reason to end, or to end badly."""
    script = tmp_path / "closed.sh"
    script.write_text(f'#!/bin/sh\nexec {abruzzi} "$@" >&-\n')
    script.chmod(0o755)
    server = Server(script, tmp_path, [tiny, *SHORT])
    try:
        assert server.get("/health")[0] == 200
        assert server.terminate() == 0
    finally:
        server.kill()
