"""Rendered prompts against the model's own template, by jinja2, and its tokenizer, by tiktoken.

Under allow_special the ids are those of the reference: the rendered text with every control token it
spells. Without, control tokens are the template's alone: here they go through Jinja as private
characters, so that those that texts spell can be told apart. What the model's service does to ids of
tool calls before it renders is done here before Jinja.
"""

import copy
import itertools
import json
import random
import re
import subprocess

import jinja2
import jinja2.sandbox
import pytest
from cli.test_tokenizer_oracle import ALLOW_SPECIAL, Reference, cuts

CONTROL = re.compile(r"<\|[a-z_]+\|>|</?think>")
FIRST_PRIVATE = 0xE000


# The reference -------------------------------------------------------------------------------


def tojson(value, separators=None):
    """As transformers has it: nothing is escaped for HTML, keys stay in their order."""
    return json.dumps(value, ensure_ascii=False, separators=separators)


def sort_keys(value):
    """What the model's apply_chat_template does to tools."""
    if isinstance(value, dict):
        return {key: sort_keys(value[key]) for key in sorted(value)}
    return [sort_keys(item) for item in value] if isinstance(value, list) else value


def renumber(messages):
    """The ids the model was trained on. A result is that of the latest turn that called by its id, of
    the first call there that has none yet, or of the last."""
    messages = copy.deepcopy(messages)
    known = []
    for turn, message in enumerate(messages):
        if message["role"] == "tool":
            same = [call for call in known if call["id"] == message.get("tool_call_id", "")]
            same = [call for call in same if call["turn"] == same[-1]["turn"]]
            if same:
                waiting = [call for call in same if not call["answered"]] or same[-1:]
                waiting[0]["answered"] = True
                message["tool_call_id"] = waiting[0]["shown"]
        if message["role"] == "assistant":
            for call in message.get("tool_calls") or []:
                shown = f"functions.{call['function']['name']}:{len(known)}"
                known.append({"id": call["id"], "shown": shown, "turn": turn, "answered": False})
                call["id"] = shown
    return messages


def is_open_thought(message):
    """What there is to be continued when a turn has nothing else."""
    return (
        message["role"] == "assistant"
        and not message.get("tool_calls")
        and message.get("content") in (None, [])
        and bool(message.get("reasoning_content"))
    )


class Template:
    def __init__(self, source, tokenizer):
        self.tokenizer = tokenizer
        self.names = sorted(set(CONTROL.findall(source)))
        self.private = {name: chr(FIRST_PRIVATE + i) for i, name in enumerate(self.names)}
        self.splitter = re.compile(f"([{''.join(self.private.values())}])")
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = tojson
        source = CONTROL.sub(lambda match: self.private[match[0]], source)
        self.template = environment.from_string(source)

    def render(self, conversation):
        """The prompt with the template's control tokens as private characters."""
        messages = renumber(conversation["messages"])
        go_on = conversation.get("continue_final_message", False)
        generate = conversation.get("add_generation_prompt", False)
        thought = messages.pop() if go_on and is_open_thought(messages[-1]) else None
        text = self.template.render(
            messages=messages,
            tools=sort_keys(conversation.get("tools")),
            add_generation_prompt=generate,
        )
        if thought:
            text += self.private["<|im_assistant|>"] + (thought.get("name") or "assistant")
            text += self.private["<|im_middle|>"] + self.private["<think>"]
            text += thought["reasoning_content"]
        elif go_on:
            assert text.endswith(self.private["<|im_end|>"])
            text = text[:-1]
        if generate and conversation.get("no_thinking"):
            text += self.private["<think>"] + self.private["</think>"]
        return text

    def named(self, text):
        return self.splitter.sub(lambda match: self.names[ord(match[0]) - FIRST_PRIVATE], text)

    def plain_ids(self, text):
        """The cuts are where they are in the named text; one inside a name does it no harm."""
        ends = list(itertools.accumulate(len(part) for part in cuts(self.named(text))))
        ids, at = [], 0
        for part in self.splitter.split(text):
            if part in self.private.values():
                part = self.names[ord(part) - FIRST_PRIVATE]
                ids.append(self.tokenizer.encoding.encode_single_token(part))
            else:
                inside = [end - at for end in ends if at < end < at + len(part)]
                for start, end in itertools.pairwise([0, *inside, len(part)]):
                    ids += self.tokenizer.encoding.encode_ordinary(part[start:end])
            at += len(part)
        return ids


@pytest.fixture(scope="module")
def tokenizer(shared):
    return Reference(shared / "data/kimi-tokenizer")


