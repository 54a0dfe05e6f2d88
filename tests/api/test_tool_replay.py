"""Scripted outputs with tool calls: streams put together equal whole replies, whatever the chunks,
and both are what an oracle finds in the ids, which accounts for every byte of them."""

import base64
import concurrent.futures
import contextlib
import http.client
import json
import random
import re
import threading

import pytest

from api.tool_outputs import MARKERS, TOOLS, all_outputs

CHUNKINGS = [[1], [2], [3], [4], [5], [6], [7], [100000], "random"]
CUT = ["spaced", "number", "in thought, bare", "Chinese", "half a character", "odd id"]
HISTORY = [  # two calls, with the client's own ids
    {"role": "user", "content": "Before."},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
            for id in ["functions.get_weather:0", "call_1"]
        ],
    },
    {"role": "tool", "tool_call_id": "functions.get_weather:0", "content": "1"},
    {"role": "tool", "tool_call_id": "call_1", "content": "2"},
]
SEEN = {"functions.get_weather:0", "call_1"}
SPACE = " \t\n\r\v\f"


class Vocabulary:
    """The tokens of a checkpoint, and a way to write bytes as some ids or other."""

    def __init__(self, folder):
        lines = (folder / "tiktoken.model").read_bytes().splitlines()
        self.bytes = {int(rank): base64.b64decode(text) for text, rank in map(bytes.split, lines)}
        self.ids = {text: id for id, text in self.bytes.items()}
        config = json.loads((folder / "tokenizer_config.json").read_text())
        added = config["added_tokens_decoder"].items()
        self.markers = {v["content"]: int(k) for k, v in added if v["content"] in MARKERS}
        self.letters = {self.markers[name]: letter for name, letter in zip(MARKERS, "SscaeTu")}
        self.longest = max(map(len, self.ids))

    def encode(self, output, rng):
        return [id for piece in output for id in self._encode_piece(piece, rng)]

    def _encode_piece(self, piece, rng):
        if piece in MARKERS:
            return [self.markers[piece]]
        rest, ids = piece.encode() if isinstance(piece, str) else piece, []
        while rest:
            found = [n for n in range(1, self.longest + 1) if rest[:n] in self.ids]
            n = found[-1] if len(rest) > 1000 or rng.random() < 0.7 else rng.choice(found)
            n = min(n, len(rest))
            ids.append(self.ids[rest[:n]])
            rest = rest[n:]
        return ids


# ---------------------------------------------------------------------------------------------
# The oracle: regular expressions over one letter for each id. "t" is text.


