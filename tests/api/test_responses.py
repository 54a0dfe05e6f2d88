"""/v1/responses, as the openai package and agents built on it use it."""

import itertools
import json

import openai
import pytest

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Look up the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
CALLS = (
    "<think>Both cities, “at once”.</think>I look.<|tool_calls_section_begin|>"
    '<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Zürich"}'
    "<|tool_call_end|>"
    '<|tool_call_begin|>functions.get_weather:1<|tool_call_argument_begin|>{"city": "Oslo"}'
    "<|tool_call_end|><|tool_calls_section_end|>"
)
SCRIPTS = [
    {"match": "It is cold", "text": "<think>Now I know.</think>Take a coat."},
    {"match": "weather", "text": CALLS, "chunks": [2, 1, 5]},
    {"match": "cut me short", "text": "<think>a thought that goes on and on</think>never seen"},
    {"match": "only the end", "text": "<think></think>ok"},
    {"match": "what did I say", "text": "<think>Look back.</think>You said hello."},
    {"match": "*", "text": "<think>A greeting.</think>Hello, “you”!", "chunks": [3]},
]


@pytest.fixture(scope="module")
def server(replay):
    return replay(SCRIPTS, "--enable-prompt-tokens-details")


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def test_text(client):
    response = client.responses.create(model="tiny", input="hello there", temperature=0.5)
    assert response.status == "completed" and response.object == "response"
    assert response.id.startswith("resp_")
    thought, message = response.output
    assert thought.type == "reasoning" and thought.id.startswith("rs_")
    assert thought.content[0].type == "reasoning_text"
    assert thought.content[0].text == "A greeting." and thought.summary == []
    assert message.type == "message" and message.id.startswith("msg_")
    assert message.role == "assistant" and message.status == "completed"
    assert response.output_text == "Hello, “you”!"
    assert response.temperature == 0.5 and response.error is None
    assert response.incomplete_details is None and response.tools == []
    usage = response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert 0 < usage.output_tokens_details.reasoning_tokens < usage.output_tokens
    assert usage.input_tokens_details.cached_tokens >= 0


def test_function_calls_and_their_results(client):
    first = client.responses.create(
        model="tiny", input="How is the weather?", tools=[WEATHER], store=False
    )
    kinds = [item.type for item in first.output]
    assert kinds == ["reasoning", "message", "function_call", "function_call"]
    calls = [item for item in first.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather"] * 2
    assert [json.loads(call.arguments)["city"] for call in calls] == ["Zürich", "Oslo"]
    assert [call.call_id for call in calls] == [
        "functions.get_weather:0",
        "functions.get_weather:1",
    ]
    assert first.tools[0].name == "get_weather" and first.tool_choice == "auto"
    # The whole history comes back, as agents that store nothing send it.
    history = [{"role": "user", "content": "How is the weather?"}]
    history += [item.model_dump(exclude_none=True) for item in first.output]
    for call in calls:
        history.append(
            {"type": "function_call_output", "call_id": call.call_id, "output": "It is cold."}
        )
    second = client.responses.create(model="tiny", input=history, tools=[WEATHER], store=False)
    assert second.output_text == "Take a coat."


def test_the_prompt_of_a_history(server, client):
    """Items are rendered as the same conversation is in a chat."""
    history = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "How is the weather?"}]},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Look it up."}],
        },
        {
            "type": "function_call",
            "call_id": "call_a",
            "name": "get_weather",
            "arguments": '{"city": "Oslo"}',
        },
        {"type": "function_call_output", "call_id": "call_a", "output": "It is cold."},
    ]
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How is the weather?"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Look it up.",
            "tool_calls": [
                {
                    "id": "call_a",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "It is cold."},
    ]
    function = {key: WEATHER[key] for key in ("name", "description", "parameters", "strict")}
    status, reply = server.post(
        "/tokenize", {"messages": chat, "tools": [{"type": "function", "function": function}]}
    )
    assert status == 200
    response = client.responses.create(model="tiny", input=history, tools=[WEATHER])
    assert response.usage.input_tokens == reply["count"]


OTHERS = [
    {"type": "web_search", "external_web_access": False},
    {"type": "local_shell"},
    {"type": "image_generation", "output_format": "png"},
    {"type": "custom", "name": "apply_patch", "format": {"type": "text"}},
    {"type": "namespace", "name": "mcp__a", "tools": []},
]


def test_tools_that_are_not_functions(server, client):
    """Codex declares them with every request; the model is not shown them."""
    body = {"model": "tiny", "input": "How is the weather?", "store": False}
    mixed = client.responses.create(**body, tools=OTHERS + [WEATHER])
    alone = client.responses.create(**body, tools=[WEATHER])
    assert mixed.usage.input_tokens == alone.usage.input_tokens
    assert [item.type for item in mixed.output] == [item.type for item in alone.output]
    others = client.responses.create(
        **body,
        tools=OTHERS,
        tool_choice="auto",
        include=["reasoning.encrypted_content", "web_search_call.action.sources"],
    )
    assert others.usage.input_tokens == client.responses.create(**body).usage.input_tokens
    assert server.log().count("is left out") == 1