@pytest.fixture(scope="module")
def template(shared, tokenizer):
    path = shared / "data/templates/Kimi-K2-Thinking.jinja"
    return Template(path.read_text(encoding="utf-8"), tokenizer)


# Ours ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def render(build, shared):
    tool = build / "tests/tools/render"
    assert tool.exists(), f"{tool} is missing: run make test-programs"

    def run(conversations, allow_special):
        lines = []
        for conversation in conversations:
            given = json.loads(json.dumps(conversation))
            for message in given["messages"]:
                for call in message.get("tool_calls") or []:
                    if not isinstance(call["function"]["arguments"], str):
                        call["function"]["arguments"] = tojson(call["function"]["arguments"])
            lines.append(json.dumps({**given, "allow_special": allow_special}))
        done = subprocess.run(
            [tool, shared / "data/kimi-tokenizer"],
            input="\n".join(lines).encode(),
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr.decode()
        found = [json.loads(line) for line in done.stdout.decode().splitlines()]
        assert len(found) == len(conversations)
        return found

    return run


def check(render, template, conversations):
    plain, special = render(conversations, False), render(conversations, True)
    for conversation, ours, ours_special in zip(conversations, plain, special):
        text = template.render(conversation)
        named = template.named(text)
        assert ours["text"] == named, conversation
        assert ours["ids"] == template.plain_ids(text), conversation
        assert ours_special["text"] == named, conversation
        assert ours_special["ids"] == template.tokenizer.encode(named, ALLOW_SPECIAL), conversation


# Conversations -------------------------------------------------------------------------------

PIECES = (
    ["hello", "What is 7*6?", " ", "  ", "\n", "\n\n", "\t", "It's", " DON'T", "12345", "{}", "..."]
    + ["中文", "你好，", "世界", "привет", "日本語", "naïve", "e\u0301", "😀", "👩‍👩‍👧", "\u200b", "\u3000"]
    + ["<b>&amp;</b>", '"quoted"', "\\n", "{{ x }}", "{% raw %}", "a" * 40, "</", "|>", "<|"]
)


def text(rng, hostile):
    pieces = PIECES + hostile * 3
    return "".join(rng.choices(pieces, k=rng.choice([0, 1, 2, 5, 12])))


def content(rng, hostile):
    kind = rng.random()
    if kind < 0.1:
        return None
    if kind < 0.3:
        return [{"type": "text", "text": text(rng, hostile)} for _ in range(rng.randrange(4))]
    return text(rng, hostile)


INTEGERS = [0, -1, 10**6, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)]
REALS = [0.1, -0.0, 1e5, 1e15, 1e16, 1e22, 1e-5, 1.5e-7, 5e-324, 1.7976931348623157e308, 2**63 * 1.0]


def value(rng, hostile, depth=0):
    kind = rng.randrange(9 if depth < 3 else 7)
    if kind == 7:
        return [value(rng, hostile, depth + 1) for _ in range(rng.randrange(3))]
    if kind == 8:
        return {text(rng, hostile): value(rng, hostile, depth + 1) for _ in range(rng.randrange(4))}
    plain = [None, rng.random() < 0.5, rng.randrange(-9, 10**6), rng.random(), text(rng, hostile)]
    return (plain + [rng.choice(INTEGERS), rng.choice(REALS)])[kind]


def tool_call(rng, hostile, name_of_call):
    """The id is what the style, and the call's number, name it."""
    arguments = {text(rng, hostile) or "x": value(rng, hostile) for _ in range(rng.randrange(3))}
    as_text = rng.random() < 0.5
    name = rng.choice(["get_weather", "mcp__a-b.c", "查询", text(rng, hostile)])
    return {
        "id": name_of_call(name),
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments) if as_text else arguments},
    }


def message(rng, hostile, role=None):
    roles = ["user"] * 4 + ["assistant"] * 4 + ["tool"] * 2 + ["system", "developer"]
    made = {"role": role or rng.choice(roles + hostile[:1])}
    if rng.random() < 0.95:
        made["content"] = content(rng, hostile)
    if rng.random() < 0.15:
        made["name"] = rng.choice(["alice", "", text(rng, hostile)])
    if made["role"] == "tool" and rng.random() < 0.9:
        ids = ["call_abc", "functions.get_weather:0", "functions.get_weather:3", text(rng, hostile)]
        made["tool_call_id"] = rng.choice(ids)
    if made["role"] == "assistant" and rng.random() < 0.6:
        made["reasoning_content"] = text(rng, hostile)
    if made["role"] == "assistant" and rng.random() < 0.5:
        count = rng.choice([0, 1, 1, 2, 3])
        ids = ["call_abc", "functions.get_weather:0", "functions.get_weather:3", text(rng, hostile)]
        made["tool_calls"] = [tool_call(rng, hostile, lambda _: rng.choice(ids)) for _ in range(count)]
    return made


