"""The datasets of src/measure/samples*.c against vLLM's construction, written anew with numpy,
random and tiktoken; and the sums of prompts that vLLM itself made."""

import hashlib
import json
import math
import random
import subprocess

import numpy as np
import pytest
from cli.test_tokenizer_oracle import ALLOW_SPECIAL, Reference


@pytest.fixture(scope="module", params=["tiny", "kimi"])
def folder(request):
    if request.param == "tiny":
        return request.getfixturevalue("tiny")
    return request.getfixturevalue("shared") / "data/kimi-tokenizer"


@pytest.fixture(scope="module")
def reference(folder):
    return Reference(folder)


@pytest.fixture
def samples(build):
    def run(folder, *args):
        return subprocess.run(
            [build / "tests/tools/samples", folder, *map(str, args)],
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def made(samples):
    def run(folder, *args):
        done = samples(folder, *args)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def triples(rows):
    return [(row["prompt"], row["prompt_len"], row["output_len"]) for row in rows]


# random --------------------------------------------------------------------------------------


class Maker:
    """vLLM 0.33's RandomDataset, and that of 0.11.2 (`old`)."""

    def __init__(self, reference, folder, seed, old):
        config = json.loads((folder / "tokenizer_config.json").read_text())
        added = config["added_tokens_decoder"]
        special = {int(i) for i, token in added.items() if token["special"]}
        self.size = reference.encoding.n_vocab
        self.allowed = [i for i in range(self.size) if i not in special]
        self.reference, self.old = reference, old
        self.rng = np.random.default_rng(seed)

    def again(self, ids):
        text = self.reference.encoding.decode(ids)
        return text, self.reference.encode(text, ALLOW_SPECIAL)

    def settle(self, ids, wanted):
        for _ in range(10):
            text, ids = self.again(ids)
            if len(ids) == wanted:
                return text, ids
            if len(ids) < wanted:
                ids += self.rng.integers(0, self.size, size=wanted - len(ids)).tolist()
            ids = ids[:wanted]
        return self.again(ids)

    def sample(self, n, inputs, outputs, prefix_len, ratio):
        draw = self.rng.integers
        in_lens = draw(
            math.floor(inputs * (1 - ratio)), math.ceil(inputs * (1 + ratio)) + 1, size=n
        )
        low = max(1, math.floor(outputs * (1 - ratio)))
        out_lens = draw(low, max(1, math.ceil(outputs * (1 + ratio))) + 1, size=n)
        offsets = draw(0, self.size, size=n)
        prefix = []
        if prefix_len > 0:
            prefix = [self.allowed[i] for i in draw(0, len(self.allowed), size=prefix_len)]
            if not self.old:
                prefix = self.settle(prefix, prefix_len)[1]
        for i in range(n):
            start, size = offsets[i] + i, len(self.allowed)
            inner = [self.allowed[(start + j) % size] for j in range(in_lens[i])]
            text, ids = self.settle(prefix + inner, prefix_len + int(in_lens[i]))
            yield text, len(ids), int(out_lens[i])


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "case",
    [
        (20, 256, 128, 0, 0.0, 0),
        (40, 100, 50, 20, 0.5, 1),
        (60, 37, 9, 5, 0.9, 42),
        (5, 1000, 0, 300, 0.2, 2**40),
        (3, 0, 4, 7, 0.0, 5),
    ],
)
def test_random(made, folder, reference, case, old):
    n, inputs, outputs, prefix, ratio, seed = case
    expected = list(Maker(reference, folder, seed, old).sample(n, inputs, outputs, prefix, ratio))
    found = made(folder, "random", n, inputs, outputs, prefix, ratio, seed, int(old))
    assert triples(found) == expected
    assert all(row["conversation"] == -1 and not row["messages"] for row in found)


# SHA-256 over "PROMPT_LEN OUTPUT_LEN PROMPT", joined by NUL, of the real datasets.RandomDataset
# with Kimi's tokenizer: the first of vLLM 0.33.0, the second of 0.11.2.
REAL = {
    (100, 1024, 128, 0, 0.0, 0): ("16536d2f336d5bc3", "16536d2f336d5bc3"),
    (20, 8000, 4000, 0, 0.0, 0): ("cd9de1bc132d1e7d", "cd9de1bc132d1e7d"),
    (40, 300, 50, 20, 0.5, 1): ("85cade3b70346266", "85cade3b70346266"),
    (10, 1000, 10, 700, 0.2, 2**31): ("cd7c225950be3df0", "63cab5c1ced88800"),
}