def test_previous_response(client):
    first = client.responses.create(
        model="tiny", input="hello there", instructions="Speak like a sailor."
    )
    second = client.responses.create(
        model="tiny", input="what did I say?", previous_response_id=first.id
    )
    assert second.output_text == "You said hello."
    assert second.previous_response_id == first.id
    # All of the first turn is there but its instructions.
    alone = client.responses.create(model="tiny", input="what did I say?")
    assert second.usage.input_tokens > alone.usage.input_tokens
    assert second.instructions is None
    forgotten = client.responses.create(model="tiny", input="hello there", store=False)
    with pytest.raises(openai.NotFoundError) as error:
        client.responses.create(
            model="tiny", input="what did I say?", previous_response_id=forgotten.id
        )
    assert error.value.body["param"] == "previous_response_id"


def test_nobody_chooses_the_id_of_what_is_remembered(server):
    """Else who guesses another client's X-Request-Id could read or replace its conversation."""
    ids = set()
    for _ in range(2):
        status, _, reply = server.request(
            "POST", "/v1/responses", {"input": "hello there"}, headers={"X-Request-Id": "one"}
        )
        assert status == 200
        ids.add(json.loads(reply)["id"])
    assert len(ids) == 2
    assert all(name.startswith("resp_one-") and len(name) == 41 for name in ids)
    for name in ids:
        good = {"input": "what did I say?", "previous_response_id": name}
        assert server.post("/v1/responses", good)[0] == 200
    guess = {"input": "what did I say?", "previous_response_id": "resp_one"}
    assert server.post("/v1/responses", guess)[0] == 404
    long = {"X-Request-Id": "x" * 128}
    reply = server.request("POST", "/v1/responses", {"input": "hello there"}, headers=long)[2]
    assert json.loads(reply)["id"][:101] == "resp_" + "x" * 95 + "-"


def test_outputs_with_nul_go_on(replay, server):
    """A model may say the byte 0, and its answer is a part of what comes next."""

    def tokens(text):
        status, reply = server.post("/tokenize", {"prompt": text, "add_special_tokens": False})
        assert status == 200
        return reply["tokens"]

    nul = next(
        token
        for token in range(512)
        if server.post("/detokenize", {"tokens": [token]})[1]["prompt"] == "\0"
    )
    other = replay([{"match": "*", "token_ids": tokens("<think></think>a") + [nul]}])
    status, first = other.post("/v1/responses", {"input": "hello"})
    assert status == 200
    said = [item for item in first["output"] if item["type"] == "message"]
    assert said[0]["content"][0]["text"] == "a\0"
    again = {"input": "hello", "previous_response_id": first["id"]}
    assert other.post("/v1/responses", again)[0] == 200
    whole = {"input": [{"role": "user", "content": "hello"}, *first["output"]], "store": False}
    assert other.post("/v1/responses", whole)[0] == 200


def test_item_references(client):
    """Clients that let the server remember name its items instead of repeating them."""
    first = client.responses.create(model="tiny", input="How is the weather?", tools=[WEATHER])
    calls = [item for item in first.output if item.type == "function_call"]
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "It is cold."}
        for call in calls
    ]
    question = {"role": "user", "content": "How is the weather?"}
    named = [{"type": "item_reference", "id": item.id} for item in first.output]
    repeated = [item.model_dump(exclude_none=True) for item in first.output]
    prompts = []
    for items in (named, repeated):
        second = client.responses.create(
            model="tiny", input=[question] + items + results, tools=[WEATHER]
        )
        assert second.output_text == "Take a coat."
        prompts.append(second.usage.input_tokens)
    assert prompts[0] == prompts[1]


def collect(stream):
    """The events of a stream; checks their numbers."""
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events


def test_stream(client):
    with client.responses.create(
        model="tiny", input="How is the weather?", tools=[WEATHER], stream=True
    ) as stream:
        events = collect(stream)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    final = events[-1].response
    whole = client.responses.create(model="tiny", input="How is the weather?", tools=[WEATHER])

    def shown(response):
        items = [item.model_dump() for item in response.output]
        for item in items:
            item.pop("id")
        return items

    assert shown(final) == shown(whole)
    assert final.usage.output_tokens == whole.usage.output_tokens
    # Each item is added, grows, and is done; what it grew by is what it is.
    for index, item in enumerate(final.output):
        mine = [event for event in events if getattr(event, "output_index", None) == index]
        assert mine[0].type == "response.output_item.added"
        assert mine[-1].type == "response.output_item.done"
        assert mine[-1].item == item and mine[0].item.id == item.id
        text = "".join(event.delta for event in mine if event.type.endswith(".delta"))
        if item.type == "function_call":
            assert text == item.arguments
            assert mine[-2].type == "response.function_call_arguments.done"
        else:
            assert text == item.content[0].text
            assert [event.type for event in mine[1:2] + mine[-3:-1]] == [
                "response.content_part.added",
                f"response.{item.content[0].type}.done",
                "response.content_part.done",
            ]
    runs = [key for key, _ in itertools.groupby(getattr(e, "output_index", -1) for e in events)]
    assert runs == [-1, 0, 1, 2, 3, -1]  # one after the other


