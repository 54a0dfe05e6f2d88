"""Random weights as the adversary: whatever the model would rather say, what comes out is valid.

The tiny checkpoint writes noise. Tokens that close things are favoured, so that most outputs come to
an end; each that did must be what was asked for, as python's jsonschema judges.
"""

import base64
import concurrent.futures
import json

import jsonschema
import pytest

from schema_maker import make_schemas

GENERATED = 200
MAX_TOKENS = 400


@pytest.fixture(scope="module")
def closers(tiny):
    """logit_bias that favours ends: of strings, containers, numbers, calls, thoughts and turns."""
    ids = {}
    for line in (tiny / "tiktoken.model").read_text().splitlines():
        text, rank = line.split()
        ids[base64.b64decode(text).decode("latin-1")] = int(rank)
    config = json.loads((tiny / "tokenizer_config.json").read_text())
    for number, token in config["added_tokens_decoder"].items():
        ids[token["content"]] = int(number)
    strong = ["}", "]", "<|im_end|>", "<|tool_call_end|>", "<|tool_calls_section_end|>"]
    bias = {'"': 17, "</think>": 12, ":": 4, "<|tool_call_argument_begin|>": 12}
    bias |= {name: 12 for name in strong}
    # No white space to pass the time with, and numbers that end.
    bias |= {name: -6 for name in (" ", "\n", "\t", "\r", "0", "[", "{", "\\")}
    return {str(ids[name]): value for name, value in bias.items()}


def given_schemas(root):
    """The schemas of a provider's own verifier, where they are at hand."""
    cases = root.parent / "shared" / "data" / "schemas" / "validator_cases"
    paths = sorted(cases.glob("*/valid.jsonl"))
    lines = [line for path in paths for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def schemas(root):
    return given_schemas(root) + make_schemas(GENERATED, seed=4)


def ask_all(server, bodies):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(
            pool.map(lambda body: server.post("/v1/chat/completions", body, timeout=300), bodies)
        )


def judge(schema, text):
    """The text is JSON, without keys that are there twice, and an instance of the schema."""

    def unique(pairs):
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), f"keys twice in {text!r}"
        return dict(pairs)

    value = json.loads(text, object_pairs_hook=unique)
    jsonschema.Draft202012Validator(schema).validate(value)


def common(closers, seed):
    return {
        "messages": [{"role": "user", "content": "Say something."}],
        "seed": seed,
        "max_tokens": MAX_TOKENS,
        "thinking_token_budget": 20,
        "logit_bias": closers,
    }


def has_instances(schema):
    """Schemas whose shortest instance is longer than any output cannot finish."""
    return schema.get("minLength", 0) < 10**6


def check_finished(replies, schemas, texts_of):
    finished = 0
    for schema, (status, reply) in zip(schemas, replies):
        assert status == 200, (schema, reply)
        choice = reply["choices"][0]
        assert choice["finish_reason"] in ("stop", "tool_calls", "length")
        if choice["finish_reason"] == "length":
            continue
        finished += 1
        for text in texts_of(choice):
            judge(schema, text)
    possible = sum(has_instances(schema) for schema in schemas)
    assert finished >= 0.8 * possible, f"only {finished} of {possible} finished"


def test_response_format(server, closers, schemas):
    bodies = [
        common(closers, seed)
        | {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema},
            }
        }
        for seed, schema in enumerate(schemas)
    ]
    check_finished(
        ask_all(server, bodies), schemas, lambda choice: [choice["message"]["content"]]
    )


def tools_for(schema, decoy):
    """Two tools, the second with the schema, that look alike."""
    names = ["look.up-all", "look.up"]
    parameters = [decoy, schema]
    return [
        {"type": "function", "function": {"name": name, "parameters": value, "strict": True}}
        for name, value in zip(names, parameters)
    ]


DECOY = {
    "type": "object",
    "properties": {"x": {"enum": ["a", "b"]}},
    "required": ["x"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("choice", ["auto", "required", "named"])
def test_tool_arguments(server, closers, schemas, choice):
    step = {"auto": 3, "required": 1, "named": 3}[choice]
    some = schemas[::step]
    named = {"type": "function", "function": {"name": "look.up"}}
    bodies = [
        common(closers, seed)
        | {
            "tools": tools_for(schema, DECOY),
            "tool_choice": named if choice == "named" else choice,
        }
        for seed, schema in enumerate(some)
    ]
    if choice == "auto":  # noise would hardly ever begin a call
        for body in bodies:
            body |= {"logit_bias": closers | calls_begin(server), "parallel_tool_calls": False}
    made = {"look.up": 0, "look.up-all": 0}

    def texts(reply_choice):
        calls = reply_choice["message"].get("tool_calls") or []
        assert calls or choice == "auto"
        for call in calls:
            made[call["function"]["name"]] += 1  # a KeyError: the tool was not declared
            if call["function"]["name"] == "look.up":
                yield call["function"]["arguments"]
            else:
                judge(DECOY, call["function"]["arguments"])

    check_finished(ask_all(server, bodies), some, texts)
    assert made["look.up"] > 0
    assert (made["look.up-all"] > 0) is (choice != "named")


def calls_begin(server):
    """A bias towards a call once the thought has ended, and towards the end after it."""
    status, reply = server.post(
        "/tokenize", {"prompt": "<|tool_calls_section_begin|><|im_end|>"}
    )
    assert status == 200 and reply["count"] == 2
    return dict(zip(map(str, reply["tokens"]), (40, 30)))


def test_no_tools_no_calls(server, closers):
    """Without tools no marker can be sampled, however much the request would like it."""
    markers = [
        "<|tool_calls_section_begin|>",
        "<|tool_call_begin|>",
        "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        "<|tool_calls_section_end|>",
    ]
    ids = server.post("/tokenize", {"prompt": "".join(markers)})[1]["tokens"]
    assert len(ids) == len(markers)
    body = common({str(number): 100 for number in ids}, 1) | {"return_token_ids": True}
    status, reply = server.post("/v1/chat/completions", body)
    assert status == 200
    assert not set(reply["choices"][0]["token_ids"]) & set(ids)
    assert not reply["choices"][0]["message"].get("tool_calls")