@pytest.mark.parametrize("case", REAL)
def test_random_is_vllms(made, shared, case):
    for old in (0, 1):
        rows = made(shared / "data/kimi-tokenizer", "random", *case, old)
        text = "\0".join(f"{r['prompt_len']} {r['output_len']} {r['prompt']}" for r in rows)
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == REAL[case][old], old


@pytest.mark.parametrize(
    "case, word",
    [
        ((1, 1, 1, 0, 1.0, 0), "--random-range-ratio"),
        ((1, 1, 1, 0, 0.5, 0), "--random-input-len"),
        ((1, 0, 1, 0, 0, 0), "--random-input-len"),
        ((-1, 8, 1, 0, 0, 0), "random dataset"),
        ((1, 2**30, 1, 0, 0, 0), "random dataset"),
    ],
)
def test_wrong_random(samples, tiny, case, word):
    done = samples(tiny, "random", *case, 0)
    assert done.returncode == 64 and word in done.stderr and done.stdout == ""


# sharegpt ------------------------------------------------------------------------------------

WORDS = "alpha beta 你好 <|im_end|> [EOS] if (x) { return 1; } naïve 🙂 <|reserved_token_600|>"
WORDS = WORDS.split(" ")


def words(source, n):
    return " ".join(source.choice(WORDS) for _ in range(n))


@pytest.fixture(scope="module")
def conversations():
    source = random.Random(9)
    entries = []
    for _ in range(300):
        turns = [{"from": "x", "value": words(source, source.choice([1, 2, 5, 50, 300, 900]))}
                 for _ in range(source.randint(0, 4))]
        entries.append({"id": "x", "conversations": turns})
    return [*entries, {"id": 3}]


def oversampled(rows, n, seed):
    source = random.Random(seed)
    return rows + [source.choice(rows) for _ in range(n - len(rows))]


def sharegpt(reference, entries, n, output_len, seed, shuffle, oversample):
    entries = [e for e in entries if len(e.get("conversations", [])) >= 2]
    if shuffle:
        random.Random(seed).shuffle(entries)
    rows = []
    for entry in entries:
        if len(rows) == n:
            break
        prompt, answer = (turn["value"] for turn in entry["conversations"][:2])
        prompt_len = len(reference.encode(prompt, ALLOW_SPECIAL))
        out = output_len or len(reference.encode(answer, ALLOW_SPECIAL))
        too_short = prompt_len < 4 or (not output_len and out < 4)
        if not (too_short or prompt_len > 1024 or prompt_len + out > 2048):
            rows.append((prompt, prompt_len, out))
    return oversampled(rows, n, seed) if oversample else rows


@pytest.mark.parametrize("n, output_len, seed", [(20, 0, 0), (400, 0, 3), (700, 700, 2**33)])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("oversample", [True, False])
def test_sharegpt(made, tmp_path, folder, reference, conversations, n, output_len, seed, shuffle,
                  oversample):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(conversations))
    flags = ["no-shuffle"] * (not shuffle) + ["no-oversample"] * (not oversample)
    found = made(folder, "sharegpt", path, n, output_len, seed, *flags)
    expected = sharegpt(reference, conversations, n, output_len, seed, shuffle, oversample)
    assert triples(found) == expected


@pytest.fixture(scope="module")
def of_length(reference):
    def make(n):
        text = "a" + " a" * (n - 1)
        assert len(reference.encode(text, ALLOW_SPECIAL)) == n
        return text

    return make


def test_sharegpt_bounds(made, tmp_path, folder, of_length):
    path = tmp_path / "s.json"

    def lengths(pairs, output_len=0):
        entries = [{"conversations": [{"value": of_length(n)} for n in pair]} for pair in pairs]
        path.write_text(json.dumps(entries))
        rows = made(folder, "sharegpt", path, 99, output_len, 0, "no-shuffle", "no-oversample")
        return [(row["prompt_len"], row["output_len"]) for row in rows]

    good = [(4, 4), (1024, 4), (1024, 1024), (4, 2044)]
    bad = [(3, 4), (4, 3), (1025, 4), (1024, 1025), (4, 2045)]
    assert lengths(good + bad) == good
    # A length that was given may be short, and stands for the answer's.
    assert lengths([(3, 9), (4, 1), (1024, 9000)], 1) == [(4, 1), (1024, 1)]
    assert lengths([(4, 4), (1024, 4), (1023, 4)], 1025) == [(4, 1025), (1023, 1025)]


