"""Answers of a given form, from a model of random weights: only the constraint gives them any."""

import enum
import json
import re

import openai
import pydantic
import pytest

MESSAGES = [{"role": "user", "content": "go"}]
NO_THOUGHT = {"chat_template_kwargs": {"thinking": False}}


class Kind(str, enum.Enum):
    one = "one"
    two = "two"


class Part(pydantic.BaseModel):
    kind: Kind
    good: bool


class Answer(pydantic.BaseModel):
    parts: list[Part] = pydantic.Field(min_length=1, max_length=2)
    name: str = pydantic.Field(max_length=4)
    best: Part | None


SCHEMA = {
    "type": "object",
    "properties": {
        "on": {"type": "boolean"},
        "n": {"type": "integer", "minimum": -5, "maximum": 5},
        "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 2},
    },
    "required": ["on", "n", "tags"],
    "additionalProperties": False,
}


def check(text):
    value = json.loads(text)
    assert set(value) == {"on", "n", "tags"}
    assert isinstance(value["on"], bool) and -5 <= value["n"] <= 5
    assert len(value["tags"]) <= 2 and set(value["tags"]) <= {"x", "y"}


def response_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0)


def chat(server, seed=0, **more):
    body = {
        "model": "tiny",
        "messages": MESSAGES,
        "max_tokens": 300,
        "seed": seed,
        "temperature": 1.0,
        **more,
    }
    status, reply = server.post("/v1/chat/completions", body)
    assert status == 200, reply
    return reply["choices"][0]


def finished(answers, least=1):
    """The texts of those that were not cut off."""
    texts = [text for text, reason in answers if reason == "stop"]
    assert len(texts) >= least
    return texts


@pytest.mark.parametrize("thinking", [NO_THOUGHT, {"thinking_token_budget": 5}], ids=["off", "on"])
def test_json_schema(server, thinking):
    answers = []
    for seed in range(5):
        choice = chat(server, seed, response_format=response_format(SCHEMA), **thinking)
        answers.append((choice["message"]["content"], choice["finish_reason"]))
    for text in finished(answers):
        check(text)


def test_thoughts_are_free(server):
    choice = chat(
        server, response_format=response_format(SCHEMA), max_tokens=60, thinking_token_budget=40
    )
    assert choice["message"]["reasoning"]
    assert not choice["message"]["reasoning"].lstrip().startswith("{")


def test_thinking_budget_without_any_form(server):
    body = {"model": "tiny", "messages": MESSAGES, "max_tokens": 40, "seed": 1}
    status, reply = server.post("/v1/chat/completions", {**body, "thinking_token_budget": 6})
    assert status == 200
    assert 0 < reply["usage"]["completion_tokens_details"]["reasoning_tokens"] <= 8
    assert reply["choices"][0]["message"]["content"] is not None
    status, reply = server.post(
        "/v1/chat/completions", {**body, "thinking": {"type": "enabled", "budget_tokens": 6}}
    )
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] <= 8
    status, reply = server.post(
        "/v1/chat/completions",
        {**body, "reasoning_effort": "minimal", "max_tokens": 600, "thinking_token_budget": -1},
    )
    assert status == 200  # -1 takes back what the effort stands for


def test_json_object(server):
    answers = []
    for seed in range(8):
        choice = chat(server, seed, response_format={"type": "json_object"}, **NO_THOUGHT)
        text = choice["message"]["content"]
        assert text.lstrip().startswith("{")
        answers.append((text, choice["finish_reason"]))
    for text, reason in answers:
        if reason == "stop":
            assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("form", ["object", "string"])
def test_structured_outputs_json(server, form):
    schema = SCHEMA if form == "object" else json.dumps(SCHEMA)
    answers = []
    for seed in range(4):
        choice = chat(
            server,
            seed,
            structured_outputs={"json": schema, "disable_any_whitespace": True},
            **NO_THOUGHT,
        )
        answers.append((choice["message"]["content"], choice["finish_reason"]))
    for text in finished(answers, least=3):
        check(text)
        assert text == re.sub(r"\s", "", text)


def test_structured_outputs_additional_properties(server):
    schema = {"type": "object", "properties": {"on": {"type": "boolean"}}}
    answers = []
    for seed in range(4):
        choice = chat(
            server,
            seed,
            structured_outputs={"json": schema, "disable_additional_properties": True},
            **NO_THOUGHT,
        )
        answers.append((choice["message"]["content"], choice["finish_reason"]))
    for text in finished(answers):
        assert set(json.loads(text)) <= {"on"}


