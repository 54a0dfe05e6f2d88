"""Tools in chats: what the model is shown, what clients get, and what is refused."""

import json

import openai
import pydantic
import pytest

SECTION, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"


def call(identity, arguments):
    return (
        f"<|tool_call_begin|>{identity}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>"
    )


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
TOOLS = [WEATHER, CLOCK]

SCRIPTS = [
    {
        "match": "two calls",
        "text": "<think>I need two.</think>Let me look."
        + SECTION
        + call("functions.get_weather:0", '{"city": "Köln", "days":  2}')
        + call("functions.clock:1", "{}")
        + SECTION_END,
    },
    {
        "match": "in thought",
        "text": "<think>Now I call" + SECTION + call("functions.clock:0", "") + SECTION_END,
    },
    {
        "match": "cut off",
        "text": "<think>x</think>"
        + SECTION
        + '<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Bo',
        "finish": "length",
    },
    {
        "match": "many at once",
        "text": "<think>x</think>a"
        + SECTION
        + call("get_weather", '{"city":"A"}')
        + call("functions.get_weather:7", '{"city":"B"}')
        + SECTION_END,
        "chunks": [1000],
    },
    {"match": "plain", "text": "<think>hm</think>No tool is needed."},
    {"match": "*", "text": "<think>t</think>ok"},
]


@pytest.fixture(scope="module")
def scripted(replay):
    return replay(SCRIPTS)


@pytest.fixture(scope="module")
def client(scripted):
    return openai.OpenAI(base_url=scripted.url + "/v1", api_key="unused", max_retries=0)


def asking(text, **more):
    return {
        "model": "tiny",
        "messages": [{"role": "user", "content": text}],
        "tools": TOOLS,
        **more,
    }


def shape(calls):
    return [(c.id, c.type, c.function.name, c.function.arguments) for c in calls or []]


TWO = [
    ("functions.get_weather:0", "function", "get_weather", '{"city": "Köln", "days":  2}'),
    ("functions.clock:1", "function", "clock", "{}"),
]


def test_calls_of_a_whole_reply(client):
    choice = client.chat.completions.create(**asking("two calls")).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    assert choice.message.reasoning_content == choice.message.reasoning == "I need two."
    assert shape(choice.message.tool_calls) == TWO


def test_call_inside_a_thought_without_arguments(client):
    choice = client.chat.completions.create(**asking("in thought")).choices[0]
    assert choice.message.content is None
    assert choice.message.reasoning == "Now I call"
    assert shape(choice.message.tool_calls) == [("functions.clock:0", "function", "clock", "{}")]
    assert choice.finish_reason == "tool_calls"


def test_no_call_no_field(scripted):
    status, reply = scripted.post("/v1/chat/completions", asking("plain"))
    assert status == 200
    choice = reply["choices"][0]
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == "No tool is needed."


def test_cut_off(client):
    choice = client.chat.completions.create(**asking("cut off")).choices[0]
    assert choice.finish_reason == "length"
    assert shape(choice.message.tool_calls) == [
        ("functions.get_weather:0", "function", "get_weather", '{"city": "Bo')
    ]


@pytest.mark.parametrize("text", ["two calls", "in thought", "cut off", "many at once", "plain"])
def test_stream_is_the_whole(client, text):
    whole = client.chat.completions.create(**asking(text)).choices[0]
    calls, content, reasons = [], "", []
    for chunk in client.chat.completions.create(**asking(text), stream=True):
        for choice in chunk.choices:
            delta = choice.delta
            content += delta.content or ""
            if choice.finish_reason:
                reasons.append(choice.finish_reason)
            if delta.tool_calls is None:
                continue
            assert len(delta.tool_calls) == 1  # never none, and clients look at the first alone
            entry = delta.tool_calls[0]
            if entry.index == len(calls):
                assert entry.id and entry.type == "function" and entry.function.name
                assert entry.function.arguments == ""
                calls.append([entry.id, entry.type, entry.function.name, ""])
            else:
                assert entry.index == len(calls) - 1
                assert entry.id is None and entry.function.name is None
                assert entry.function.arguments
                calls[-1][3] += entry.function.arguments
    assert [tuple(c) for c in calls] == shape(whole.message.tool_calls)
    assert content == (whole.message.content or "")
    assert reasons == [whole.finish_reason]


@pytest.mark.parametrize("text", ["two calls", "in thought", "many at once"])
def test_the_streaming_helper_of_the_package(client, text):
    whole = client.chat.completions.create(**asking(text)).choices[0]
    with client.chat.completions.stream(**asking(text)) as stream:
        events = list(stream)
        final = stream.get_final_completion().choices[0]
    assert shape(final.message.tool_calls) == shape(whole.message.tool_calls)
    assert (final.message.content or "") == (whole.message.content or "")
    assert final.finish_reason == "tool_calls"
    done = [e for e in events if e.type == "tool_calls.function.arguments.done"]
    assert [(e.name, e.arguments) for e in done] == [c[2:] for c in shape(final.message.tool_calls)]