def agent_turn(rng, hostile, name_of_call):
    """A turn with calls, and their results."""
    calls = [tool_call(rng, hostile, name_of_call) for _ in range(rng.choice([1, 1, 1, 2, 3, 6]))]
    turn = {"role": "assistant", "content": content(rng, hostile), "tool_calls": calls}
    if rng.random() < 0.8:
        turn["reasoning_content"] = text(rng, hostile)
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": content(rng, hostile)}
        for call in calls
    ]
    for result, call in zip(results, calls):
        if rng.random() < 0.5:
            result["name"] = call["function"]["name"]
    if rng.random() < 0.3:
        rng.shuffle(results)
    if rng.random() < 0.1:
        results.pop()
    if rng.random() < 0.1:
        results.append({"role": "tool", "tool_call_id": "call_of_nobody", "content": "late"})
    return [turn, *results]


def agent(rng, hostile):
    """Questions with calls in several turns, and mostly an answer."""
    numbers, turns = itertools.count(rng.choice([0, 0, 7])), itertools.count()
    name_of_call = rng.choice(
        [
            lambda name: f"functions.{name}:{next(numbers)}",
            lambda name: f"call_{rng.getrandbits(96):024x}",
            lambda name: f"call_{next(turns) % 3}",
            lambda name: "call",
            lambda name: "",
            lambda name: f"functions.{name}:0",
        ]
    )
    messages = []
    for _ in range(rng.randrange(1, 4)):
        messages.append({"role": "user", "content": content(rng, hostile)})
        for _ in range(rng.randrange(1, 4)):
            messages += agent_turn(rng, hostile, name_of_call)
        if rng.random() < 0.7:
            messages.append(message(rng, hostile, "assistant"))
    return messages


def shuffle_keys(rng, value):
    if isinstance(value, dict):
        keys = rng.sample(list(value), k=len(value))
        return {key: shuffle_keys(rng, value[key]) for key in keys}
    return [shuffle_keys(rng, item) for item in value] if isinstance(value, list) else value


KEYS = ["city", "days", "Days", "unit", "Ünit", "a<b>&'", "", "é", "e\u0301", "\uffff", "😀", "10", "9"]


def schema(rng, hostile, depth=0):
    made = {
        "type": rng.choice(["string", "integer", "number", ["string", "null"]]),
        "description": text(rng, hostile),
        "default": value(rng, hostile),
        "minimum": rng.choice(INTEGERS + REALS),
        "enum": [value(rng, hostile) for _ in range(rng.randrange(4))],
    }
    made = {key: made[key] for key in rng.sample(list(made), k=rng.randrange(len(made)))}
    if depth < 4 and rng.random() < 0.5:
        names = rng.sample(KEYS, k=rng.randrange(4))
        made["properties"] = {name: schema(rng, hostile, depth + 1) for name in names}
        made["additionalProperties"] = rng.choice([False, schema(rng, hostile, depth + 1)])
        made["anyOf"] = [{"required": names[:2]}, schema(rng, hostile, depth + 2)]
    return made


def tool(rng, hostile):
    names = rng.sample(KEYS, k=3)
    function = {
        "name": rng.choice(["get_weather", "search", "查询", text(rng, hostile)]),
        "description": text(rng, hostile),
        "parameters": {
            "type": "object",
            "properties": {name: schema(rng, hostile) for name in names},
            "required": names[:2],
        },
    }
    return shuffle_keys(rng, {"type": "function", "function": function})


def conversation(rng, hostile):
    if rng.random() < 0.5:
        messages = agent(rng, hostile)
    else:
        messages = [message(rng, hostile) for _ in range(rng.choice([0, 1, 1, 2, 3, 5, 8, 13]))]
    if messages and rng.random() < 0.2:
        messages.append({"role": "assistant", "content": None, "reasoning_content": text(rng, hostile)})
    if messages and rng.random() < 0.4:
        messages.insert(0, {"role": "system", "content": text(rng, hostile)})
    made = {"messages": messages, "add_generation_prompt": rng.random() < 0.6}
    made["no_thinking"] = rng.random() < 0.3
    if messages and not made["add_generation_prompt"]:
        made["continue_final_message"] = rng.random() < 0.5
    if rng.random() < 0.4:
        made["tools"] = [tool(rng, hostile) for _ in range(rng.randrange(3))]
    return made


