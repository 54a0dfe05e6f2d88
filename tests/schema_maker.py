"""Random JSON Schemas, the same for the same seed, from the keywords docs/API.md publishes.

Every one of them has a finite instance.
"""

import random

WORDS = ["a", "id", "name", "städte", "a/b", "x y", 'quo"te', "back\\slash", "type", "nested", "n1"]
PATTERNS = [
    "^[a-z]+$",
    "^[A-Z]{2}-[0-9]{3}$",
    "^(yes|no|maybe)$",
    "[0-9]",
    "^\\d{4}-\\d{2}$",
    "^[^@ ]+@[a-z]+\\.(com|org)$",
    "^a*b?c+$",
    "^.{2,5}$",
    "ä|ö|ü",
]
FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "email"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.defs = {}

    def chance(self, part):
        return self.random.random() < part

    def bounds(self, low, high, names, result):
        """Puts a lower and an upper bound, or one of them, or none, into `result`."""
        a, b = sorted((self.random.randint(low, high), self.random.randint(low, high)))
        if self.chance(0.5):
            result[names[0]] = a
        if self.chance(0.5):
            result[names[1]] = b

    def string(self):
        result = {"type": "string"}
        kind = self.random.randrange(5)
        if kind == 0:
            result["pattern"] = self.random.choice(PATTERNS)
        elif kind == 1:
            result["format"] = self.random.choice(FORMATS)
        elif kind == 2:
            self.bounds(0, 12, ("minLength", "maxLength"), result)
        elif kind == 3:
            result["pattern"] = "^[a-zé]*$"
            self.bounds(1, 9, ("minLength", "maxLength"), result)
        return result

    def number(self):
        result = {"type": self.random.choice(["integer", "number"])}
        names = [("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum")]
        low = self.random.choice([0, -5, 17, -1000])
        high = low + self.random.choice([3, 40, 100000])
        pair = self.random.choice(names)
        if self.chance(0.5):
            result[pair[0]] = low
        if self.chance(0.5):
            result[pair[1]] = high
        if result["type"] == "number" and self.chance(0.3):
            result = {"type": "number", "minimum": -10.5111, "maximum": 20.333333333}
        if result["type"] == "integer" and self.chance(0.3):
            result["multipleOf"] = self.random.choice([1, 2, 5 if high - low > 10 else 2])
        return result

    def enum(self):
        values = [1, -2.5, "a", "", "ü\n\"", None, True, [], [1, {"k": "v"}], {"z": 1, "a": [2]}]
        some = self.random.sample(values, self.random.randint(1, 5))
        return {"const": some[0]} if self.chance(0.2) else {"enum": some}

    def array(self, depth):
        result = {"type": "array"}
        if self.chance(0.2):
            result["prefixItems"] = [self.schema(depth - 1) for _ in range(self.random.randint(1, 3))]
        if self.chance(0.8):
            result["items"] = self.schema(depth - 1) if self.chance(0.9) else False
        if result.get("items") is not False:
            self.bounds(0, 5, ("minItems", "maxItems"), result)
        return result

    def object(self, depth):
        keys = self.random.sample(WORDS, self.random.randint(0, 5))
        result = {"type": "object", "properties": {key: self.schema(depth - 1) for key in keys}}
        if keys and self.chance(0.7):
            result["required"] = self.random.sample(keys, self.random.randint(1, len(keys)))
        # Mostly closed, else who writes at random never finds the names that are required.
        if self.chance(0.8):
            result["additionalProperties"] = (
                self.schema(depth - 1) if self.chance(0.15) else self.chance(0.1)
            )
        if result.get("additionalProperties") is not False and self.chance(0.2):
            result["minProperties"] = len(result.get("required", [])) + 1
        if self.chance(0.1):
            result["maxProperties"] = max(
                len(result.get("required", [])), result.get("minProperties", 0)
            ) + self.random.randint(0, 2)
        if result.get("additionalProperties") is not False and self.chance(0.1):
            result["propertyNames"] = {"maxLength": 10}
        return result

    def any_of(self, depth):
        return {"anyOf": [self.schema(depth - 1) for _ in range(self.random.randint(1, 4))]}

    def one_of(self, depth):
        """Branches that no value can satisfy together."""
        tags = self.random.sample(["cat", "dog", "emu"], self.random.randint(1, 3))
        return {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {"kind": {"const": tag}, "value": self.schema(depth - 1)},
                    "required": ["kind"],
                    "additionalProperties": False,
                }
                for tag in tags
            ]
        }

    def all_of(self, depth):
        """Objects whose properties are spread over several schemas."""
        keys = self.random.sample(WORDS, 4)
        parts = [
            {
                "type": "object",
                "properties": {key: self.schema(depth - 1) for key in keys[i : i + 2]},
            }
            for i in (0, 2)
        ]
        return {"allOf": parts + [{"minProperties": 2}]}

    def reference(self, depth):
        """A recursive definition: its own further instances are optional."""
        name = f"node{self.random.randint(0, 2)}"
        if self.defs.get(name) is True:  # being made: it must not need itself
            return {"type": "null"}
        if name not in self.defs:
            self.defs[name] = True
            self.defs[name] = {
                "type": "object",
                "properties": {
                    "value": self.schema(depth - 1),
                    "next": {"anyOf": [{"type": "null"}, {"$ref": f"#/$defs/{name}"}]},
                    "others": {"type": "array", "items": {"$ref": f"#/$defs/{name}"}},
                },
                "required": ["value"],
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{name}"}

    def schema(self, depth):
        leaf = [self.string, self.string, self.number, self.number, self.enum]
        leaf += [lambda: {"type": self.random.choice(["boolean", "null"])}, lambda: {}]
        if depth > 0 and self.chance(0.6):
            inner = [self.object, self.object, self.array, self.any_of, self.one_of, self.all_of]
            result = self.random.choice(inner + [self.reference])(depth)
        else:
            result = self.random.choice(leaf)()
        if self.chance(0.1) and isinstance(result, dict):
            result["description"] = "Something said about it, “quoted”."
        return result

    def document(self):
        result = self.schema(self.random.randint(0, 3))
        if self.chance(0.5):
            result = self.object(2)
        return dict(result, **{"$defs": self.defs}) if self.defs else result


def make_schemas(count, seed):
    """`count` schemas, each a JSON value."""
    return [Maker(seed * 1000003 + i).document() for i in range(count)]
