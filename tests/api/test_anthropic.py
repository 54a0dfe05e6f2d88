"""/v1/messages, as the anthropic package and agents built on it use it."""

import http.client
import itertools
import json
import pathlib
import threading

import anthropic
import pytest

WEATHER = {
    "name": "get_weather",
    "description": "Look up the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
CALLS = (
    "<think>Both cities, “at once”.</think>I look.<|tool_calls_section_begin|>"
    '<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Zürich"}'
    "<|tool_call_end|>"
    '<|tool_call_begin|>functions.get_weather:1<|tool_call_argument_begin|>{"city": "Oslo"}'
    "<|tool_call_end|><|tool_calls_section_end|>"
)
MESS = (  # nothing that a constraint would allow
    "<think>Hm</think><|tool_calls_section_begin|>"
    "<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>in \"Rome\" \\ or so"
    "<|tool_call_end|>"
    '<|tool_call_begin|>functions.get_weather:1<|tool_call_argument_begin|>["Bari"]'
    "<|tool_call_end|><|tool_calls_section_end|>"
)
SCRIPTS = [
    {"match": "It is cold", "text": "<think>Now I know.</think>Take a coat."},
    {"match": "weather in a mess", "text": MESS, "chunks": [1, 4]},
    {"match": "weather", "text": CALLS, "chunks": [2, 1, 5]},
    {"match": "count to nine", "text": "<think></think>1 2 3 4 5 6 7 8 9", "chunks": [1]},
    {"match": "cut me short", "text": "<think>a thought that goes on and on</think>never seen"},
    {"match": "slowly", "text": "<think>one</think>two three", "delay_ms": 20},
    {"match": "for ever", "token_ids": [65] * 4000, "finish": "length", "delay_ms": 50},
    {"match": "as (", "text": "Helios).", "chunks": [1]},
    {"match": "*", "text": "<think>A greeting.</think>Hello, “you”! 🎉", "chunks": [3]},
]
MAX = 200


@pytest.fixture(scope="module")
def server(replay):
    return replay(SCRIPTS, "--max-model-len", "4096")


@pytest.fixture(scope="module")
def client(server):
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def ask(client, text, **more):
    return client.messages.create(
        model="tiny", max_tokens=MAX, messages=[{"role": "user", "content": text}], **more
    )


def read_stream(client, messages, **more):
    """The final message of a stream, and the types of its events."""
    with client.messages.stream(model="tiny", max_tokens=MAX, messages=messages, **more) as stream:
        kinds = [event.type for event in stream]
        return stream.get_final_message(), kinds


def plain(message):
    """What two answers to one question have in common."""
    content = [block.model_dump(exclude={"signature"}) for block in message.content]
    return content, message.stop_reason, message.stop_sequence, message.usage.output_tokens


# ---------------------------------------------------------------------------------------------


def test_text(client):
    message = ask(client, "hello there", system="Be brief.")
    assert message.type == "message" and message.role == "assistant" and message.model == "tiny"
    assert message.id.startswith("msg_")
    thought, text = message.content
    assert thought.type == "thinking" and thought.thinking == "A greeting." and thought.signature
    assert text.type == "text" and text.text == "Hello, “you”! 🎉"
    assert message.stop_reason == "end_turn" and message.stop_sequence is None
    usage = message.usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0
    assert 0 < usage.output_tokens_details.thinking_tokens < usage.output_tokens
    assert message._request_id == message.id.removeprefix("msg_")


def test_stream_helper(client):
    whole = ask(client, "hello there")
    final, kinds = read_stream(client, [{"role": "user", "content": "hello there"}])
    assert plain(final) == plain(whole)
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2
    assert "thinking" in kinds and "text" in kinds and "signature" in kinds


def test_cached_ids_are_no_input(client):
    text = "hello " * 100 + "once"
    first = ask(client, text).usage
    again = ask(client, text).usage
    assert first.cache_read_input_tokens < 64
    assert again.cache_read_input_tokens > 64
    total = again.input_tokens + again.cache_read_input_tokens
    assert total == first.input_tokens + first.cache_read_input_tokens
    final, _ = read_stream(client, [{"role": "user", "content": text}])
    assert final.usage.cache_read_input_tokens == again.cache_read_input_tokens
    assert final.usage.input_tokens == again.input_tokens
    assert final.usage.output_tokens == again.output_tokens
    assert "cache_miss" not in again.model_extra
    other = ask(client, "hello " * 50 + "bye " + "hello " * 50).usage
    miss = other.model_extra["cache_miss"]
    assert miss["reason"] == "differs"
    assert 0 <= miss["token"] - other.cache_read_input_tokens < 64 < miss["token"] < total


def test_tool_calls_and_their_results(client):
    messages = [{"role": "user", "content": "How is the weather?"}]
    first = client.messages.create(model="tiny", max_tokens=MAX, messages=messages, tools=[WEATHER])
    assert [block.type for block in first.content] == ["thinking", "text", "tool_use", "tool_use"]
    calls = first.content[2:]
    assert [call.name for call in calls] == ["get_weather"] * 2
    assert [call.input for call in calls] == [{"city": "Zürich"}, {"city": "Oslo"}]
    assert [call.id for call in calls] == ["functions.get_weather:0", "functions.get_weather:1"]
    assert first.stop_reason == "tool_use"
    final, kinds = read_stream(client, messages, tools=[WEATHER])
    assert plain(final) == plain(first)
    assert kinds.count("input_json") >= 2
    messages += [
        first.to_param(),
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": calls[0].id, "content": "It is cold"},
                {
                    "type": "tool_result",
                    "tool_use_id": calls[1].id,
                    "content": [{"type": "text", "text": "no such city"}],
                    "is_error": True,
                },
            ],
        },
    ]
    second = client.messages.create(
        model="tiny", max_tokens=MAX, messages=messages, tools=[WEATHER]
    )
    assert second.content[-1].text == "Take a coat." and second.stop_reason == "end_turn"
    # What the first turn has read and written is found again.
    assert second.usage.cache_read_input_tokens > first.usage.input_tokens