@pytest.mark.parametrize("seed", range(4))
def test_harmless_conversations(render, template, seed):
    rng = random.Random(seed)
    conversations = [conversation(rng, []) for _ in range(100)]
    check(render, template, conversations)
    # Where no text spells a control token, the reference and we are the same.
    assert [found["ids"] for found in render(conversations, False)] == [
        found["ids"] for found in render(conversations, True)
    ]


@pytest.mark.parametrize("seed", range(4, 8))
def test_texts_that_spell_control_tokens(render, template, tokenizer, seed):
    rng = random.Random(seed)
    hostile = ["<|im_end|>", "<think>", "</think>"] + rng.sample(tokenizer.names, k=8)
    conversations = [conversation(rng, hostile) for _ in range(100)]
    check(render, template, conversations)
    differ = zip(render(conversations, False), render(conversations, True))
    assert sum(ours["ids"] != reference["ids"] for ours, reference in differ) > 50


def dense(rng, length):
    """Minified JSON, without white space and with tokens that do not merge over a cut."""
    made = ""
    while len(made) < length:
        made += json.dumps({"k": rng.random(), "中": [rng.randrange(10**6)]}, separators=(",", ":"))
    return made[:length]


def loop_with(result, after="{}"):
    function = {"name": "read_file", "arguments": "{}"}
    call = {"id": "call_1", "type": "function", "function": function}
    return [
        {"role": "user", "content": "Read."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": result},
        {"role": "assistant", "content": None, "tool_calls": [copy.deepcopy(call)]},
        {"role": "tool", "tool_call_id": "call_1", "content": after},
    ]


def check_cuts(render, template, conversations, inside_names):
    """That many cuts must have fallen inside names, or the test does not test what it should."""
    check(render, template, conversations)
    plain, special = render(conversations, False), render(conversations, True)
    differ = sum(ours["ids"] != theirs["ids"] for ours, theirs in zip(plain, special))
    assert inside_names <= differ < len(conversations)


def test_cuts_in_stretches(render, template):
    """Stretches count over control tokens: a result's begins behind the last space before it and
    goes on in what comes behind."""
    rng = random.Random(9)
    text = dense(rng, 25_200)
    lengths = [*range(24_870, 24_990, 4), *range(24_990, 25_011), 49_990, 50_010]
    conversations = [
        {"messages": loop_with((text + text)[:length], text[:150] + " " + text), "tools": [{}]}
        for length in lengths
    ]
    check_cuts(render, template, conversations, 15)


@pytest.mark.parametrize("char", ["a", " ", "中", "\n", "\x1f", "\u3000"])
def test_cuts_in_one_character(render, template, char):
    conversations = [
        {"messages": [{"role": "user", "content": char * count + "<|im_end|>" + char * 100}]}
        for count in (24_990, 24_999, 25_000, 25_001, 60_000)
    ]
    check(render, template, conversations)


def test_cuts_of_long_prompts(render, template):
    """The first cut after 400,000 characters, in and around the names behind a long result."""
    rng = random.Random(10)
    words = " ".join(dense(rng, 50) for _ in range(8_200))
    header = len(template.named(template.render({"messages": loop_with("")[:3]}))) - len("<|im_end|>")
    conversations = [
        {"messages": loop_with(words[: cut - header], words[:100])}
        for cut in [399_960, 399_985, *range(399_990, 400_011, 4)]
    ]
    check_cuts(render, template, conversations, 3)


def test_integers_beyond_64_bits(render):
    """The one thing in tools that is not printed as Python does: they are the nearest real."""
    integers = [2**64 - 1, 2**63, -(2**63) - 1, 10**30]
    given = {"messages": [], "tools": [{"enum": [*integers, 2**63 - 1]}]}
    reals = {"messages": [], "tools": [{"enum": [*map(float, integers), 2**63 - 1]}]}
    (ours,), (as_reals,) = render([given], False), render([reals], False)
    assert ours == as_reals
    printed = "[1.8446744073709552e+19,9.223372036854776e+18,-9.223372036854776e+18,1e+30,"
    assert printed + "9223372036854775807]" in ours["text"]


def test_no_thought_is_none(render, template):
    """Jinja prints None for a reasoning_content that is null, which nobody can want."""
    calls = loop_with("")[1]["tool_calls"]
    turns = [
        {"role": "assistant", "content": "x", "tool_calls": calls, **reasoning}
        for reasoning in ({}, {"reasoning_content": ""}, {"reasoning_content": None})
    ]
    absent, empty, null = render([{"messages": [turn]} for turn in turns], False)
    assert absent == empty == null
    theirs = [template.named(template.render({"messages": [turn]})) for turn in turns]
    assert theirs[0] == theirs[1] == absent["text"]
    assert "<think>None</think>" in theirs[2]


FIELDS = {
    "content": lambda c, word: c["messages"][1].update(content=word),
    "part": lambda c, word: c["messages"][2]["content"][0].update(text=word),
    "next part": lambda c, word: c["messages"][2]["content"][1].update(text=word),
    "role": lambda c, word: c["messages"][3].update(role=word),
    "name": lambda c, word: c["messages"][1].update(name=word),
    "system": lambda c, word: c["messages"][0].update(content=word),
    "reasoning": lambda c, word: c["messages"][4].update(reasoning_content=word),
    "answer with calls": lambda c, word: c["messages"][4].update(content=word),
    "name of assistant": lambda c, word: c["messages"][4].update(name=word),
    "id of call": lambda c, word: c["messages"][4]["tool_calls"][0].update(id=word),
    "name of call": lambda c, word: c["messages"][4]["tool_calls"][0]["function"].update(name=word),
    "arguments": lambda c, word: c["messages"][4]["tool_calls"][0]["function"].update(arguments=word),
    "key of arguments": lambda c, word: c["messages"][4]["tool_calls"][1]["function"].update(
        arguments={word: word}
    ),
    "id of result": lambda c, word: c["messages"][5].update(tool_call_id=word),
    "result": lambda c, word: c["messages"][5].update(content=word),
    "name of result": lambda c, word: c["messages"][6].update(name=word),
    "name of tool": lambda c, word: c["tools"][0]["function"].update(name=word),
    "description": lambda c, word: c["tools"][0]["function"].update(description=word),
    "property": lambda c, word: c["tools"][0]["function"]["parameters"].update({word: {}}),
    "default": lambda c, word: c["tools"][0]["function"]["parameters"].update(default=[word]),
}


def conversation_with(field, word):
    turn, result, second = loop_with("harmless")[1:4]
    turn["tool_calls"].append(copy.deepcopy(second["tool_calls"][0]))
    turn["tool_calls"][1]["id"] = "call_2"
    made = {
        "messages": [
            {"role": "system", "content": "harmless"},
            {"role": "user", "content": "harmless"},
            {"role": "user", "content": [{"text": "harmless"}, {"text": "harmless"}]},
            {"role": "developer", "content": "harmless"},
            {**turn, "reasoning_content": "harmless"},
            result,
            {**result, "tool_call_id": "call_2"},
        ],
        "tools": [{"function": {"name": "harmless", "parameters": {}}}],
        "add_generation_prompt": True,
    }
    FIELDS[field](made, word)
    return made


def test_no_field_spells_control_tokens(render, template, tokenizer):
    rng = random.Random(11)
    names = rng.sample(tokenizer.names, k=3) + ["<think>", "</think>", "<|im_end|>"]
    broken = [name[: len(name) // 2] for name in names] + [name + name[:-1] for name in names]
    words = ["harmless", "".join(tokenizer.names), *names, *broken]
    conversations = [conversation_with(field, word) for field in FIELDS for word in words]
    check(render, template, conversations)
    first = min(map(tokenizer.encoding.encode_single_token, tokenizer.names))
    found = [
        [number for number in ours["ids"] if number >= first]
        for ours in render(conversations, False)
    ]
    assert len(found[0]) == 36
    assert all(controls == found[0] for controls in found)


def test_vectors(render, shared):
    file = shared / "data/vectors/chat_vectors.json"
    vectors = [
        vector
        for vector in json.loads(file.read_text(encoding="utf-8"))
        if vector["template"] == "k2-thinking" and "image" not in vector["name"]
    ]
    assert len(vectors) >= 6
    keys = "messages", "tools", "add_generation_prompt"
    conversations = [{key: vector[key] for key in keys} for vector in vectors]
    for vector, plain, special in zip(
        vectors, render(conversations, False), render(conversations, True)
    ):
        assert special["ids"] == vector["ids"], vector["name"]
        assert plain["text"] == special["text"] == vector["rendered"], vector["name"]
        spelled = vector["name"] == "special_token_text_in_user"
        assert (plain["ids"] == vector["ids"]) != spelled, vector["name"]


def test_what_cannot_be_continued(render):
    user = {"role": "user", "content": "hi"}
    both = {"messages": [user], "continue_final_message": True, "add_generation_prompt": True}
    none = {"messages": [], "continue_final_message": True}
    errors = [found["error"] for found in render([both, none], False)]
    assert [error.split(":")[0] for error in errors] == ["continue_final_message", "messages"]