def test_stream_helper(client):
    with client.responses.stream(model="tiny", input="hello there") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == "Hello, “you”!"


def test_cut_short(client):
    response = client.responses.create(model="tiny", input="cut me short", max_output_tokens=4)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert [item.type for item in response.output] == ["reasoning"]
    assert response.max_output_tokens == 4
    with client.responses.create(
        model="tiny", input="cut me short", max_output_tokens=4, stream=True
    ) as stream:
        assert collect(stream)[-1].type == "response.incomplete"


def test_a_server_that_stops(replay):
    script = {"match": "*", "text": "<think>on and on</think>" + "word " * 500, "delay_ms": 20}
    server = replay([script], "--shutdown-timeout", "0")
    events = []
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        with client.responses.create(model="tiny", input="hello", stream=True) as stream:
            for event in stream:
                if event.type == "response.output_text.delta" and server.process.poll() is None:
                    server.terminate()
                events.append(event)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    final = events[-1]
    assert final.type == "response.failed" and final.response.status == "failed"
    assert final.response.error.code == "server_error"
    kinds = [item.status for item in final.response.output]
    assert kinds == ["completed", "incomplete"]


def test_an_empty_thought(client):
    response = client.responses.create(model="tiny", input="only the end")
    assert response.output_text == "ok"


WRONG = [
    ({}, "input"),
    ({"input": 5}, "input"),
    ({"input": []}, "input"),
    ({"input": [5]}, "input[0]"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
    ({"input": [{"type": "message", "role": 5, "content": "x"}]}, "input[0].role"),
    ({"input": [{"type": "computer_call"}]}, "input[0].type"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].id"),
    ({"input": [{"type": "item_reference", "id": "rs_0_resp_none"}]}, "input[0].id"),
    ({"input": [{"type": "item_reference"}]}, "input[0].id"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "input[0].content[0]",
    ),
    ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}, "input[0].name"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
    ({"input": "x", "instructions": 5}, "instructions"),
    ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
    ({"input": "x", "max_output_tokens": "many"}, "max_output_tokens"),
    ({"input": "x", "previous_response_id": "resp_none"}, "previous_response_id"),
    ({"input": "x", "previous_response_id": 7}, "previous_response_id"),
    ({"input": "x", "conversation": "conv_1"}, "conversation"),
    ({"input": "x", "background": True}, "background"),
    ({"input": "x", "truncation": "auto"}, "truncation"),
    ({"input": "x", "include": ["reasoning.encrypted_content", 5]}, "include[1]"),
    ({"input": "x", "include": ["message.output_text.logprobs"]}, "include[0]"),
    ({"input": "x", "top_logprobs": 3}, "top_logprobs"),
    ({"input": "x", "prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"input": "x", "temperature": "hot"}, "temperature"),
    ({"input": "x", "top_p": 0}, "top_p"),
    ({"input": "x", "stream": "yes"}, "stream"),
    ({"input": "x", "store": 1}, "store"),
    ({"input": "x", "model": "another"}, "model"),
    ({"input": "x", "reasoning": 1}, "reasoning"),
    ({"input": "x", "reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"input": "x", "text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
    (
        {"input": "x", "text": {"format": {"type": "json_schema", "name": "a", "schema": {"not": {}}}}},
        "text.format.schema.not",
    ),
    ({"input": "x", "tools": 5}, "tools"),
    ({"input": "x", "tools": [5]}, "tools[0]"),
    ({"input": "x", "tools": [{"name": "f"}]}, "tools[0].type"),
    ({"input": "x", "tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
    (
        {"input": "x", "tools": [{"type": "web_search"}, dict(WEATHER, parameters={"type": 5})]},
        "tools[1].parameters.type",
    ),
    ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
    ({"input": "x", "tools": [WEATHER], "tool_choice": "often"}, "tool_choice"),
    (
        {"input": "x", "tools": [WEATHER], "tool_choice": {"type": "function", "name": "f"}},
        "tool_choice.name",
    ),
    (
        {"input": "x", "tools": [dict(WEATHER, parameters={"type": 5})]},
        "tools[0].parameters.type",
    ),
    ({"input": "x", "metadata": 5}, "metadata"),
]


def test_wrong_requests(server):
    good = {"input": "only the end", "seed": 1}

    def answer():
        status, reply = server.post("/v1/responses", good)
        assert status == 200
        return [item.get("content") for item in reply["output"]]

    expected = answer()
    for body, param in WRONG:
        status, reply = server.post("/v1/responses", body)
        assert status in (400, 404), (body, reply)
        error = reply["error"]
        assert error["param"] == param, (body, error)
        assert error["message"] and error["type"] and error["code"] == status
        assert answer() == expected
