"""An agent that calls tools hundreds of times in one turn, through each of the three APIs.

The model is a script that answers the result of call k with call k + 1, so that a call that is
lost, doubled or shown wrongly ends the loop. What it said must come back as a prompt that the
prefix cache knows.
"""

import json

import pytest

CALLS = 300
TOOL = {
    "name": "step",
    "description": "Goes one step further.",
    "schema": {
        "type": "object",
        "properties": {"number": {"type": "integer"}, "note": {"type": "string"}},
        "required": ["number"],
    },
}
QUESTION = "Take every step there is, please."


def thought(k):
    return f"Step {k} comes next; the last one said “é{k}”."


def arguments(k):
    return json.dumps({"number": k, "note": f'a "quoted" }} note {k}'})


def result(k):
    return f"done with step {k}."


def turn(k):
    if k == CALLS:
        return "<think>That was all.</think>Every step is taken."
    return (
        f"<think>{thought(k)}</think><|tool_calls_section_begin|><|tool_call_begin|>"
        f"functions.step:{k}<|tool_call_argument_begin|>{arguments(k)}<|tool_call_end|>"
        "<|tool_calls_section_end|>"
    )


@pytest.fixture(scope="module")
def server(replay):
    scripts = [
        {"match": result(k - 1), "text": turn(k), "chunks": [1 + k % 5]}
        for k in range(CALLS, 0, -1)
    ]
    scripts.append({"match": QUESTION, "text": turn(0)})
    return replay(
        scripts,
        "--enable-prompt-tokens-details",
        "--max-model-len",
        "128k",
    )


class Tally:
    """How much of what a request repeats was found in the prefix cache."""

    def __init__(self):
        self.known = self.repeated = self.cached = 0

    def add(self, prompt, output, cached):
        self.repeated += self.known
        self.cached += min(cached, self.known)
        self.known = prompt + output

    def check(self):
        assert self.cached > 0.95 * self.repeated, (self.cached, self.repeated)


def sse(body):
    """The JSON objects of a stream."""
    for line in body.decode().splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[len("data: ") :])


def merge_stream(body):
    """A stream of chat chunks as the message and usage a client makes of it."""
    message = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": []}
    usage = finish = None
    for chunk in sse(body):
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            delta = choice["delta"]
            finish = choice["finish_reason"] or finish
            message["content"] += delta.get("content") or ""
            message["reasoning_content"] += delta.get("reasoning_content") or ""
            for part in delta.get("tool_calls", []):
                if "id" in part:
                    assert part["index"] == len(message["tool_calls"])
                    message["tool_calls"].append(
                        {
                            "id": part["id"],
                            "type": part["type"],
                            "function": {"name": part["function"]["name"], "arguments": ""},
                        }
                    )
                text = part["function"].get("arguments", "")
                message["tool_calls"][part["index"]]["function"]["arguments"] += text
    return message, usage, finish


def ask_chat(server, messages, stream):
    body = {
        "messages": messages,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": TOOL["name"],
                    "description": TOOL["description"],
                    "parameters": TOOL["schema"],
                },
            }
        ],
    }
    if not stream:
        status, reply = server.post("/v1/chat/completions", body)
        assert status == 200, reply
        choice = reply["choices"][0]
        return choice["message"], reply["usage"], choice["finish_reason"]
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    status, _, reply = server.request("POST", "/v1/chat/completions", body)
    assert status == 200, reply
    return merge_stream(reply)


# The client's ids: the server's own, and those of a client that makes up its own.
@pytest.mark.parametrize("rename", [False, True], ids=["own ids", "foreign ids"])
def test_chat_completions(server, rename):
    messages = [{"role": "user", "content": QUESTION}]
    tally = Tally()
    seen = set()
    for k in range(CALLS + 1):
        message, usage, finish = ask_chat(server, messages, stream=k % 2 == 1)
        tally.add(
            usage["prompt_tokens"],
            usage["completion_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
        )
        assert usage["completion_tokens_details"]["reasoning_tokens"] > 0
        if k == CALLS:
            break
        assert finish == "tool_calls"
        assert message["reasoning_content"] == thought(k)
        (call,) = message["tool_calls"]
        assert call["function"] == {"name": "step", "arguments": arguments(k)}
        assert call["id"] == f"functions.step:{k}" and call["id"] not in seen
        seen.add(call["id"])
        if rename:
            call["id"] = f"call_{k * 7919 % 10007:032x}"
        messages.append(
            {
                "role": "assistant",
                "content": message["content"],
                # Clients send either name back.
                ["reasoning", "reasoning_content"][k % 2]: message["reasoning_content"],
                "tool_calls": [call],
            }
        )
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": result(k)})
    assert message["content"] == "Every step is taken." and finish == "stop"
    assert not message.get("tool_calls")
    tally.check()


def test_messages(server):
    messages = [{"role": "user", "content": QUESTION}]
    tally = Tally()
    for k in range(CALLS + 1):
        status, reply = server.post(
            "/v1/messages",
            {
                "model": "tiny",
                "max_tokens": 4096,
                "messages": messages,
                "tools": [
                    {
                        "name": TOOL["name"],
                        "description": TOOL["description"],
                        "input_schema": TOOL["schema"],
                    }
                ],
            },
        )
        assert status == 200, reply
        usage = reply["usage"]
        cached = usage["cache_read_input_tokens"]
        tally.add(usage["input_tokens"] + cached, usage["output_tokens"], cached)
        if k == CALLS:
            break
        assert reply["stop_reason"] == "tool_use"
        thinking, use = reply["content"]
        assert thinking["thinking"] == thought(k)
        assert use["name"] == "step" and use["input"] == json.loads(arguments(k))
        messages.append({"role": "assistant", "content": reply["content"]})
        messages.append(
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": use["id"], "content": result(k)}
                ],
            }
        )
    assert [block["text"] for block in reply["content"] if block["type"] == "text"] == [
        "Every step is taken."
    ]
    tally.check()


# With the server remembering the conversation, and with a client that sends all of it.
@pytest.mark.parametrize("remember", [True, False], ids=["previous_response_id", "history"])
def test_responses(server, remember):
    items = [{"role": "user", "content": QUESTION}]
    previous = None
    tally = Tally()
    for k in range(CALLS + 1):
        status, reply = server.post(
            "/v1/responses",
            {
                "input": items,
                "previous_response_id": previous,
                "store": remember,
                "tools": [
                    {
                        "type": "function",
                        "name": TOOL["name"],
                        "description": TOOL["description"],
                        "parameters": TOOL["schema"],
                    }
                ],
            },
        )
        assert status == 200 and reply["status"] == "completed", reply
        usage = reply["usage"]
        tally.add(
            usage["input_tokens"],
            usage["output_tokens"],
            usage["input_tokens_details"]["cached_tokens"],
        )
        if k == CALLS:
            break
        thinking, call = reply["output"]
        assert thinking["content"][0]["text"] == thought(k)
        assert call["name"] == "step" and call["arguments"] == arguments(k)
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": result(k)}
        previous = reply["id"] if remember else None
        items = [output] if remember else items + reply["output"] + [output]
    assert reply["output"][-1]["content"][0]["text"] == "Every step is taken."
    tally.check()
