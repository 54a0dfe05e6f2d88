"""Prompts of chats are the ids that the model's own template and tokenizer give."""

import json

import pytest


@pytest.fixture(scope="module")
def vectors(shared):
    cases = json.loads((shared / "data" / "vectors" / "chat_vectors.json").read_text())
    plain = [
        case
        for case in cases
        if case["template"] == "k2-thinking"
        and not case["tools"]
        and "image" not in json.dumps(case["messages"])
    ]
    assert len(plain) >= 4
    return plain


def ask(server, case):
    status, reply = server.post(
        "/tokenize",
        {
            "messages": case["messages"],
            "add_generation_prompt": case["add_generation_prompt"],
        },
    )
    assert status == 200, reply
    assert reply["count"] == len(reply["tokens"])
    return reply


def spells_control_tokens(case):
    return any("<|" in str(message["content"]) for message in case["messages"])


@pytest.fixture(scope="module")
def strict(serve, kimi):
    return serve(kimi)


@pytest.fixture(scope="module")
def reference(serve, kimi):
    return serve(kimi, "--allow-special-tokens-in-text")


def test_vectors(strict, vectors):
    for case in vectors:
        reply = ask(strict, case)
        assert (reply["tokens"] == case["ids"]) is not spells_control_tokens(case), case["name"]
        assert reply["prompt"] == case["rendered"]


def test_vectors_as_the_reference_tokenizer_has_them(reference, vectors):
    assert any(spells_control_tokens(case) for case in vectors)
    for case in vectors:
        assert ask(reference, case)["tokens"] == case["ids"], case["name"]


def test_the_prompt_of_a_real_server(strict):
    """A public K2-Thinking server counted 26 tokens for this request."""
    status, reply = strict.post(
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1},
    )
    assert status == 200
    assert reply["usage"]["prompt_tokens"] == 26