class Oracle:
    def __init__(self, vocabulary, ids, finish, seen, next_index):
        self.vocabulary, self.ids, self.seen = vocabulary, ids, set(seen)
        self.next_index = next_index
        self.letters = "".join(vocabulary.letters.get(id, "t") for id in ids)
        self.content, self.calls, self.finish = "", [], finish
        self.n_dropped, self.replaced = 0, False  # bytes; characters cut in two
        self._read()

    def _bytes(self, start, end):
        tokens = self.vocabulary.bytes
        return b"".join(tokens.get(id, b"") for id in self.ids[start:end])

    def _decode(self, text):
        text = text.decode("utf-8", "replace")
        self.replaced |= "\N{REPLACEMENT CHARACTER}" in text
        return text

    def _text(self, start, end):
        return self._decode(self._bytes(start, end))

    def _drop(self, text):
        self.n_dropped += len(text.encode())

    def _read(self):
        thought = re.match("[^Scu]*u?", self.letters)
        end = thought.end() - thought.group().endswith("u")
        self.reasoning = self._text(0, end) if thought.end() > 0 else None
        self.n_thought = thought.end()
        in_section, run = False, b""
        pattern = "S|s|c([^aeScs]*)(?:a([^eScs]*))?(e?)|[^Scs]+"
        for match in re.compile(pattern).finditer(self.letters, thought.end()):
            first = match.group()[0]
            if first in "Sc":
                self.content += self._decode(run)
                run = b""
            if first == "c":
                self._read_call(match)
            elif first in "Ss":
                in_section = first == "S"
            elif in_section:
                self._drop(self._text(*match.span()))
            else:
                run += self._bytes(*match.span())
        self.content += self._decode(run)

    def _read_call(self, match):
        written = self._text(*match.span(1))
        cut = match.end() == len(self.letters) and not match[3]
        has_arguments = match[2] is not None
        text = self._text(*match.span(2)) if has_arguments else ""
        arguments = text.strip(SPACE)
        self._drop(written)
        name, index = self._resolve(written.strip(SPACE), None if cut else arguments)
        if name is None or not (has_arguments or match[3]):
            self._drop(text)
            return
        self._drop(text[: len(text) - len(text.lstrip(SPACE))])
        if arguments:
            self._drop(text[len(text.rstrip(SPACE)) :])
        open_at_the_limit = cut and self.finish == "length"
        self.calls.append(
            {
                "id": self._mint(name, index),
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": arguments or ("" if open_at_the_limit else "{}"),
                },
            }
        )
        self.n_dropped -= 0 if arguments or open_at_the_limit else 2  # the "{}" nobody wrote

    def _resolve(self, written, arguments):
        names = [tool["function"]["name"] for tool in TOOLS]
        prefix, stem, colon, digits = re.fullmatch(
            r"(functions\.)?(.*?)(?:(:)([0-9]+))?", written, re.S
        ).groups()
        index = int(digits) if prefix and digits and len(digits) < 10 else None
        if index is not None and str(index) != digits:
            index = None
        if stem in names:
            return stem, index
        if colon and f"{stem}:{digits}" in names:
            return f"{stem}:{digits}", None
        if re.fullmatch("[0-9]+", written):
            return self._infer(arguments), None
        return (stem, index) if colon and stem else (None, None)

    @staticmethod
    def _infer(arguments):
        try:
            keys = set(json.loads(arguments or ""))
        except ValueError:
            return None
        found = [
            tool["function"]["name"]
            for tool in TOOLS
            if keys <= set(tool["function"]["parameters"]["properties"])
        ]
        return found[0] if len(found) == 1 else None

    def _mint(self, name, index):
        if index is None or f"functions.{name}:{index}" in self.seen:
            index = self.next_index
            while f"functions.{name}:{index}" in self.seen:
                index += 1
        self.next_index = max(self.next_index, index + 1)
        self.seen.add(f"functions.{name}:{index}")
        return f"functions.{name}:{index}"

    def choice(self):
        finish = "tool_calls" if self.calls and self.finish == "stop" else self.finish
        return {
            "content": self.content or None,
            "reasoning": self.reasoning,
            "tool_calls": self.calls,
            "finish_reason": finish,
        }


# ---------------------------------------------------------------------------------------------
# A client