def test_structured_outputs_choice_and_regex(server):
    for seed in range(3):
        choice = chat(
            server, seed, structured_outputs={"choice": ["left", "right"]}, **NO_THOUGHT
        )
        assert choice["message"]["content"] in ("left", "right")
        assert choice["finish_reason"] == "stop"
        choice = chat(
            server, seed, structured_outputs={"regex": r"[a-c]{2,4}-\d{3}"}, **NO_THOUGHT
        )
        assert re.fullmatch(r"[a-c]{2,4}-\d{3}", choice["message"]["content"])


def complete(server, **more):
    status, reply = server.post(
        "/v1/completions",
        {"model": "tiny", "prompt": "Once", "max_tokens": 300, "temperature": 1.0, **more},
    )
    assert status == 200, reply
    return reply["choices"]


def test_completions(server):
    choices = complete(
        server, structured_outputs={"choice": ["yes", "no"]}, n=4, seed=1, prompt=["a", "b"]
    )
    assert len(choices) == 8
    assert {choice["text"] for choice in choices} <= {"yes", "no"}
    choices = complete(server, response_format=response_format(SCHEMA), n=4, seed=2)
    for text in finished([(c["text"], c["finish_reason"]) for c in choices]):
        check(text)


def test_stream_is_the_whole(client):
    asked = {
        "model": "tiny",
        "messages": MESSAGES,
        "max_tokens": 200,
        "seed": 4,
        "temperature": 1.0,
        "response_format": response_format(SCHEMA),
        "extra_body": {"thinking_token_budget": 4},
    }
    whole = client.chat.completions.create(**asked).choices[0]
    content = "".join(
        choice.delta.content or ""
        for chunk in client.chat.completions.create(**asked, stream=True)
        for choice in chunk.choices
    )
    assert content == whole.message.content


def test_parse(client):
    parsed = 0
    for seed in range(4):
        try:
            reply = client.chat.completions.parse(
                model="tiny",
                messages=MESSAGES,
                response_format=Answer,
                max_tokens=500,
                seed=seed,
                temperature=1.0,
                extra_body=NO_THOUGHT,
            )
        except openai.LengthFinishReasonError:
            continue
        answer = reply.choices[0].message.parsed
        assert isinstance(answer, Answer)
        assert 1 <= len(answer.parts) <= 2 and len(answer.name) <= 4
        parsed += 1
    assert parsed > 0


def test_streaming_helper_parses(client):
    with client.chat.completions.stream(
        model="tiny",
        messages=MESSAGES,
        response_format=Part,
        max_tokens=300,
        seed=1,
        temperature=1.0,
        extra_body=NO_THOUGHT,
    ) as stream:
        final = stream.get_final_completion().choices[0]
    assert isinstance(final.message.parsed, Part)


def test_answers_beside_tools(server):
    tool = {"type": "function", "function": {"name": "f"}}
    answered = called = 0
    for seed in range(16):
        choice = chat(
            server,
            seed,
            tools=[tool],
            response_format=response_format({"enum": ["p", "q"]}),
            thinking_token_budget=2,
            max_tokens=100,
        )
        message = choice["message"]
        if "tool_calls" in message:
            assert all(call["function"]["name"] == "f" for call in message["tool_calls"])
            called += 1
        elif choice["finish_reason"] == "stop":
            assert json.loads(message["content"]) in ("p", "q")
            answered += 1
    assert answered > 0 and called > 0


WRONG_SCHEMAS = [
    {"type": "object", "unevaluatedProperties": False},
    {"$ref": "#"},
    {"type": "nothing"},
    {"type": "object", "properties": {"a": {"minimum": "1"}}},
    {"type": "object", "properties": {"a": False}, "required": ["a"]},
]


@pytest.mark.parametrize("schema", WRONG_SCHEMAS, ids=json.dumps)
def test_schemas_that_are_refused(server, schema):
    for field, body in [
        ("response_format.json_schema.schema", {"response_format": response_format(schema)}),
        ("structured_outputs.json", {"structured_outputs": {"json": schema}}),
        (
            "tools[0].function.parameters",
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
                "tool_choice": "required",
            },
        ),
    ]:
        status, reply = server.post(
            "/v1/chat/completions",
            {"model": "tiny", "messages": MESSAGES, "max_tokens": 4, **body},
        )
        assert status == 400, (field, reply)
        assert reply["error"]["param"].startswith(field), reply
