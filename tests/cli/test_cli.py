"""The command line from outside: exit statuses, exact messages, and answers of a tiny model."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

PROMPT = "The Abruzzi Spur"


@pytest.fixture(scope="module")
def env():
    """The environment without settings of whoever runs the tests."""
    return {k: v for k, v in os.environ.items() if not k.startswith("ABRUZZI_")}


@pytest.fixture(scope="module")
def call(abruzzi, env):
    """Runs the program; returns status, output, errors."""

    def run(*args, status=0, stdin="", **extra):
        done = subprocess.run(
            [abruzzi, *map(str, args)],
            input=stdin.encode(),
            capture_output=True,
            env=env | extra,
            timeout=120,
        )
        assert done.returncode == status, done.stderr.decode()
        return done.stdout.decode(), done.stderr.decode()

    return run


@pytest.fixture(scope="module")
def complete(call, tiny):
    """Completes PROMPT and returns the choices as objects."""

    def run(*args, prompt=("-q", PROMPT), **extra):
        out, _ = call(
            "complete", tiny, *prompt, "--json", "--max-model-len", 512, "--log-level=error",
            *args, **extra
        )
        return [json.loads(line) for line in out.splitlines()]

    return run


# --------------------------------------------------------------------------------------------
# Usage


def test_version(call, root):
    assert call("--version") == (f"abruzzi {(root / 'VERSION').read_text().strip()}\n", "")


def test_help(call):
    out, err = call("--help")
    assert err == "" and out.startswith("usage: abruzzi COMMAND [flags]\n")
    commands = re.findall(r"^  (\w+(?: \w+)?)  +\w", out, re.M)
    assert {"serve", "complete", "synth", "inspect", "verify", "completion", "man"} <= set(commands)
    for command in commands:
        text, err = call(*command.split(), "--help")
        assert err == "" and text.startswith(f"usage: abruzzi {command}")
        assert all(len(line) <= 96 for line in text.splitlines())
        assert call(*command.split(), "-h") == (text, "")


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "abruzzi: no command given\nTry 'abruzzi --help'.\n"),
        (["--model"], "abruzzi: unknown option --model; flags follow the command\n"
                      "Try 'abruzzi --help'.\n"),
        (["verfy"], "abruzzi: unknown command 'verfy'; did you mean 'verify'?\n"
                    "Try 'abruzzi --help'.\n"),
        (["verify"], "abruzzi verify: missing argument: MODEL\nTry 'abruzzi verify --help'.\n"),
        (["verify", "a", "b"], "abruzzi verify: unexpected argument 'b'\n"
                               "Try 'abruzzi verify --help'.\n"),
        (["complete"], "abruzzi complete: no model given: a directory or a hub id\n"
                       "Try 'abruzzi complete --help'.\n"),
        (["complete", "--top_k", "x"], "abruzzi complete: --top-k: 'x' is not an integer\n"
                                       "Try 'abruzzi complete --help'.\n"),
        (["complete", "--max-t", "0"],
         "abruzzi complete: --max-tokens: 0 is not between 1 and 2147483647\n"
         "Try 'abruzzi complete --help'.\n"),
        (["complete", "--bakend=cpu"],
         "abruzzi complete: unknown option --bakend; did you mean --backend?\n"
         "Try 'abruzzi complete --help'.\n"),
        (["complete", "m", "--logprobs", "2"],
         "abruzzi complete: --logprobs and --prompt-logprobs need --json\n"
         "Try 'abruzzi complete --help'.\n"),
        (["complete", "m", "--stop", ""],
         "abruzzi complete: --stop: an empty string stops nothing\n"
         "Try 'abruzzi complete --help'.\n"),
        (["complete", "a", "--model", "b"],
         "abruzzi complete: two models given: a and --model b\n"
         "Try 'abruzzi complete --help'.\n"),
        (["synth", "x", "--preset", "huge"],
         "abruzzi synth: --preset: 'huge' is not one of tiny, moonlight, k2-slice, k2\n"
         "Try 'abruzzi synth --help'.\n"),
        (["completion", "tcsh"],
         "abruzzi completion: there is no completion for 'tcsh', only for bash\n"
         "Try 'abruzzi completion --help'.\n"),
    ],
)
def test_usage_errors(call, args, message):
    assert call(*args, status=64) == ("", message)


def test_environment(call, tiny):
    out, _ = call("inspect", tiny, "--json", ABRUZZI_MAX_NUM_SEQS="2", ABRUZZI_MAX_MODEL_LEN="1K",
                  ABRUZZI_BLOCK_SIZE="32")
    assert json.loads(out)["plan"]["kv_tokens"] == 2 * 1024
    out, _ = call("inspect", tiny, "--json", "--max-num-seqs=3", ABRUZZI_MAX_NUM_SEQS="2",
                  ABRUZZI_MAX_MODEL_LEN="1k", ABRUZZI_BLOCK_SIZE="8")
    assert json.loads(out)["plan"]["kv_tokens"] == 3 * 1000
    _, err = call("inspect", tiny, status=64, ABRUZZI_BLOCK_SIZE="many")
    assert "ABRUZZI_BLOCK_SIZE: 'many' is not an integer" in err


def test_an_argument_wins_over_the_environment(call, tiny):
    call("complete", tiny, "-q", "x", "--max-tokens=1", ABRUZZI_MODEL="/nowhere")
    _, err = call("complete", tiny, "--model=/nowhere", "-q", "x", status=64)
    assert "two models given" in err


def test_closed_standard_streams(abruzzi, env, tiny, tmp_path):
    """The next file that is opened must not take the number of a closed stream."""

    def run(*args, closed):
        return subprocess.run(
            ["sh", "-c", f'exec "$0" "$@" {closed}', abruzzi, *args],
            capture_output=True, env=env, timeout=120,
        )

    done = run("complete", tiny, "--log-level=error", "--max-tokens=1", closed="<&-")
    assert done.returncode == 71
    assert done.stderr == b"abruzzi complete: standard input: Bad file descriptor\n"
    done = run("complete", tiny, "-q", "x", "--log-level=error", "--max-tokens=1", closed=">&-")
    assert done.returncode == 71
    assert done.stderr.startswith(b"abruzzi: standard output: ")
    done = run("synth", tmp_path / "out", "--log-level=debug", closed="<&- >&- 2>&-")
    assert done.returncode == 0
    assert run("verify", tmp_path / "out", closed="").returncode == 0


def test_unreadable_standard_input(abruzzi, env, tiny):
    folder = os.open("/", os.O_RDONLY)
    done = subprocess.run([abruzzi, "complete", tiny, "--log-level=error"], stdin=folder,
                          capture_output=True, env=env, timeout=120)
    os.close(folder)
    assert done.returncode == 71
    assert done.stderr == b"abruzzi complete: standard input: Is a directory\n"


def test_full_disk(abruzzi, env):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([abruzzi, "--help"], stdout=full, stderr=subprocess.PIPE, env=env)
    assert done.returncode == 71
    assert done.stderr == b"abruzzi: standard output: No space left on device\n"


def test_completion_script(call):
    script, _ = call("completion", "bash")

    def candidates(*words):
        line = " ".join(f"'{word}'" for word in words)
        done = subprocess.run(
            ["bash", "-c", f"{script}\ncompopt() {{ :; }}\nCOMP_WORDS=({line}); "
             f"COMP_CWORD={len(words) - 1}; _abruzzi; printf '%s\\n' \"${{COMPREPLY[@]}}\""],
            capture_output=True, text=True, check=True,
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert candidates("abruzzi", "com") == ["complete", "completion"]
    assert candidates("abruzzi", "complete", "--top") == ["--top-p", "--top-k"]
    assert candidates("abruzzi", "complete", "--no-en") == [
        "--no-enable-prefix-caching", "--no-enable-chunked-prefill", "--no-enforce-eager"]
    assert candidates("abruzzi", "complete", "--numerics", "") == ["exact", "fast"]
    assert candidates("abruzzi", "synth", "--preset", "k") == ["k2-slice", "k2"]
    assert candidates("abruzzi", "serve", "--disable-") == [
        "--disable-log-requests", "--disable-access-log", "--disable-uvicorn-access-log",
        "--disable-log-stats"]
    assert candidates("abruzzi", "serve", "--tool-call-parser", "") == ["kimi_k2", "none"]
    assert candidates("abruzzi", "serve", "--chat-") == []  # known only to be refused


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_man_page(call):
    page, _ = call("man")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-P-cbou"], input=page,
                          capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for text in ["--max-model-len", "--no-enable-prefix-caching", "EXIT STATUS", "abruzzi serve",
                 "--served-model-name NAME...", "FILES"]:
        assert text in done.stdout.replace("−", "-").replace("‐", "-")


# --------------------------------------------------------------------------------------------
# Checkpoints


def test_synth_is_deterministic(call, tiny, tmp_path):
    call("synth", tmp_path / "same")
    call("synth", tmp_path / "other", "--seed", 1)
    for path in sorted(tiny.iterdir()):
        assert (tmp_path / "same" / path.name).read_bytes() == path.read_bytes(), path.name
    name = "model-00002-of-000005.safetensors"
    assert (tmp_path / "other" / name).read_bytes() != (tiny / name).read_bytes()


def test_inspect(call, tiny):
    out, _ = call("inspect", tiny, "--json", "--tensors")
    seen = json.loads(out)
    config = json.loads((tiny / "config.json").read_text())
    for key, value in seen["config"].items():
        if key in config and key != "eos_token_id":
            assert value == config[key], key
    assert seen["config"]["eos_token_id"] == [config["eos_token_id"]]
    index = json.loads((tiny / "model.safetensors.index.json").read_text())
    assert seen["tensors"] == len(index["weight_map"])
    assert seen["bytes"] == index["metadata"]["total_size"]
    assert seen["shards"] == len(set(index["weight_map"].values()))
    assert sum(kind["bytes"] for kind in seen["kinds"].values()) == seen["bytes"]
    assert sum(kind["tensors"] for kind in seen["kinds"].values()) == seen["tensors"]
    moe_layers = config["num_hidden_layers"] - config["first_k_dense_replace"]
    matrices = 3 * config["n_routed_experts"] * moe_layers
    assert seen["kinds"]["expert codes"]["tensors"] == matrices
    assert {t["name"] for t in seen["tensor_list"]} == set(index["weight_map"])
    assert seen["plan"]["fits"] is True
    text, _ = call("inspect", tiny)
    assert f"  hidden_size              {config['hidden_size']}\n" in text
    assert f"Tensors in {seen['shards']} shards\n" in text
    assert "\nMemory per rank\n" in text


def test_inspect_plans_for_ranks(call, tiny):
    def plan(*args):
        return json.loads(call("inspect", tiny, "--json", "--max-model-len=4k", *args)[0])["plan"]

    one, eight = plan(), plan("-tp", 8, "-dcp", 8)
    assert eight["expert_bytes"] * 8 == one["expert_bytes"]
    assert eight["kv_token_bytes"] == one["kv_token_bytes"]
    assert plan("--numerics=fast")["kv_token_bytes"] * 2 == one["kv_token_bytes"]
    short = plan("--kv-cache-memory-bytes=1k")
    assert short["fits"] is False and short["weight_bytes"] == one["weight_bytes"]
    _, err = call("inspect", tiny, "-tp", 3, status=64)
    assert "tensor-parallel-size" in err
    _, err = call("inspect", tiny, "-tp", 2, "-dcp", 4, status=64)
    assert "decode-context-parallel-size" in err
    _, err = call("complete", tiny, "-q", "x", "-tp", 2, status=64)
    assert "--tensor-parallel-size 2: not available in this version" in err


def test_verify(call, tiny, tmp_path):
    out, _ = call("verify", tiny)
    assert out.startswith("ok: ")
    bad = tmp_path / "bad"
    shutil.copytree(tiny, bad)
    shard = bad / "model-00002-of-000005.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    for command in ("verify", "inspect", "complete"):
        out, err = call(command, bad, status=65)
        assert shard.name in err and err.startswith(f"abruzzi {command}: ") or command == "complete"
    _, err = call("verify", tmp_path / "none", status=65)
    assert "none" in err


def test_unfit_memory_is_refused(call, tiny):
    _, err = call("complete", tiny, "-q", "x", "--max-model-len=100k", "--kv-cache-memory-bytes=1M",
                  status=71)
    match = re.search(r"enough for --max-model-len (\d+)", err)
    assert match
    call("complete", tiny, "-q", "x", f"--max-model-len={match[1]}", "--kv-cache-memory-bytes=1M")


# --------------------------------------------------------------------------------------------
# Answers


def test_startup_lines(call, tiny, root):
    _, err = call("complete", tiny, "-q", "secret text", "--max-model-len", "4096",
                  "--max-num-seqs=2", "--temperature=0")
    expected = [
        rf"Abruzzi version {re.escape((root / 'VERSION').read_text().strip())}$",
        r"non-default args: \{'quick': '\*\*\*', 'temperature': 0\.0, 'max_model_len': 4096, "
        r"'max_num_seqs': 2\}$",
        r"Resolved architecture: DeepseekV3ForCausalLM$",
        r"Memory per rank$",
        r"Loading weights took \d+\.\d\d seconds",
        r"Available KV cache memory: \d+\.\d\d GiB$",
        r"CPU KV cache size: 8,192 tokens$",
        r"Maximum concurrency for 4,096 tokens per request: 2\.00x$",
    ]
    lines = iter(err.splitlines())
    for pattern in expected:
        assert any(re.search(rf"^INFO \d\d-\d\d \d\d:\d\d:\d\d \[stack\.c:\d+\] {pattern}", line)
                   for line in lines), f"{pattern} is missing or out of order in\n{err}"
    assert "secret" not in err


def test_greedy_is_the_same_every_time(complete):
    first, = complete("--temperature=0", "--max-tokens=24", "--ignore-eos", "--logprobs=2")
    assert first["finish_reason"] == "length" and first["stop_reason"] is None
    assert first["usage"] == {"prompt_tokens": len(first["prompt_ids"]), "completion_tokens": 24,
                              "total_tokens": len(first["prompt_ids"]) + 24, "cached_tokens": 0}
    for flags in (["--threads=1"], ["--threads=2"], ["--no-enable-prefix-caching"],
                  ["--max-num-batched-tokens=16"], ["--block-size=16"], ["--seed=9"]):
        again, = complete("--temperature=0", "--max-tokens=24", "--ignore-eos", "--logprobs=2",
                          *flags)
        assert again == first, flags


def test_seed_and_n(complete):
    flags = ["--max-tokens=12", "--ignore-eos", "--temperature=1", "--logprobs=0"]
    alone, = complete(*flags, "--seed=5")
    three = complete(*flags, "--seed=5", "--n=3")
    assert [c["index"] for c in three] == [0, 1, 2]
    assert three[0]["ids"] == alone["ids"] and three[0]["logprobs"] == alone["logprobs"]
    assert len({tuple(c["ids"]) for c in three}) == 3
    assert complete(*flags, "--seed=6")[0]["ids"] != alone["ids"]
    assert complete(*flags)[0]["ids"] != complete(*flags)[0]["ids"]  # no seed: another each time


def test_text_is_streamed_whole(call, complete, tiny):
    flags = ["--seed=5", "--max-tokens=20", "--ignore-eos"]
    choice, = complete(*flags)
    out, _ = call("complete", tiny, "-q", PROMPT, "--max-model-len=512", *flags)
    assert out == choice["text"] + "\n"
    out, _ = call("complete", tiny, "-q", PROMPT, "--max-model-len=512", "--echo", *flags)
    assert out == PROMPT + choice["text"] + "\n"
    echoed, = complete(*flags, "--echo")
    assert echoed["text"] == PROMPT + choice["text"] and echoed["ids"] == choice["ids"]
    out, _ = call("complete", tiny, "-q", PROMPT, "--max-model-len=512", "--n=2", *flags)
    assert out.startswith(f"[0] {choice['text']}\n[1] ")


def test_prompt_ids(complete):
    text, = complete("--temperature=0")
    ids, = complete("--temperature=0", prompt=("--prompt-ids", ",".join(map(str, text["prompt_ids"]))))
    assert ids == text


def test_control_tokens_in_the_prompt(complete, tiny):
    added = json.loads((tiny / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    by_name = {token["content"]: int(number) for number, token in added.items()}
    choice, = complete(prompt=("-q", "<|im_end|>a"))
    assert choice["prompt_ids"][0] == by_name["<|im_end|>"]


def test_stop_strings(complete, call, tiny):
    flags = ["--seed=11", "--max-tokens=40", "--ignore-eos"]
    whole, = complete(*flags)
    text = whole["text"]
    stop = text[len(text) // 2:len(text) // 2 + 4]
    cut, = complete(*flags, "--stop", "never seen, this one", "--stop", stop)
    assert cut["text"] == text[:text.index(stop)]
    assert cut["finish_reason"] == "stop" and cut["stop_reason"] == stop
    n = cut["usage"]["completion_tokens"]
    assert n == len(cut["ids"]) < 40 and cut["ids"] == whole["ids"][:n]
    out, _ = call("complete", tiny, "-q", PROMPT, "--max-model-len=512", *flags, "--stop", stop)
    assert out == cut["text"] + "\n"
    held, = complete(*flags, "--stop", "x" * 200)  # everything is held back, and comes at the end
    assert held["text"] == text and held["finish_reason"] == "length"


def test_stop_token_ids(complete):
    flags = ["--seed=11", "--max-tokens=20", "--ignore-eos"]
    whole, = complete(*flags)
    stop = whole["ids"][7]
    at = whole["ids"].index(stop)
    cut, = complete(*flags, "--stop-token-ids", stop)
    assert cut["ids"] == whole["ids"][:at + 1]
    assert cut["finish_reason"] == "stop" and cut["stop_reason"] == stop
    assert whole["text"].startswith(cut["text"].rstrip("\ufffd"))
    late, = complete(*flags, "--stop-token-ids", stop, "--min-tokens", at + 5)
    assert len(late["ids"]) >= at + 5 and stop not in late["ids"][:at + 5 - 1]


def test_end_of_sequence(complete, tiny):
    eos = json.loads((tiny / "config.json").read_text())["eos_token_id"]
    # Random weights give it about one chance in a thousand for each token.
    ends = [c for c in complete("--max-tokens=300", "--seed=2", "--n=16", "--temperature=2")
            if c["finish_reason"] == "stop"]
    assert ends, "none of 16 answers ended within 300 tokens: choose another seed"
    for choice in ends:
        assert choice["ids"][-1] == eos and eos not in choice["ids"][:-1]
        assert choice["stop_reason"] is None and "<|im_end|>" not in choice["text"]


def test_logprobs(complete, tiny):
    vocab = json.loads((tiny / "config.json").read_text())["vocab_size"]
    flags = ["--max-tokens=6", "--ignore-eos"]
    greedy, = complete(*flags, "--temperature=0", "--logprobs=3")
    for token, number in zip(greedy["logprobs"], greedy["ids"], strict=True):
        assert token["id"] == number and token["rank"] == 1 and len(token["top"]) == 3
        assert token["top"][0] == {k: token[k] for k in ("id", "token", "logprob")}
        values = [top["logprob"] for top in token["top"]]
        assert values == sorted(values, reverse=True)
    everything, = complete(*flags, "--temperature=1", "--seed=1", "--logprobs=-1")
    for token in everything["logprobs"]:
        assert len(token["top"]) == vocab
        assert math.isclose(sum(math.exp(t["logprob"]) for t in token["top"]), 1, abs_tol=1e-5)
        at = next(i for i, t in enumerate(token["top"]) if t["id"] == token["id"])
        assert token["top"][at]["logprob"] == token["logprob"] and token["rank"] <= at + 1


def test_prompt_logprobs_are_those_of_the_answer(complete):
    answer, = complete("--temperature=0", "--max-tokens=8", "--ignore-eos", "--logprobs=4")
    ids = answer["prompt_ids"] + answer["ids"]
    scored, = complete("--max-tokens=1", "--prompt-logprobs=4",
                       prompt=("--prompt-ids", ",".join(map(str, ids))))
    assert scored["prompt_logprobs"][0] is None and len(scored["prompt_logprobs"]) == len(ids)
    assert [t["id"] for t in scored["prompt_logprobs"][1:]] == ids[1:]
    assert scored["prompt_logprobs"][len(answer["prompt_ids"]):] == answer["logprobs"]


def test_backends_agree(complete):
    def score(*args):
        choice, = complete("--max-tokens=1", "--prompt-logprobs=0", "--max-num-seqs=1", *args)
        return [token["logprob"] for token in choice["prompt_logprobs"][1:]]

    reference, cpu = score("--backend=reference"), score("--max-model-len=auto")
    assert reference == pytest.approx(cpu, abs=1e-4) and len(cpu) > 3
    fast = score("--numerics=fast")
    assert fast != cpu and fast == pytest.approx(cpu, abs=1.0)


def test_choices_stop_on_their_own(complete):
    flags = ["--seed=4", "--max-tokens=30", "--ignore-eos", "--n=3", "--temperature=1.5"]
    whole = complete(*flags)
    stop = whole[1]["text"][5:8]
    for before, after in zip(whole, complete(*flags, "--stop", stop), strict=True):
        at = before["text"].find(stop)
        assert after["finish_reason"] == ("length" if at < 0 else "stop")
        assert after["text"] == (before["text"] if at < 0 else before["text"][:at])
        assert after["ids"] == before["ids"][:len(after["ids"])]


def test_defaults_of_the_model(call, tiny, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    (other / "generation_config.json").write_text(
        json.dumps({"temperature": 0.0, "top_p": 0.5, "max_new_tokens": 3}))

    def run(*args):
        out, err = call("complete", other, "-q", PROMPT, "--json", "--max-model-len=512",
                        "--ignore-eos", *args)
        return json.loads(out), err

    first, err = run()
    assert len(first["ids"]) == 3 and run()[0] == first  # greedy
    assert "generation_config.json: temperature 0, top-p 0.5, max-tokens 3\n" in err
    given, err = run("--max-tokens=5", "--temperature=1.5")
    assert len(given["ids"]) == 5 and "generation_config.json: top-p 0.5\n" in err


def test_requests_the_engine_refuses(call, tiny):
    for args, field in [
        (["--prompt-ids", "999999"], "prompt"),
        (["-q", "x", "--stop-token-ids", "999999"], "stop_token_ids"),
        (["-q", "x", f"--kv-cache-memory-bytes={2**60 + 1024}"], f"more than {2**60}$"),
        (["-q", "x", "--min-tokens=5", "--max-tokens=4"], "min_tokens"),
        (["-q", "x" * 2000, "--max-model-len=64"], "prompt"),
        (["-q", "x", "--temperature=0", "--n=2"], "--n"),
    ]:
        _, err = call("complete", tiny, "--max-model-len=512", *args, status=64)
        assert re.search(rf"^abruzzi complete: .*{field}", err, re.M), err


def test_nan_ends_with_status_70(call, tiny):
    out, err = call("complete", tiny, "-q", PROMPT, "--json", "--max-model-len=512", status=70,
                    ABRUZZI_FAULTS="1", NAN_AT_STEP="2")
    assert json.loads(out)["finish_reason"] == "error"
    assert "not finite" in err


def test_stats(call, tiny):
    _, err = call("complete", tiny, "-q", PROMPT, "--stats", "--max-model-len=512",
                  "--log-level=error")
    assert re.fullmatch(r"TTFT \d+\.\d ms, prefill \d+ tokens at \d+\.\d tokens/s, decode \d+ "
                        r"tokens at \d+\.\d tokens/s, \d+\.\d\d GB/s of weights\n", err)


def test_lines_from_standard_input(call, complete, tiny):
    flags = ["--seed=3", "--max-tokens=8", "--ignore-eos", "--max-model-len=512"]
    texts = [complete(*flags, prompt=("-q", p))[0]["text"] for p in ("one", "two words")]
    out, err = call("complete", tiny, *flags, stdin="one\n\ntwo words")
    assert out == f"Using model: {tiny}\n> {texts[0]}\n> > {texts[1]}\n> \n"
    out, _ = call("complete", tiny, *flags, "--json", stdin="one\ntwo words\n")
    assert [json.loads(line)["text"] for line in out.splitlines()] == texts
    # A prompt that is too long is reported, and the next one answered.
    out, err = call("complete", tiny, *flags, "--json", stdin="x" * 5000 + "\none\n")
    assert [json.loads(line)["text"] for line in out.splitlines()] == texts[:1]
    assert "ERROR" in err


# --------------------------------------------------------------------------------------------
# Ctrl-C


@pytest.fixture
def start(abruzzi, env, tiny):
    """Starts `complete` with slow steps, so that there is time to interrupt it."""
    started = []

    def run(*args):
        process = subprocess.Popen(
            [abruzzi, "complete", tiny, "--max-model-len=8k", "--max-tokens=4000", "--ignore-eos",
             "--log-level=error", *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=env | {"ABRUZZI_FAULTS": "1", "SLOW_STEP_MS": "5"},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def read_until(process, end):
    seen = b""
    while not seen.endswith(end):
        byte = process.stdout.read(1)
        assert byte, seen
        seen += byte
    return seen


def test_interrupt_ends_the_answer(start):
    process = start("-q", PROMPT)
    process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out.endswith(b"\n") and err == b""


def test_interrupt_in_json(start):
    process = start("-q", PROMPT, "--json", "--log-level=info")
    while b"Maximum concurrency" not in process.stderr.readline():
        pass
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    choice = json.loads(out)
    assert process.returncode == 130 and choice["finish_reason"] == "abort"
    assert choice["usage"]["completion_tokens"] == len(choice["ids"]) < 4000


def test_interrupt_leads_back_to_the_prompt(start):
    process = start("--seed=1")
    read_until(process, b"\n> ")
    process.stdin.write(b"first\n")
    process.stdin.flush()
    process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    read_until(process, b"\n> ")
    process.stdin.write(b"second\n")
    process.stdin.flush()
    process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    read_until(process, b"\n> ")
    time.sleep(0.2)  # it waits for a line now
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and out == b"\n"