def test_inputs_are_always_objects(client):
    messages = [{"role": "user", "content": "the weather in a mess"}]
    whole = client.messages.create(model="tiny", max_tokens=MAX, messages=messages, tools=[WEATHER])
    inputs = [block.input for block in whole.content if block.type == "tool_use"]
    assert inputs == [{"arguments": 'in "Rome" \\ or so'}, {"arguments": '["Bari"]'}]
    final, _ = read_stream(client, messages, tools=[WEATHER])
    assert plain(final) == plain(whole)


def test_tool_choices(client):
    for choice in (
        {"type": "auto"},
        {"type": "any"},
        {"type": "tool", "name": "get_weather"},
        {"type": "auto", "disable_parallel_tool_use": True},
    ):
        message = ask(client, "the weather", tools=[WEATHER], tool_choice=choice)
        assert message.stop_reason == "tool_use", choice


def test_ends(client):
    short = client.messages.create(
        model="tiny", max_tokens=5, messages=[{"role": "user", "content": "cut me short"}]
    )
    assert short.stop_reason == "max_tokens" and short.usage.output_tokens == 5
    assert [block.type for block in short.content] == ["thinking"]
    stopped = ask(client, "count to nine", stop_sequences=["x", "6"])
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == "6"
    assert stopped.content[-1].text == "1 2 3 4 5 "
    final, _ = read_stream(
        client, [{"role": "user", "content": "count to nine"}], stop_sequences=["x", "6"]
    )
    assert plain(final) == plain(stopped)


def test_parameters_are_taken(client):
    message = ask(
        client,
        "hello there",
        metadata={"user_id": "u"},
        service_tier="auto",
        thinking={"type": "enabled", "budget_tokens": 1024},
        extra_headers={"anthropic-beta": "x-2025-01-01"},
        extra_body={"temperature": 1.0, "top_k": 5, "top_p": 0.9, "unheard_of": 1},
    )
    assert message.content[-1].text == "Hello, “you”! 🎉"
    omitted = ask(client, "hello there", thinking={"type": "adaptive", "display": "omitted"})
    assert [block.type for block in omitted.content] == ["text"]


def test_an_answer_goes_on(client):
    messages = [
        {"role": "user", "content": "What is the Greek sun?"},
        {"role": "assistant", "content": "It is known as ("},
    ]
    message = client.messages.create(model="tiny", max_tokens=MAX, messages=messages)
    assert [block.type for block in message.content] == ["text"]
    assert message.content[0].text == "Helios)."