TURN = {"from": "human", "value": "one two three four five six"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "s.json: line 1"),
        ("{", "s.json: line 1"),
        ("{}", "s.json: not a list"),
        ("[]", "s.json: no conversation"),
        ("[3]", "s.json: [0]: not an object"),
        ('[{"conversations": 3}]', "s.json: [0].conversations: not a list"),
        ('[{"conversations": [1, 2]}]', "s.json: [0].conversations[0].value: not a string"),
        (json.dumps([{}, {"conversations": [TURN, {"value": None}]}]),
         "s.json: [1].conversations[1].value: not a string"),
        (json.dumps([{"conversations": [TURN, TURN], "image": "a.png"}]), "s.json: [0].image"),
        (json.dumps([{"conversations": [TURN]}]), "s.json: no conversation"),
        ("[" * 100000, "s.json: line 1"),
        ("\ufeff[]", "s.json: line 1"),
    ],
)
def test_wrong_sharegpt(samples, tmp_path, tiny, text, message):
    path = tmp_path / "s.json"
    path.write_text(text)
    done = samples(tiny, "sharegpt", path, 10, 0, 0)
    assert done.returncode == 64 and message in done.stderr and done.stdout == ""


# custom --------------------------------------------------------------------------------------


@pytest.fixture
def prompts(tmp_path):
    source = random.Random(5)
    rows = [{"prompt": words(source, source.randint(1, 40)), "output_tokens": source.randint(1, 90)}
            for _ in range(57)]
    path = tmp_path / "c.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n \n")
    return path, rows


@pytest.mark.parametrize("n, output_len, seed", [(20, 33, 0), (57, -1, 1), (200, 5, 2), (0, 7, 3)])
def test_custom(made, folder, reference, prompts, n, output_len, seed):
    path, rows = prompts
    random.Random(seed).shuffle(rows)
    expected = []
    for row in rows[: n or len(rows)]:
        length = len(reference.encode(row["prompt"], ALLOW_SPECIAL))
        expected.append((row["prompt"], length,
                         row["output_tokens"] if output_len == -1 else output_len))
    expected = oversampled(expected, n or len(rows), seed)
    assert triples(made(folder, "custom", path, n, output_len, seed)) == expected


def test_custom_template(made, folder, reference, tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"prompt": "a <|im_end|> b"}\n')
    (row,) = made(folder, "custom", path, 1, 3, 0, "template")
    head = "<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI."
    assert row["prompt"].startswith(head)
    assert row["prompt"].endswith(
        "<|im_user|>user<|im_middle|>a <|im_end|> b<|im_end|><|im_assistant|>assistant<|im_middle|>"
    )
    assert row["prompt_len"] == len(reference.encode(row["prompt"], ALLOW_SPECIAL))


@pytest.mark.parametrize(
    "text, output_len, message",
    [
        ("", 1, "c.jsonl: no lines"),
        ('{"prompt": "a"}\n[1]\n', 1, "c.jsonl:2: not an object"),
        ('{"prompt": "a"}\n\n{"prompt": \n', 1, "c.jsonl:3: line 1"),
        ('{"prompt": "a"}\n{"text": "b"}\n', 1, "c.jsonl:2: prompt: missing"),
        ('{"prompt": 5}\n', 1, "c.jsonl:1: prompt: not a string"),
        ('{"prompt": "a"}\n', 0, "c.jsonl:1: output_tokens: missing"),
        ('{"prompt": "a", "output_tokens": 0}\n', -1, "c.jsonl:1: output_tokens: not a positive"),
        ('{"prompt": "a", "output_tokens": 99999999999}\n', 0, "c.jsonl:1: output_tokens: not"),
        ('{"prompt": "a", "prompt": "b"}\n', 1, "c.jsonl:1: line 1"),
    ],
)
def test_wrong_custom(samples, tmp_path, tiny, text, output_len, message):
    path = tmp_path / "c.jsonl"
    path.write_text(text)
    done = samples(tiny, "custom", path, 5, output_len, 0, "no-shuffle")
    assert done.returncode == 64 and message in done.stderr and done.stdout == ""


@pytest.mark.parametrize("name", ["sharegpt", "custom", "agent"])
def test_no_file(samples, tmp_path, tiny, name):
    for path in (tmp_path / "absent", tmp_path):
        done = samples(tiny, name, path, 5, 1, 0)
        assert done.returncode == 64 and str(path) in done.stderr


# agent ---------------------------------------------------------------------------------------

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def call(number, arguments):
    return {"id": f"functions.look:{number}", "type": "function",
            "function": {"name": "look", "arguments": arguments}}