def test_ids_are_made_where_the_model_made_none(client):
    choice = client.chat.completions.create(**asking("many at once")).choices[0]
    ids = [c.id for c in choice.message.tool_calls]
    assert ids == ["functions.get_weather:0", "functions.get_weather:7"]


def test_parallel_tool_calls_false_shows_the_first(client):
    asked = asking("two calls", parallel_tool_calls=False)
    choice = client.chat.completions.create(**asked).choices[0]
    assert shape(choice.message.tool_calls) == TWO[:1]
    indices = {
        entry.index
        for chunk in client.chat.completions.create(**asked, stream=True)
        for choice in chunk.choices
        for entry in choice.delta.tool_calls or []
    }
    assert indices == {0}


def test_named_and_required(client):
    asked = asking("two calls", tool_choice={"type": "function", "function": {"name": "clock"}})
    assert client.chat.completions.create(**asked).choices[0].finish_reason == "stop"
    asked = asking("two calls", tool_choice="required")
    assert client.chat.completions.create(**asked).choices[0].finish_reason == "tool_calls"


def test_choice_none(scripted, client):
    choice = client.chat.completions.create(**asking("plain", tool_choice="none")).choices[0]
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"


def test_include_reasoning_false(client):
    asked = asking("two calls", extra_body={"include_reasoning": False})
    message = client.chat.completions.create(**asked).choices[0].message
    assert message.reasoning is None and message.reasoning_content is None
    assert shape(message.tool_calls) == TWO


def test_logprobs_cover_all_tokens(client):
    reply = client.chat.completions.create(**asking("two calls", logprobs=True))
    assert len(reply.choices[0].logprobs.content) == reply.usage.completion_tokens


def test_stop_strings_spare_arguments(client):
    choice = client.chat.completions.create(**asking("two calls", stop=["city", "Köln"])).choices[0]
    assert shape(choice.message.tool_calls) == TWO


def test_usage_and_timings(scripted):
    status, reply = scripted.post("/v1/chat/completions", asking("two calls"))
    assert status == 200
    details = reply["usage"]["completion_tokens_details"]
    assert 0 < details["reasoning_tokens"] < reply["usage"]["completion_tokens"]
    times = reply["metrics"]
    assert set(times) == {"queued_ms", "prefill_ms", "decode_ms", "time_to_first_token_ms"}
    assert all(value >= 0 for value in times.values())


def test_a_miss_has_a_place_and_a_reason(serve, tiny):
    server = serve(tiny, "--served-model-name", "tiny", "--enable-prompt-tokens-details")
    asked = asking("word " * 60, max_tokens=2, temperature=0)
    asked["messages"].append({"role": "user", "content": "one"})
    first = server.post("/v1/chat/completions", asked)[1]["usage"]["prompt_tokens_details"]
    assert first["cached_tokens"] == 0
    again = server.post("/v1/chat/completions", asked)[1]["usage"]["prompt_tokens_details"]
    assert again["cached_tokens"] > 0
    assert "miss" not in again
    asked["messages"][0]["content"] = "word " * 30 + "another " + "word " * 29
    other = server.post("/v1/chat/completions", asked)[1]["usage"]["prompt_tokens_details"]
    assert 0 < other["cached_tokens"] < again["cached_tokens"]
    assert other["miss"]["reason"] == "differs"
    assert other["cached_tokens"] <= other["miss"]["token"]


# -------------------------------------------------------------------------------------------------
# What the model is shown


def prompt(server, **body):
    status, reply = server.post("/tokenize", {"model": "tiny", **body})
    assert status == 200, reply
    return reply["prompt"]


def test_tools_are_declared(scripted):
    text = prompt(scripted, messages=[{"role": "user", "content": "q"}], tools=TOOLS)
    declared = text[text.index("<|im_middle|>") + len("<|im_middle|>") : text.index("<|im_end|>")]
    assert text.startswith("<|im_system|>tool_declare")
    assert declared == json.dumps(
        TOOLS, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def test_what_clients_leave_out(scripted):
    """A tool's type and a call's arguments have defaults, as in vLLM."""

    def rendered(function, tools):
        calls = [{"id": "functions.clock:0", "type": "function", "function": function}]
        messages = [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "functions.clock:0", "content": "9"},
        ]
        status, reply = scripted.post("/tokenize", {"messages": messages, "tools": tools})
        assert status == 200, reply
        return reply["prompt"]

    whole = rendered({"name": "clock", "arguments": "{}"}, [CLOCK])
    bare = [{"function": CLOCK["function"]}]
    assert rendered({"name": "clock"}, bare) == whole
    assert rendered({"name": "clock", "arguments": None}, bare) == whole