def test_prompts_without_nonces_are_found_again(client):
    def system(nonce):
        return [
            {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1; cch={nonce};"},
            {"type": "text", "text": "You are an agent. " * 40},
        ]

    first = ask(client, "hello there", system=system("0a1b2"))
    again = ask(client, "hello there", system=system("c3d4e"))
    total = first.usage.input_tokens + first.usage.cache_read_input_tokens
    assert again.usage.cache_read_input_tokens > 0.8 * total


def test_count_tokens(client):
    asked = {
        "model": "tiny",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "hello there"}],
        "tools": [WEATHER],
    }
    counted = client.messages.count_tokens(**asked)
    usage = client.messages.create(max_tokens=MAX, **asked).usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens
    fewer = client.messages.count_tokens(**{**asked, "tools": []})
    assert fewer.input_tokens < counted.input_tokens
    long = client.messages.count_tokens(
        model="tiny", messages=[{"role": "user", "content": "word " * 5000}]
    )
    assert long.input_tokens >= 5000  # more than the context has room for


def test_async_client(server):
    import asyncio

    async def run():
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none") as client:
            asked = {
                "model": "tiny",
                "max_tokens": MAX,
                "messages": [{"role": "user", "content": "slowly"}],
            }
            messages = await asyncio.gather(*[client.messages.create(**asked) for _ in range(8)])
            async with client.messages.stream(**asked) as stream:
                return messages, await stream.get_final_message()

    messages, final = asyncio.run(run())
    assert {message.content[-1].text for message in [*messages, final]} == {"two three"}


# ---------------------------------------------------------------------------------------------
# Streams as bytes


def raw_stream(server, text, **more):
    body = {
        "model": "tiny",
        "max_tokens": MAX,
        "stream": True,
        "messages": [{"role": "user", "content": text}],
        **more,
    }
    status, headers, reply = server.request("POST", "/v1/messages", body)
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream")
    events = []
    for event in reply.decode().split("\n\n"):
        if event and not event.startswith(":"):
            name, data = event.split("\n")
            data = json.loads(data.removeprefix("data: "))
            assert name == "event: " + data["type"]
            events.append(data)
    return events


def test_events_in_order(server):
    events = raw_stream(server, "the weather", tools=[WEATHER])
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    start = events[0]["message"]
    assert start["content"] == [] and start["stop_reason"] is None
    assert start["usage"]["input_tokens"] > 0
    index, open_block = -1, None
    for event in events[2:-2]:
        if event["type"] == "content_block_start":
            assert open_block is None
            index, open_block = index + 1, event["content_block"]["type"]
        elif event["type"] == "content_block_stop":
            open_block = None
        else:
            assert event["type"] == "content_block_delta" and event["delta"]["type"] in {
                "text": ("text_delta",),
                "thinking": ("thinking_delta", "signature_delta"),
                "tool_use": ("input_json_delta",),
            }[open_block]
        assert event["index"] == index
    assert index == 3 and open_block is None
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}


@pytest.fixture(scope="module")
def cut_servers(replay):
    """The same outputs in chunks of one id, of some, of all."""
    cuts = [[1], [2], [3, 1, 7], [1000]]
    return [
        replay([{**script, "chunks": cut, "delay_ms": 0} for script in SCRIPTS[:4]])
        for cut in cuts
    ]


def test_chunks_change_nothing(cut_servers):
    for text in ("It is cold", "weather in a mess", "the weather", "count to nine"):
        found = set()
        for server, stream in itertools.product(cut_servers, (False, True)):
            with anthropic.Anthropic(base_url=server.url, api_key="none") as client:
                asked = [{"role": "user", "content": text}]
                if stream:
                    message, _ = read_stream(client, asked, tools=[WEATHER])
                else:
                    message = ask(client, text, tools=[WEATHER])
                found.add(json.dumps(plain(message)))
        assert len(found) == 1, found


# ---------------------------------------------------------------------------------------------
# Errors


