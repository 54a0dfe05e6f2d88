"""Requests that must be refused: (name, path, body, status, param), param None meaning null.

They hold for every model. The names are unique, the bodies bytes.
"""

import pathlib

PATHS = {
    "completions": "/v1/completions",
    "chat": "/v1/chat/completions",
    "tokenize": "/tokenize",
    "detokenize": "/detokenize",
}


def _lines():
    for line in (pathlib.Path(__file__).with_suffix(".txt")).read_text().splitlines():
        if line and not line.startswith("#"):
            name, route, status, param, body = line.split("\t")
            yield name, PATHS[route], body.encode(), int(status), None if param == "-" else param


def _made():
    """What is no line of text, or too long for one. As `made` in tests/unit/test_api_call.c."""
    completions, chat = PATHS["completions"], PATHS["chat"]
    deep = 100_000
    digits = b"1234567890" * 100_000  # at most three digits are a token: more than 2^18 tokens
    many = b",".join([b"0"] * 300_000)
    for name, path, body, param in [
        ("no body", completions, b"", None),
        ("chat: no body", chat, b"", None),
        ("raw NUL", completions, b'{"prompt":"a\0b"}', None),
        ("NUL behind", completions, b'{"prompt":"a"}\0', None),
        ("Latin-1", completions, b'{"prompt":"\xe9"}', None),
        ("overlong UTF-8", completions, b'{"prompt":"\xc0\xaf"}', None),
        ("surrogate in UTF-8", completions, b'{"prompt":"\xed\xa0\x80"}', None),
        ("beyond U+10FFFF", completions, b'{"prompt":"\xf4\x90\x80\x80"}', None),
        ("cut UTF-8", completions, b'{"prompt":"\xe4\xb8"}', None),
        ("line break in a string", completions, b'{"prompt":"a\nb"}', None),
        ("UTF-16", completions, '{"prompt":"a"}'.encode("utf-16"), None),
        ("byte order mark", completions, b'\xef\xbb\xbf{"prompt":"a"}', None),
        ("deep lists", completions, b"[" * deep + b"]" * deep, None),
        ("deep prompt", completions, b'{"prompt":' + b"[" * deep + b"]" * deep + b"}", None),
        ("deep objects", chat, b'{"a":' * deep + b"1" + b"}" * deep, None),
        ("deep and cut", completions, b'{"prompt":' + b"[" * deep, None),
        ("too many values", completions, b'{"x":[' + b"0," * 9_000_000 + b"0]}", None),
        ("prompt of too many ids", completions, b'{"prompt":[' + many + b"]}", "prompt"),
        ("second prompt too long", completions, b'{"prompt":[[1],[' + many + b"]]}", "prompt[1]"),
        ("prompt too long", completions, b'{"prompt":"' + digits + b'"}', "prompt"),
        (
            "message too long",
            chat,
            b'{"messages":[{"role":"user","content":"' + digits + b'"}]}',
            "messages",
        ),
        (
            "too many prompts",
            completions,
            b'{"prompt":[' + b",".join([b'"a"'] * 200_000) + b"]}",
            "prompt",
        ),
        (
            "stop strings of 80 KB",
            completions,
            b'{"prompt":"a","stop":["' + b"s" * 40_000 + b'","' + b"t" * 40_000 + b'"]}',
            "stop",
        ),
        (
            "2,000 bad words",
            completions,
            b'{"prompt":"a","bad_words":[' + b",".join([b'"a"'] * 2000) + b"]}",
            "bad_words",
        ),
        (
            "too many messages",
            chat,
            b'{"messages":[' + b",".join([b'{"role":"user"}'] * 70_000) + b"]}",
            "messages",
        ),
    ]:
        yield name, path, body, 400, param


CASES = list(_lines()) + list(_made())