# As it is in the body -> as the model is shown it.
TEXTS = {
    "a\\u0000b": "a�b",
    "\\uD83Dx": "�x",
    "\\ude00\\ud83d": "��",
    "\\ud83d\\ude00": "😀",
    "\\\\u0000": "\\u0000",
    "\\\\\\u0000\\u00e9": "\\�é",
}
SHAPES = {
    "/v1/chat/completions": '"messages":[{"role":"user","content":"TEXT"}]',
    "/v1/messages": '"messages":[{"role":"user","content":[{"type":"text","text":"TEXT"}]}]',
    "/v1/responses": '"input":"TEXT"',
}


@pytest.mark.parametrize("path", SHAPES)
def test_what_is_no_text_does_not_end_a_conversation(replay, path):
    """Agents send what tools have printed: NUL, and pairs of surrogates that were cut apart."""
    server = replay(
        {"match": f">{want}<", "text": f"<think></think>{i}"}
        for i, want in enumerate(TEXTS.values())
    )
    for i, text in enumerate(TEXTS):
        body = "{" + SHAPES[path].replace("TEXT", f">{text}<") + ',"max_tokens":9}'
        status, _, reply = server.request("POST", path, body.encode())
        assert status == 200, (text, reply)
        assert f'"{i}"' in reply.decode(), (text, reply)


def test_tools_with_choice_none(scripted, replay):
    body = {
        "messages": [{"role": "user", "content": "q"}],
        "tools": TOOLS,
        "tool_choice": "none",
    }
    assert "tool_declare" in prompt(scripted, **body)
    other = replay(SCRIPTS, "--exclude-tools-when-tool-choice-none")
    assert "tool_declare" not in prompt(other, **body)
    assert "tool_declare" in prompt(other, **{**body, "tool_choice": "auto"})


def history(first, second):
    def one(identity, city):
        return {
            "id": identity,
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
        }

    return [
        {"role": "user", "content": "many at once"},
        {
            "role": "assistant",
            "content": None,
            "reasoning": "both",
            "tool_calls": [one(first, "A"), one(second, "B")],
        },
        {"role": "tool", "tool_call_id": first, "content": "1"},
        {"role": "tool", "tool_call_id": second, "content": "2"},
    ]


def test_foreign_ids_are_shown_as_the_models_own(scripted):
    own = prompt(
        scripted,
        messages=history("functions.get_weather:0", "functions.get_weather:1"),
        tools=TOOLS,
    )
    assert "## Return of functions.get_weather:1\n2" in own
    foreign = prompt(scripted, messages=history("call_abc", "toolu_1"), tools=TOOLS)
    assert foreign == own


def test_ids_of_the_history_are_not_made_again(client):
    asked = asking("")
    asked["messages"] = history("functions.get_weather:0", "functions.get_weather:7")
    ids = [c.id for c in client.chat.completions.create(**asked).choices[0].message.tool_calls]
    assert len(set(ids) | {"functions.get_weather:0", "functions.get_weather:7"}) == 4


@pytest.mark.parametrize(
    "off",
    [
        {"chat_template_kwargs": {"thinking": False}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"thinking": "false"}},
        {"chat_template_kwargs": {"thinking": "False"}},
        {"chat_template_kwargs": {"enable_thinking": 0}},
        {"chat_template_kwargs": {"thinking": {"type": "disabled"}}},
        {"thinking": {"type": "disabled"}},
        {"enable_thinking": False},
        {"reasoning_effort": "none"},
    ],
    ids=json.dumps,
)
def test_thinking_off(scripted, off):
    messages = [{"role": "user", "content": "q"}]
    on = prompt(scripted, messages=messages)
    assert prompt(scripted, messages=messages, **off) == on + "<think></think>"
    status, reply = scripted.post(
        "/v1/chat/completions", {"model": "tiny", "messages": messages, **off}
    )
    assert status == 200
    # The script thinks all the same, but what follows a thought that has ended is the answer.
    assert reply["choices"][0]["message"]["reasoning"] is None
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


@pytest.mark.parametrize(
    "on",
    [
        {"chat_template_kwargs": {"thinking": True, "enable_thinking": "true"}},
        {"thinking": {"type": "enabled"}},
        {"thinking": None, "chat_template_kwargs": None},
        {"reasoning_effort": "high"},
    ],
    ids=json.dumps,
)
def test_thinking_on(scripted, on):
    messages = [{"role": "user", "content": "q"}]
    assert prompt(scripted, messages=messages, **on) == prompt(scripted, messages=messages)


# -------------------------------------------------------------------------------------------------
# Servers that were told otherwise