class Client:
    """Connections of threads to one server."""

    def __init__(self, server):
        self.port = server.port
        self.local = threading.local()
        self.connections = []

    def close(self):
        for connection in self.connections:
            connection.close()

    def post(self, body):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            self.connections.append(self.local.connection)
        self.local.connection.request(
            "POST",
            "/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        reply = self.local.connection.getresponse()
        text = reply.read()
        assert reply.status == 200, text
        return text


def whole(reply):
    choice = json.loads(reply)["choices"][0]
    message = choice["message"]
    assert message["role"] == "assistant"
    assert message["reasoning"] == message["reasoning_content"]
    return {
        "content": message["content"],
        "reasoning": message["reasoning"],
        "tool_calls": message.get("tool_calls") or [],
        "finish_reason": choice["finish_reason"],
    }


def joined(reply):
    """A stream, put together as clients do it."""
    events = [line[6:] for line in reply.split(b"\n\n") if line.startswith(b"data: ")]
    assert events[-1] == b"[DONE]"
    made = {"content": None, "reasoning": None, "tool_calls": [], "finish_reason": None}
    for event in events[:-1]:
        choice = json.loads(event)["choices"][0]
        delta = choice["delta"]
        assert made["finish_reason"] is None, "a chunk after the last one"
        assert delta.get("reasoning") == delta.get("reasoning_content")
        for field in "content", "reasoning":
            if delta.get(field):
                made[field] = (made[field] or "") + delta[field]
        for part in delta.get("tool_calls", []):
            add_part(made["tool_calls"], part)
        made["finish_reason"] = choice["finish_reason"]
    return made


def add_part(calls, part):
    assert part["index"] in (len(calls) - 1, len(calls)), "calls come one after the other"
    function = part.get("function", {})
    if part["index"] == len(calls):
        name = {"name": function["name"], "arguments": function.get("arguments") or ""}
        calls.append({"id": part["id"], "type": part["type"], "function": name})
    else:
        assert not {"id", "type"} & set(part) and "name" not in function
        calls[-1]["function"]["arguments"] += function["arguments"]


def request_of(word, history, stream):
    return {
        "model": "tiny",
        "messages": (HISTORY if history else []) + [{"role": "user", "content": word}],
        "tools": TOOLS,
        "stream": stream,
    }


# ---------------------------------------------------------------------------------------------


class Case:
    """One output in one chunking."""

    def __init__(self, number, name, ids, finish, chunks, history):
        self.word = f"[case {number}]"
        self.name, self.ids, self.finish = name, ids, finish
        self.chunks, self.history = chunks, history

    def script(self):
        return {
            "match": self.word,
            "token_ids": self.ids,
            "chunks": self.chunks,
            "finish": self.finish,
        }

    def check(self, client, vocabulary):
        """Returns whether all bytes could be counted."""
        oracle = Oracle(
            vocabulary, self.ids, self.finish, SEEN if self.history else (), 2 * self.history
        )
        expected = oracle.choice()
        told = f"{self.name}, chunks {self.chunks[:4]}, {len(self.ids)} ids"
        given = whole(client.post(request_of(self.word, self.history, False)))
        assert given == expected, told
        streamed = joined(client.post(request_of(self.word, self.history, True)))
        if given["reasoning"] == "":
            given["reasoning"] = None  # a stream has no chunk for an empty thought
        assert streamed == given, told
        self.check_bytes(vocabulary, oracle, given, told)
        return not oracle.replaced

    def check_bytes(self, vocabulary, oracle, given, told):
        shown = [given["content"] or "", given["reasoning"] or ""]
        shown += [call["function"]["arguments"] for call in given["tool_calls"]]
        for text in [*shown, *(call["id"] for call in given["tool_calls"])]:
            assert not any(marker in text for marker in MARKERS), told
        if oracle.replaced:
            return  # a replacement character is longer than what it stands for
        n_shown = sum(len(text.encode()) for text in shown)
        n_written = sum(len(vocabulary.bytes.get(id, b"")) for id in self.ids)
        assert n_shown + oracle.n_dropped == n_written, told


def make_cases(vocabulary):
    rng = random.Random(5)
    cases = []

    def add(name, ids, finish, chunking):
        chunks = [rng.randrange(1, 9) for _ in range(12)] if chunking == "random" else chunking
        history = len(cases) % 3 == 0
        cases.append(Case(len(cases), name, ids, finish, chunks, history))

    outputs = all_outputs()
    assert len(outputs) >= 150
    for name, output in outputs.items():
        for chunking in CHUNKINGS:
            add(name, vocabulary.encode(output, rng), "stop", chunking)
    for name in CUT:
        ids = vocabulary.encode(outputs[name], rng)
        for end in range(1, len(ids) + 1):
            for chunking in [1], [100000], "random":
                add(f"{name}, cut", ids[:end], "length", chunking)
    return cases


@pytest.fixture(scope="module")
def vocabulary(tiny):
    return Vocabulary(tiny)


@pytest.fixture(scope="module")
def cases(vocabulary):
    return make_cases(vocabulary)


def start(replay, cases, *parsers):
    return replay(
        [case.script() for case in cases],
        *("--max-model-len", "65536", "--kv-cache-memory-bytes", "2G", "--disable-access-log"),
        *parsers,
    )


def test_streams_wholes_and_oracle_agree(replay, cases, vocabulary):
    parsers = ("--tool-call-parser", "kimi_k2", "--reasoning-parser", "kimi_k2")
    server = start(replay, cases, *parsers)
    client = Client(server)
    with contextlib.closing(client), concurrent.futures.ThreadPoolExecutor(6) as pool:
        counted = list(pool.map(lambda case: case.check(client, vocabulary), cases))
    assert len(counted) > 1500 and sum(counted) > 1000
    assert server.metric("abruzzi_tool_calls_dropped_total") > 0  # those that named no tool


def check_parsers(replay, cases, tools, reasoning, check):
    """Plays the outputs written by hand with these parsers; check(case, choice)."""
    hand = [case for case in cases if case.chunks == [3] and not case.name.startswith("random")]
    server = start(replay, hand, "--tool-call-parser", tools, "--reasoning-parser", reasoning)
    with contextlib.closing(Client(server)) as client:
        for case in hand:
            given = whole(client.post(request_of(case.word, case.history, False)))
            streamed = joined(client.post(request_of(case.word, case.history, True)))
            given = {name: value or None for name, value in given.items()}
            assert {name: value or None for name, value in streamed.items()} == given, case.name
            check(case, given)


def test_everything_as_text(replay, cases, vocabulary):
    names = {id: name.encode() for name, id in vocabulary.markers.items()}

    def check(case, given):
        text = b"".join(names.get(id) or vocabulary.bytes[id] for id in case.ids)
        assert (given["content"] or "") == text.decode("utf-8", "replace"), case.name
        assert given["reasoning"] is None and given["tool_calls"] is None

    check_parsers(replay, cases, "none", "none", check)


def test_thoughts_as_text(replay, cases):
    def check(case, given):
        calls = json.dumps(given["tool_calls"])
        assert not any(marker in (given["content"] or "") for marker in MARKERS[:5]), case.name
        assert not any(marker in calls for marker in MARKERS), case.name
        assert given["reasoning"] is None

    check_parsers(replay, cases, "kimi_k2", "none", check)


def test_calls_as_text(replay, cases, vocabulary):
    def check(case, given):
        oracle = Oracle(vocabulary, case.ids, case.finish, (), 0)
        text = b"".join(vocabulary.bytes.get(id, b"") for id in case.ids[oracle.n_thought :])
        assert (given["content"] or "") == text.decode("utf-8", "replace"), case.name
        assert (given["reasoning"] or "") == (oracle.reasoning or ""), case.name
        assert given["tool_calls"] is None

    check_parsers(replay, cases, "none", "kimi_k2", check)


def test_the_oracle_by_hand(vocabulary):
    """The oracle itself, on three outputs."""
    outputs, rng = all_outputs(), random.Random(1)

    def read(name, finish="stop"):
        return Oracle(vocabulary, vocabulary.encode(outputs[name], rng), finish, (), 0).choice()

    def call_of(id, name, arguments):
        function = {"name": name, "arguments": arguments}
        return {"id": id, "type": "function", "function": function}

    assert read("odd id") == {
        "content": None,
        "reasoning": "",
        "tool_calls": [
            call_of("functions.get_weather:0", "get_weather", "{}"),
            call_of("functions.get_weather:1", "get_weather", "{}"),
        ],
        "finish_reason": "tool_calls",
    }
    assert read("in thought, bare") == {
        "content": "then",
        "reasoning": "I'd better",
        "tool_calls": [call_of("functions.get_weather:0", "get_weather", "{}")],
        "finish_reason": "tool_calls",
    }
    assert read("open call", "length") == {
        "content": None,
        "reasoning": "",
        "tool_calls": [call_of("functions.get_weather:0", "get_weather", '{"city":')],
        "finish_reason": "length",
    }