CHAT = {
    "tools": TOOLS,
    "messages": [
        {"role": "system", "content": "You look."},
        {"role": "user",
         "content": [{"type": "text", "text": "Where"}, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": None, "reasoning_content": "Look twice.",
         "tool_calls": [call(0, '{"at": 1}'), call(1, '{"at": 2}')]},
        {"role": "tool", "tool_call_id": "functions.look:0", "content": "a wall"},
        {"role": "tool", "tool_call_id": "functions.look:1", "content": "a door"},
        {"role": "assistant", "content": "At the door."},
        {"role": "user", "content": "Thanks."},
        {"role": "assistant", "content": "Bye."},
    ],
}
PLAIN = {
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "No."},
        {"role": "assistant", "content": "Well."},
    ]
}


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prompt_len(build, folder, messages, tools):
    """By the test tool that other tests compare with the model's own template."""
    line = json.dumps({"messages": messages, "tools": tools, "add_generation_prompt": True})
    done = subprocess.run([build / "tests/tools/render", folder], input=line + "\n", text=True,
                          capture_output=True, check=True)
    return len(json.loads(done.stdout)["ids"])


def test_agent(build, made, tmp_path, folder, reference):
    path = write_lines(tmp_path / "a.jsonl", [CHAT, PLAIN])
    rows = made(folder, "agent", path, 0, 0, 0, "no-shuffle")
    ends = [(CHAT, 2), (CHAT, 5), (CHAT, 7), (PLAIN, 1), (PLAIN, 3)]
    assert [json.loads(r["prompt"]) for r in rows] == [c["messages"][:i] for c, i in ends]
    assert [r["conversation"] for r in rows] == [0, 0, 0, 1, 1]
    assert [r["tools"] for r in rows] == [TOOLS] * 3 + [None] * 2
    assert [r["prompt_len"] for r in rows] == [
        prompt_len(build, folder, c["messages"][:i], c.get("tools", [])) for c, i in ends]

    def length(*texts):
        return sum(len(reference.encode(text, 0)) for text in texts)

    # think and /think, two calls of three markers, section begin and end, the end of the turn
    first = length("Look twice.", "functions.look:0", '{"at": 1}', "functions.look:1", '{"at": 2}')
    assert [r["output_len"] for r in rows] == [
        2 + first + 6 + 2 + 1, length("At the door.") + 3, length("Bye.") + 3, length("Yes?") + 3,
        length("Well.") + 3]


def test_agent_counts_requests(made, tmp_path, tiny):
    path = write_lines(tmp_path / "a.jsonl", [CHAT, PLAIN])
    for seed in range(6):
        order = [CHAT, PLAIN]
        random.Random(seed).shuffle(order)
        turns = [[c["messages"][:i] for i in ((2, 5, 7) if c is CHAT else (1, 3))] for c in order]
        base = [t for conversation in turns for t in conversation]
        source = random.Random(seed)
        repeated = list(base)
        numbers = [i for i, conversation in enumerate(turns) for _ in conversation]
        while len(repeated) < 14:
            more = turns[source.choice(range(2))]
            repeated += more
            numbers += [numbers[-1] + 1] * len(more)
        for n, flags in ((4, []), (5, []), (14, []), (14, ["no-oversample"])):
            rows = made(tiny, "agent", path, n, 9, seed, *flags)
            count = min(n, 5) if flags else n
            assert [json.loads(r["prompt"]) for r in rows] == repeated[:count]
            assert [r["conversation"] for r in rows] == numbers[:count]
            assert {r["output_len"] for r in rows} == {9}


@pytest.mark.parametrize(
    "row, message",
    [
        ({}, "messages: missing"),
        ({"messages": {}}, "messages: not a list"),
        ({"messages": []}, "messages: not a list of messages"),
        ({"messages": [3]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "messages: no turn"),
        ({"messages": [{"role": "user", "content": "a"}]},
         "messages[0].role: no answer follows, and no length was given"),
        ({"messages": [{"role": "user", "content": "a"}], "tools": {}}, "tools: not a list"),
        ({"messages": [{"role": "user", "content": "a"}], "tools": [1]}, "tools[0]: not an object"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "x"}}]}]},
         "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": 1}]},
         "messages[0].tool_calls: not a list"),
    ],
)
def test_wrong_agent(samples, tmp_path, tiny, row, message):
    path = write_lines(tmp_path / "a.jsonl", [PLAIN, row])
    done = samples(tiny, "agent", path, 10, 0, 0, "no-shuffle")
    assert done.returncode == 64 and "a.jsonl:2: " + message in done.stderr, done.stderr
    assert done.stdout == ""
