"""Outputs with tool calls as the model writes them, and as it should not: pieces of text and
markers, for tests that play them. TOOLS are the tools declared."""

import random

SB, SE = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CB, AB, CE = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
TH, TE = "<think>", "</think>"
MARKERS = [SB, SE, CB, AB, CE, TH, TE]


def tool(name, *properties):
    """A declared tool."""
    return {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": "string"} for key in properties},
            },
        },
    }


TOOLS = [
    tool("get_weather", "city", "unit"),
    tool("search-docs", "query", "unit"),
    tool("mcp.run:1", "job"),
]


def call(name, arguments="{}"):
    return [CB, name + " ", AB, arguments, CE]


GOOD = "functions.get_weather:0"

# Of long tokens, since a server drops clients that leave more than 1 MiB of a stream unread.
LONG = 16 * "descriptionproperties" + '}{\\"é'

# Case 1 to 13 of the published parsers' tests, and what users reported.
BY_HAND = {
    "text": [TE, "Just text."],
    "less": [TE, "a < b <"],
    "thought": [TH, "Only a thought"],
    "nothing": [],
    "empty thought": [TH, TE],
    "one": [TE, "I'll check. ", SB, CB, GOOD + " ", AB, '{"city": "Beijing"}', CE, SE],
    "two": [TE, SB, *call(GOOD), *call("functions.search-docs:1"), SE],
    "three": [TE, SB, *call(GOOD), *call("functions.get_weather:1"), *call(GOOD[:-1] + "2"), SE],
    "spaced": [TE, SB, " \n", *call("\n " + GOOD), "\n ", *call(" search-docs:1\n"), " ", SE, "\n"],
    "spaces in arguments": [TE, SB, CB, GOOD, AB, ' \n {"city": " x "}\t\n', CE, SE],
    "indices": [TE, SB, *call("functions.get_weather:5"), *call("functions.get_weather:6"), SE],
    "html": [TE, SB, *call(GOOD, '{"city": "<div>a</div>"}'), SE],
    "lines": [TE, SB, *call(GOOD, '{\n    "city":\t"x\\n"\n}'), SE],
    "braces": [TE, SB, *call(GOOD, '{"city": "}]{[`\\"`"}'), SE],
    "quotes": [TE, SB, *call(GOOD, '{"city": "a\\"b\\\\", "unit": "\'"}'), SE],
    "no prefix": [TE, SB, *call("get_weather:0"), SE],
    "hyphen": [TE, SB, *call("search-docs:2"), SE],
    "hyphen, undeclared": [TE, SB, *call("mcp__portal__search-docs:2"), SE],
    "dot and colon": [TE, SB, *call("functions.mcp.run:1:0"), SE],
    "dot and colon, no index": [TE, SB, *call("functions.mcp.run:1"), SE],
    "empty object": [TE, SB, *call(GOOD, "{}"), SE],
    "empty arguments": [TE, SB, *call(GOOD, ""), SE],
    "blank arguments": [TE, SB, *call(GOOD, " \n"), SE],
    "malformed": [TE, SB, *call(GOOD, '{"city": "x'), SE],
    "not JSON": [TE, SB, *call(GOOD, "city = x"), SE],
    "escapes": [TE, SB, *call(GOOD, '{"city": "\\u00e9\\ud83d\\ude00"}'), SE],
    "bad id": [TE, SB, *call("functions.invalid.0"), *call("functions.search-docs:1"), SE],
    "odd id": [TE, SB, *call(GOOD), *call("weird@id"), *call("functions.get_weather:1"), SE],
    "only bad ids": [TE, "x", SB, *call("weird@id"), *call(""), *call("functions.:0"), SE],
    "uuid": [TE, SB, *call("call_0a1b2c3d"), SE],
    "number": [TE, SB, *call("0", '{"city": "x"}'), *call("3", '{"query": "}"}'), SE],
    "number, blank": [TE, SB, *call(" 1\n", ' {"job": "x"}\n'), SE],
    "number, ambiguous": [TE, SB, *call("0", '{"unit": "x"}'), *call("1", "{}"), SE],
    "number, unparsable": [TE, SB, *call("0", '{"city":'), *call("search-docs:0"), SE],
    "noise": [TE, "a", SB, "noise", *call(GOOD), "more noise", SE, "b"],
    "noise only": [TE, "a", SB, "noise", SE, "b"],
    "no call": [TE, "a", SB, SE, "b"],
    "text behind": [TE, "a", SB, *call(GOOD), SE, "b"],
    "two sections": [TE, "a", SB, *call(GOOD), SE, "b", SB, *call(GOOD[:-1] + "1"), SE, "c"],
    "section in section": [TE, SB, *call(GOOD), SB, *call("search-docs"), SE, SE, "x"],
    "bare": [TE, "a", *call(GOOD), "b"],
    "bare, two": [TE, *call(GOOD), *call("search-docs"), "b"],
    "bare, ended by a section": [TE, CB, GOOD, AB, "{}", SB, *call("search-docs"), SE, "b"],
    "in thought": [TH, "I'd better", SB, *call(GOOD), SE],
    "in thought, bare": [TH, "I'd better", *call(GOOD), "then"],
    "in thought, closed later": [TH, "a", SB, *call(GOOD), SE, "b", TE, "c"],
    "no thought": [SB, *call(GOOD), SE],
    "thought twice": [TH, "a", TE, "b", TH, "c", TE, "d"],
    "lost markers": [TH, "a", CE, "b", AB, "c", SE, TE, "d", CE, "e", AB, SE, TH, "f"],
    "no arguments": [TE, SB, CB, GOOD, CE, CB, "weird", CE, CB, "0", CE, SE],
    "restarted": [TE, SB, CB, GOOD, CB, "functions.search-docs:1", AB, "{}", CE, SE],
    "restarted arguments": [TE, SB, CB, GOOD, AB, '{"ci', CB, GOOD, AB, "{}", CE, SE],
    "no call end": [TE, SB, CB, GOOD, AB, "{}", SE, "x"],
    "no call end in id": [TE, SB, CB, GOOD, SE, "x"],
    "open section": [TE, SB, *call(GOOD)],
    "open call": [TE, SB, CB, GOOD, AB, '{"city": '],
    "open call, nothing yet": [TE, SB, CB, GOOD, AB],
    "open id": [TE, SB, CB, GOOD],
    "open number": [TE, SB, CB, "0", AB, '{"city": "x"}'],
    "argument marker twice": [TE, SB, CB, GOOD, AB, '{"city":', AB, ' "x"}', CE, SE],
    "think in arguments": [TE, SB, CB, GOOD, AB, '{"city":', TH, ' "', TE, '"}', CE, SE],
    "think in id": [TE, SB, CB, "functions.", TH, "get_weather:", TE, "0", AB, "{}", CE, SE],
    "same id twice": [TE, SB, *call(GOOD), *call(GOOD), *call(GOOD), SE],
    "mixed ids": [TE, SB, *call("get_weather:7"), *call(GOOD), *call("f:9"), *call("0"), SE],
    "leading zero": [TE, SB, *call("functions.get_weather:00"), SE],
    "huge index": [TE, SB, *call("functions.get_weather:123456789012345678901"), SE],
    "name in prose": [TE, SB, *call("the tool get_weather:0"), SE],
    "unicode name": [TE, SB, *call("функция:0"), SE],
    "Chinese": [TH, "我想", TE, "好的。", SB, *call(GOOD, '{"city": "北京，中国"}'), SE, "完"],
    "emoji": [TE, "😀", SB, *call(GOOD, '{"city": "👩‍👩‍👧‍👦 é é"}'), SE],
    "half a character": [b"a\xe4\xb8", TE, b"\xad\xe4", SB, CB, GOOD, AB, b"{\xf0\x9f", CE, SE],
    "half characters in noise": [TE, SB, b"\xe4", CB, b"search-docs\xe4\xb8:0", AB, b"\xad", CE],
    "spelled": [TE, SB, *call(GOOD, '{"city": "<|tool_call", "unit": "_end|>"}'), SE],
    "controls": [TE, SB, *call(GOOD, '{"city": "\x01\x7f\\u0000"}'), SE],
    "30 KB": [TE, SB, *call(GOOD, '{"city": "' + 90 * LONG + '"}'), SE],
    "30 KB bare": [TH, *call("0", '{"query": "' + 90 * LONG + '"}'), "done"],
    "many": [TE, SB, *(p for i in range(60) for p in call("search-docs", f'{{"query": {i}}}')), SE],
}