def test_typed_errors(client, server):
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(client, [{"type": "image", "source": {"type": "url", "url": "http://x"}}])
    error = caught.value.body["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("messages.0.content.0.type:")
    assert caught.value.request_id == caught.value.body["request_id"]
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(
            model="claude-3", max_tokens=1, messages=[{"role": "user", "content": "hi"}]
        )
    assert caught.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        ask(client, "word " * 5000)
    status, headers, reply = server.request("GET", "/v1/messages")
    assert status == 405 and json.loads(reply)["error"]["type"] == "invalid_request_error"
    assert headers["request-id"] == json.loads(reply)["request_id"]
    status, _, reply = server.request("POST", "/v1/messages/batches", {})
    assert status == 404 and json.loads(reply)["error"]["type"] == "not_found_error"


def test_keys(replay):
    server = replay(SCRIPTS, "--api-key", "sk-right")
    with anthropic.Anthropic(base_url=server.url, api_key="sk-right", max_retries=0) as client:
        assert ask(client, "hello").stop_reason == "end_turn"
    with anthropic.Anthropic(base_url=server.url, auth_token="sk-right", max_retries=0) as client:
        assert ask(client, "hello").stop_reason == "end_turn"
    with anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            ask(client, "hello")
    assert caught.value.body["error"]["type"] == "authentication_error"


def test_bodies_that_are_too_large(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", "/v1/messages")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(65 << 20))
    connection.endheaders()
    reply = connection.getresponse()
    body = json.loads(reply.read())
    connection.close()
    assert reply.status == 413 and body["type"] == "error"
    assert body["error"]["type"] == "request_too_large"
    status, _, reply = server.request(
        "POST", "/v1/messages", b"{}", headers={"Content-Type": "text/plain"}
    )
    assert status == 400 and json.loads(reply)["type"] == "error"


def test_a_full_server_and_one_that_stops(replay):
    server = replay(
        SCRIPTS, "--max-num-seqs", "1", "--max-queue", "0", "--shutdown-timeout", "0"
    )
    begun, errors = threading.Event(), []

    def read():
        with anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0) as client:
            try:
                for _ in client.messages.create(
                    model="tiny",
                    max_tokens=3000,
                    stream=True,
                    messages=[{"role": "user", "content": "for ever"}],
                ):
                    begun.set()
            except anthropic.APIError as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(60)
    with anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0) as client:
        with pytest.raises(anthropic.RateLimitError) as caught:
            ask(client, "hello")
    assert caught.value.body["error"]["type"] == "rate_limit_error"
    server.terminate()
    reader.join(60)
    assert [error.body["error"]["type"] for error in errors] == ["overloaded_error"]


# ---------------------------------------------------------------------------------------------
# Wrong requests

WRONG = [
    line.split("\t")
    for line in (pathlib.Path(__file__).parent / "wrong_messages.txt").read_text().splitlines()
    if not line.startswith("#")
]


# What is wrong with the answer alone, for which count_tokens does not ask.
ANSWER = ("max_tokens", "stream", "temperature", "top_", "stop_seq", "prompt is", "output_")
UNKNOWN = "a strict tool with an unknown keyword"


def good_answer(server):
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": "hello there"}]}
    status, reply = server.post("/v1/messages", body)
    assert status == 200
    return reply["content"][0]["thinking"], reply["content"][1], reply["stop_reason"]


def test_table_is_long_enough():
    assert len(WRONG) >= 60 and len({row[0] for row in WRONG}) == len(WRONG)


@pytest.mark.parametrize("row", WRONG, ids=lambda row: row[0])
def test_wrong_request(server, row):
    name, want_status, begin, body = row
    before = good_answer(server)
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        status, headers, reply = server.request("POST", path, body.encode())
        if path.endswith("tokens") and (begin.startswith(ANSWER) or name == UNKNOWN):
            continue
        assert headers["Content-Type"].startswith("application/json")
        reply = json.loads(reply)
        assert set(reply) == {"type", "error", "request_id"} and reply["type"] == "error"
        assert status == int(want_status), reply
        kind = "not_found_error" if status == 404 else "invalid_request_error"
        assert reply["error"]["type"] == kind
        assert reply["error"]["message"].startswith(begin), reply
        assert headers["request-id"] == reply["request_id"]
    assert good_answer(server) == before
