"""Outputs made under a schema, and texts judged by it, against python jsonschema.

Random walks along the masks must end in texts that validate; and, so that constraints forbid nothing
they need not, compact dumps of valid instances must be possible outputs.
"""

import json
import random
import re
import subprocess

import jsonschema
import pytest
import schema_maker

N_GENERATED = 240


def run(build, cases):
    """The tool's answer to each case."""
    tool = build / "tests/tools/grammar_walk"
    assert tool.exists(), f"{tool} is missing: run make test-programs"
    lines = "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases)
    done = subprocess.run([tool], input=lines.encode(), capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    results = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
    assert len(results) == len(cases)
    return results


def unique(pairs):
    keys = [key for key, _ in pairs]
    assert len(set(keys)) == len(keys), f"a key twice: {keys}"
    return dict(pairs)


CHECKER = jsonschema.FormatChecker()
TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"


@CHECKER.checks("time")
def is_time(text):
    """Without further packages jsonschema takes any text for one."""
    return not isinstance(text, str) or bool(re.fullmatch(TIME, text))


@CHECKER.checks("date-time")
def is_date_time(text):
    if not isinstance(text, str):
        return True
    return CHECKER.conforms(text[:10], "date") and text[10:11] in "Tt" and is_time(text[11:])


def validator(schema):
    return jsonschema.Draft202012Validator(schema, format_checker=CHECKER)


def check_texts(cases, results):
    """Every text validates, and most walks came to an end."""
    finished = unfinished = 0
    for case, result in zip(cases, results):
        assert "error" not in result, (case["schema"], result)
        judge = validator(case["schema"])
        for text in result["texts"]:
            value = json.loads(text, object_pairs_hook=unique)
            errors = [error.message for error in judge.iter_errors(value)]
            assert not errors, (case["schema"], text, errors)
            assert not case.get("no_whitespace") or text == compact(text), text
        finished += len(result["texts"])
        unfinished += result["unfinished"]
    print(f"{finished} texts, {unfinished} walks without an end")
    assert finished >= 9 * unfinished and finished > 0


def compact(text):
    """`text` without the white space between its tokens."""
    out, inside, escaped = [], False, False
    for char in text:
        if inside or char not in " \t\r\n":
            out.append(char)
        if inside and not escaped and char == "\\":
            escaped = True
            continue
        if char == '"' and not escaped:
            inside = not inside
        escaped = False
    return "".join(out)


# Schemas that Moonshot's own API accepts -------------------------------------------------------


def moonshot_schemas(shared):
    files = sorted((shared / "data/schemas/validator_cases").glob("*/valid.jsonl"))
    if not files:
        pytest.skip("../shared/data/schemas is absent")
    lines = [line for file in files for line in file.read_text().splitlines() if line.strip()]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("tool", [False, True], ids=["answer", "arguments"])
def test_moonshot_schemas(build, shared, tool):
    cases = [
        {"schema": schema, "strict": True, "tool": tool, "seed": seed, "count": 3, "length": 12}
        for seed, schema in enumerate(moonshot_schemas(shared))
    ]
    results = run(build, cases)
    if tool:  # arguments are objects: a schema that says something else is no schema of arguments
        kept = [i for i, result in enumerate(results) if "error" not in result]
        assert len(kept) > len(cases) // 2
        cases, results = [cases[i] for i in kept], [results[i] for i in kept]
    check_texts(cases, results)


# Generated ones --------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", [False, True], ids=["answer", "arguments"])
def test_generated_schemas(build, tool):
    schemas = schema_maker.make_schemas(N_GENERATED, seed=11 + tool)
    if tool:
        schemas = [s for s in schemas if s.get("type") == "object"]
    cases = [
        {
            "schema": schema,
            "strict": True,
            "tool": tool,
            "no_whitespace": seed % 3 == 0,
            "seed": seed,
            "count": 4,
            "length": [4, 12, 60][seed % 3],
        }
        for seed, schema in enumerate(schemas)
    ]
    check_texts(cases, run(build, cases))


# Completeness ----------------------------------------------------------------------------------

SAMPLES = {
    "^[a-z]+$": ["a", "xyz"],
    "^[A-Z]{2}-[0-9]{3}$": ["AB-123"],
    "^(yes|no|maybe)$": ["yes", "maybe"],
    "[0-9]": ["7", "a 7 \"b\"\n", "é0"],
    "^\\d{4}-\\d{2}$": ["2025-11"],
    "^[^@ ]+@[a-z]+\\.(com|org)$": ["é.ü@host.org"],
    "^a*b?c+$": ["c", "aabcc"],
    "^.{2,5}$": ["ab", "äöü€😀"],
    "ä|ö|ü": ["x ö", "ü"],
    "^[a-zé]*$": ["", "é", "été", "abcdefgh"],
}
FORMATS = {
    "date": ["2024-02-29"],
    "time": ["23:59:59Z", "01:02:03.5+02:00"],
    "date-time": ["2024-02-29T12:00:00Z"],
    "uuid": ["123e4567-e89b-42d3-a456-426614174000"],
    "ipv4": ["127.0.0.1", "255.1.20.3"],
    "email": ["a.b@example.com"],
}
TEXTS = ["", "a", "Zürich", 'quo"te', "back\\slash", "line\nbreak\t", "€😀", "a" * 9, "\u0001", "/"]
ANYTHING = [None, True, 0, -3.5, "text", [], [1, [2]], {}, {"k": {"l": [None]}}]


class Instances:
    """Values that a schema may allow; whether it does is left to the validator."""

    def __init__(self, document, seed):
        self.document = document
        self.random = random.Random(seed)

    def string(self, schema):
        texts = SAMPLES.get(schema.get("pattern")) or FORMATS.get(schema.get("format")) or TEXTS
        text = self.random.choice(texts)
        low = schema.get("minLength", 0)
        return text + "é" * (low - len(text)) if "pattern" not in schema else text

    def number(self, schema):
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        low = schema.get("minimum", schema.get("exclusiveMinimum", (high or 0) - 60))
        high = low + 60 if high is None else high
        if schema["type"] == "integer":
            step = schema.get("multipleOf", 1)
            return self.random.randint(int(low), int(high)) // step * step
        return round(self.random.uniform(low, high), self.random.randint(0, 6))

    def array(self, schema, depth):
        prefix = schema.get("prefixItems", [])
        items = schema.get("items", True)
        low = schema.get("minItems", 0)
        count = self.random.randint(low, min(schema.get("maxItems", low + 3), low + 3))
        if items is False:
            count = min(count, len(prefix))
        return [
            self.make(prefix[i] if i < len(prefix) else items, depth - 1) for i in range(count)
        ]

    def object(self, schema, depth):
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        more = 0.6 if depth > 0 else 0
        keys = [k for k in properties if k in required or self.random.random() < more]
        result = {key: self.make(properties[key], depth - 1) for key in keys}
        extra = schema.get("additionalProperties", True)
        while extra is not False and len(result) < schema.get("minProperties", 0):
            result[f"extra {len(result)}"] = self.make(extra, depth - 1)
        shuffled = list(result.items())
        self.random.shuffle(shuffled)  # properties come in any order
        return dict(shuffled)

    def make(self, schema, depth=3):
        if schema is True or not set(schema) - {"description", "$defs"}:
            return self.random.choice(ANYTHING)
        if "$ref" in schema:
            return self.make(self.document["$defs"][schema["$ref"].split("/")[-1]], depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self.make(self.random.choice(schema[keyword]), depth)
        if "allOf" in schema:
            merged = {}
            for part in schema["allOf"]:
                value = self.make(part, depth)
                merged.update(value if isinstance(value, dict) else {})
            return merged
        kind = schema.get("type")
        if kind == "string":
            return self.string(schema)
        if kind in ("number", "integer"):
            return self.number(schema)
        if kind == "array":
            return self.array(schema, depth)
        if kind == "object" or "properties" in schema:
            return self.object(schema, depth)
        return self.random.choice([True, False]) if kind == "boolean" else None


def test_instances_are_possible(build):
    cases, total = [], 0
    for seed, schema in enumerate(schema_maker.make_schemas(N_GENERATED, seed=23)):
        judge, instances = validator(schema), Instances(schema, seed)
        values = [instances.make(schema) for _ in range(12)]
        texts = {
            json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            for value in values
            if judge.is_valid(value)
        }
        total += len(texts)
        cases.append({"schema": schema, "strict": True, "accepts": sorted(texts)})
    assert total > 2 * N_GENERATED
    for case, result in zip(cases, run(build, cases)):
        assert "error" not in result, (case["schema"], result)
        wrong = [t for t, good in zip(case["accepts"], result["accepted"]) if not good]
        assert not wrong, (case["schema"], wrong)


def test_invalid_texts_are_not(build):
    """The judge of the test above can say no: single changes that break an instance."""
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 3}, "s": {"enum": ["a", "b"]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    good = ['{"n":3}', '{"s":"a","n":30}', '{ "n" : 3 }']
    bad = ['{"n":2}', '{"n":3', '{"n":3}}', '{"n":3.5}', '{"s":"a"}', '{"n":3,"n":4}', '{"n":3,}']
    bad += ['{"n":3,"s":"c"}', '{"m":1,"n":3}', "[]", "3", "", '{"n":03}', "{'n':3}"]
    (result,) = run(build, [{"schema": schema, "strict": True, "accepts": good + bad}])
    assert result["accepted"] == [True] * len(good) + [False] * len(bad)