TEXTS = ["a", " ", "\n", "yes. ", "é", "中文", "😀", "{", "}", '"', "0", ":", b"\xe4", b"\xb8"]
IDS = [
    *(GOOD, "functions.get_weather:1", "functions.mcp.run:1:4", "functions.other:12"),
    *("get_weather", "search-docs:2", "mcp.run:1", "other:0", "0", "7", "weird@id", ""),
]
ARGUMENTS = [
    *("{}", "", " ", '{"city": "x"}', '{"query": "a\\"}b"}', '{"unit": 1}', '{"job":', "text"),
    *('{"city": "中文 😀"}', ' {"job": null} \n'),
]


def random_call(rng):
    def spaced(texts):
        spaces = ["", "", " ", "\n "]
        return rng.choice(spaces) + rng.choice(texts) + rng.choice(spaces)

    return [CB, spaced(IDS), AB, spaced(ARGUMENTS), CE]


def random_output(rng):
    """Something a model might write, and then a few changes."""
    out = [TH] if rng.random() < 0.5 else []
    for _ in range(rng.randrange(6)):
        what = rng.randrange(5)
        if what < 2:
            out += rng.sample(TEXTS, 3)
        elif what == 2:
            out += random_call(rng)
        elif what == 3:
            out += [SB, *(p for _ in range(rng.randrange(4)) for p in random_call(rng)), SE]
        else:
            out += [TE]
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(out) + 1)
        out[at : at + rng.randrange(2)] = [rng.choice([*MARKERS, *TEXTS])]
    return [p for p in out if p != ""]


def all_outputs():
    """{name: pieces}"""
    rng = random.Random(8)
    return BY_HAND | {f"random {i}": random_output(rng) for i in range(100)}