def test_parser_none_gives_raw_text(replay):
    server = replay(SCRIPTS, "--tool-call-parser", "none", "--reasoning-parser", "none")
    status, reply = server.post("/v1/chat/completions", asking("two calls"))
    assert status == 200
    message = reply["choices"][0]["message"]
    assert message["content"] == SCRIPTS[0]["text"]
    assert "tool_calls" not in message
    assert reply["choices"][0]["finish_reason"] == "stop"
    status, reply = server.post(
        "/v1/chat/completions", asking("two calls", tool_choice="required")
    )
    assert status == 400 and reply["error"]["param"] == "tool_choice"
    status, reply = server.post("/v1/chat/completions", asking("q", thinking_token_budget=5))
    assert status == 400 and reply["error"]["param"] == "thinking_token_budget"


# -------------------------------------------------------------------------------------------------
# Random weights: only the constraint makes calls of what they sample


class Move(pydantic.BaseModel):
    """A step."""

    piece: str = pydantic.Field(max_length=3)
    far: bool


@pytest.fixture(scope="module")
def random_client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0)


SMALL = {
    "type": "function",
    "function": {
        "name": "small",
        "parameters": {
            "type": "object",
            "properties": {"on": {"type": "boolean"}, "kind": {"enum": ["a", "b"]}},
            "required": ["on", "kind"],
            "additionalProperties": False,
        },
    },
}


def random_calls(client, seed, **more):
    reply = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "go"}],
        tools=[SMALL],
        max_tokens=400,
        seed=seed,
        temperature=1.0,
        extra_body={"thinking_token_budget": 3},
        **more,
    )
    choice = reply.choices[0]
    for made in choice.message.tool_calls or []:
        assert made.function.name == "small"
        if choice.finish_reason != "length":
            arguments = json.loads(made.function.arguments)
            assert set(arguments) == {"on", "kind"}
            assert isinstance(arguments["on"], bool) and arguments["kind"] in ("a", "b")
    return choice


def test_required_calls(random_client):
    ended = 0
    for seed in range(6):
        choice = random_calls(random_client, seed, tool_choice="required")
        assert choice.message.tool_calls
        assert choice.message.content is None
        ended += choice.finish_reason == "tool_calls"
    assert ended > 0


def test_named_call(random_client):
    for seed in range(4):
        choice = random_calls(
            random_client, seed, tool_choice={"type": "function", "function": {"name": "small"}}
        )
        assert len(choice.message.tool_calls) == 1
        assert choice.finish_reason in ("stop", "length")


def test_one_required_call(random_client):
    for seed in range(4):
        choice = random_calls(
            random_client, seed, tool_choice="required", parallel_tool_calls=False
        )
        assert len(choice.message.tool_calls) == 1


def test_parsed_tools(random_client):
    reply = random_client.chat.completions.parse(
        model="tiny",
        messages=[{"role": "user", "content": "go"}],
        tools=[openai.pydantic_function_tool(Move)],
        tool_choice={"type": "function", "function": {"name": "Move"}},
        max_tokens=400,
        seed=3,
        extra_body={"thinking_token_budget": 3},
    )
    made = reply.choices[0].message.tool_calls
    assert len(made) == 1
    assert isinstance(made[0].function.parsed_arguments, Move)


ODD = {
    "type": "function",
    "function": {
        "name": "odd",
        "parameters": {
            "type": "object",
            "properties": {"x": {"type": "string", "contentEncoding": "base64"}},
            "unevaluatedProperties": False,
        },
    },
}


def test_keywords_that_are_not_understood(serve, tiny):
    server = serve(tiny, "--served-model-name", "tiny")
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "go"}],
        "tools": [ODD],
        "max_tokens": 3,
    }
    before = server.metric("abruzzi_schema_keywords_relaxed_total")
    status, reply = server.post("/v1/chat/completions", body)
    assert status == 200, reply
    assert server.metric("abruzzi_schema_keywords_relaxed_total") > before
    assert "unevaluatedProperties" in server.log()
    named = {"type": "function", "function": {"name": "odd"}}
    strict = {**ODD, "function": {**ODD["function"], "strict": True}}
    for more in ({"tool_choice": "required"}, {"tool_choice": named}, {"tools": [strict]}):
        status, reply = server.post("/v1/chat/completions", {**body, **more})
        assert status == 400, more
        assert reply["error"]["param"].startswith("tools[0].function.parameters")


def test_no_ids_left_is_the_clients_fault(server):
    status, reply = server.post(
        "/v1/chat/completions",
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "go"}],
            "tools": [SMALL],
            "tool_choice": "required",
            "allowed_token_ids": [65],
            "max_tokens": 20,
            "thinking_token_budget": 0,
        },
    )
    assert status == 400, reply
