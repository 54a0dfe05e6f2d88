"""The openai package, unmodified, as its users call it."""

import math
import subprocess
import sys

import openai
import pytest


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0)


def test_models(client):
    models = list(client.models.list())
    assert [model.id for model in models] == ["tiny"]
    assert models[0].object == "model"
    assert models[0].max_model_len > 0


def test_completion_is_repeatable(client):
    asked = {"model": "tiny", "prompt": "Once", "max_tokens": 12, "temperature": 0}
    first = client.completions.create(**asked)
    again = client.completions.create(**asked)
    assert first.id.startswith("cmpl-") and first.id != again.id
    assert first.object == "text_completion"
    assert first.choices[0].text == again.choices[0].text
    assert first.choices[0].finish_reason in ("length", "stop")
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    assert first.usage.completion_tokens <= 12


def test_completion_stream_is_the_whole(client):
    asked = {
        "model": "tiny",
        "prompt": "Once",
        "max_tokens": 20,
        "seed": 5,
        "logprobs": 2,
        "n": 2,
        "temperature": 1.0,
    }
    whole = client.completions.create(**asked)
    texts, tokens, reasons, usage = ["", ""], [[], []], [None, None], None
    for chunk in client.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.logprobs:
                tokens[choice.index] += choice.logprobs.token_logprobs
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.text for choice in whole.choices]
    assert tokens == [choice.logprobs.token_logprobs for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert usage == whole.usage


def test_batches_and_ids(client):
    reply = client.completions.create(
        model="tiny", prompt=["One", "Two"], max_tokens=3, n=2, seed=1, temperature=1.0
    )
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    ids = client.completions.create(
        model="tiny", prompt=[[1, 2, 3], [4, 5]], max_tokens=2, temperature=0
    )
    assert len(ids.choices) == 2
    assert ids.usage.prompt_tokens == 5


def test_echo_scores_the_prompt(client):
    reply = client.completions.create(
        model="tiny",
        prompt="a b c d",
        max_tokens=1,
        echo=True,
        logprobs=1,
        temperature=0,
    )
    logprobs = reply.choices[0].logprobs
    n = reply.usage.prompt_tokens + 1
    assert reply.choices[0].text.startswith("a b c d")
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == n
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    for token, logprob, top in list(
        zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs)
    )[1:]:
        assert math.isfinite(logprob) and logprob <= 0
        assert token in top
        assert max(top.values()) >= logprob


def test_chat(client):
    reply = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hi"}],
        max_completion_tokens=16,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
    )
    choice = reply.choices[0]
    assert reply.id.startswith("chatcmpl-")
    assert reply.object == "chat.completion"
    assert choice.message.role == "assistant"
    assert len(choice.logprobs.content) == reply.usage.completion_tokens
    for entry in choice.logprobs.content:
        assert len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob >= entry.top_logprobs[2].logprob


def pieces(stream):
    """(role chunks, reasoning, content, finish reason, usage) of a chat stream of one choice."""
    roles, reasoning, content, reason, usage = 0, "", "", None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            delta = choice.delta
            roles += delta.role == "assistant"
            assert getattr(delta, "reasoning", None) == getattr(delta, "reasoning_content", None)
            reasoning += getattr(delta, "reasoning_content", None) or ""
            content += delta.content or ""
            reason = choice.finish_reason or reason
    return roles, reasoning, content, reason, usage


def test_chat_stream_is_the_whole(client):
    asked = {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "ada", "content": [{"type": "text", "text": "hello"}]},
        ],
        "max_tokens": 24,
        "seed": 3,
        "temperature": 1.0,
    }
    whole = client.chat.completions.create(**asked)
    message = whole.choices[0].message
    roles, reasoning, content, reason, usage = pieces(
        client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
    )
    assert roles == 1
    assert reasoning == (message.reasoning_content or "")
    assert content == (message.content or "")
    assert reason == whole.choices[0].finish_reason
    assert usage == whole.usage


def test_errors_are_the_packages_own(client, server):
    with pytest.raises(openai.NotFoundError) as error:
        client.completions.create(model="another", prompt="x")
    assert error.value.param == "model"
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model="tiny", prompt="x", temperature=-1)
    assert error.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="tiny", messages=[])
    assert error.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model="tiny", prompt="0 " * 600_000, max_tokens=1)
    assert "maximum context length is" in str(error.value)
    assert "Please reduce the length of the input" in str(error.value)


def test_the_lines_the_server_prints(server):
    printed = server.log()
    lines = printed[printed.index("from openai import OpenAI") :].splitlines()[:3]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "ChatCompletionMessage(" in done.stdout


def test_prompts_with_nul(server):
    """Random prompts of benchmarks have the token of the byte 0 in them, too."""
    text = "a\u0000b"
    status, reply = server.post("/tokenize", {"prompt": text})
    assert status == 200 and reply["prompt"] == text
    ids = reply["tokens"]
    status, reply = server.post("/detokenize", {"tokens": ids})
    assert status == 200 and reply["prompt"] == text
    for prompt, count in ((text, 1), ([text, "a"], 2)):
        status, reply = server.post(
            "/v1/completions", {"prompt": prompt, "max_tokens": 1, "echo": True}
        )
        assert status == 200 and len(reply["choices"]) == count
        assert reply["choices"][0]["text"].startswith(text)
    status, reply = server.post("/tokenize", {"messages": [{"role": "user", "content": text}]})
    assert status == 200 and "a\ufffdb" in reply["prompt"]
