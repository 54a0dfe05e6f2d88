"""The tokenizer against tiktoken itself, with the model's own pattern.

tiktoken decides: the texts are encoded by build/tests/tools/tokenize and by a tiktoken Encoding made
from the same files, cut beforehand as the model's own Python does. Without ../shared the vocabularies
made here still compare splitting, merging and control tokens.
"""

import base64
import hashlib
import json
import random
import struct
import subprocess

import pytest
import tiktoken

HAN = r"[\p{Han}]+"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERN = "|".join(
    [
        HAN,
        rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
PLAIN, ALLOW_SPECIAL = 0, 1
CHARACTERS = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)


# The reference -------------------------------------------------------------------------------


def cuts(text):
    """The parts that the model's tokenization_kimi.py gives to tiktoken."""
    for i in range(0, len(text), 400_000):
        part = text[i : i + 400_000]
        start = run = 0
        is_space = part[0].isspace()
        for j, char in enumerate(part):
            if char.isspace() != is_space:
                run, is_space = 1, not is_space
                continue
            run += 1
            if run > 25_000:
                yield part[start:j]
                start, run = j, 1
        yield part[start:]


class Reference:
    def __init__(self, folder):
        ranks = {}
        for line in (folder / "tiktoken.model").read_bytes().splitlines():
            token, rank = line.split()
            ranks[base64.b64decode(token)] = int(rank)
        names = {i: f"<|reserved_token_{i}|>" for i in range(len(ranks), len(ranks) + 256)}
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        for number, token in config["added_tokens_decoder"].items():
            names[int(number)] = token["content"]
        self.names = list(names.values())
        self.encoding = tiktoken.Encoding(
            name="reference",
            pat_str=PATTERN,
            mergeable_ranks=ranks,
            special_tokens={name: i for i, name in names.items()},
        )

    def encode(self, text, flags):
        ids = []
        for part in cuts(text):
            if flags == ALLOW_SPECIAL:
                ids += self.encoding.encode(part, allowed_special="all")
            else:
                ids += self.encoding.encode_ordinary(part)
        return ids


# Ours ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tool(build):
    path = build / "tests/tools/tokenize"
    assert path.exists(), f"{path} is missing: run make test-programs"
    return path


def encode(tool, folder, texts, flags):
    """The ids of each text."""
    records = []
    for text in texts:
        data = text.encode("utf-8")
        records.append(struct.pack("<II", flags, len(data)) + data)
    done = subprocess.run([tool, folder], input=b"".join(records), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    numbers = struct.unpack(f"<{len(done.stdout) // 4}i", done.stdout)
    found, at = [], 0
    while at < len(numbers):
        found.append(list(numbers[at + 1 : at + 1 + numbers[at]]))
        at += 1 + numbers[at]
    assert len(found) == len(texts)
    return found


def check_same(tool, folder, reference, texts, flags):
    for text, ours in zip(texts, encode(tool, folder, texts, flags)):
        wanted = reference.encode(text, flags)
        assert ours == wanted, f"{text[:300]!r} with flags {flags}"


# Texts ---------------------------------------------------------------------------------------

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    "٠١٢３４５²³¼Ⅷⅸ〇〡〩𝟘",
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2009\u2028\u2029\u202f\u205f\u3000\ufeff\u180e\u200b",
    ".,;:!?-_=+*/\\|()[]{}<>@#$%^&~`\"'",
    "'",
    "àéîõüñçßøåæœþðſKÅ",
    "ÀÉÎÕÜÑÇẞØÅÆŒÞÐİ",
    "ǅǈǋǲᾈᾘ",
    "ʰʲʷˠˤªº々〻ーｰ",
    "абвгдежзиклмнопрстуфхцчшщьыэюяАБВГДЕЖЗИКЛМН",
    "αβγδεζηθικλμνξοπΑΒΓΔΕΖΗΘ",
    "אבגדהוזחטיךכלםמןנסעףפץצקרשת",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "अआइईउऊऋएऐओऔकखगघङचछजझञटठडढणतथदधनपफबभमयरलव",
    "กขฃคฅฆงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรลวศษสหฬอฮ",
    "가나다라마바사아자차카타파하각간갈감",
    "あいうえおかきくけこさしすせそアイウエオカキクケコ",
    "中文字的一是不了人我在有他这为之大来以个上们到说国和地也子时道出而要于就下得可你年生",
    "⺀⺁⼀⼁〆豈𠀀𪜀𮯰㐀",
    "\u0300\u0301\u0308\u0338\u064b\u093e\u094d\u0e31\u20dd\ufe0f\U000e0100\u302a\u16ff0",
    "😀😂🤣👩👨👧🏽🇮🇹\u200d♥️✈",
    "\x00\x01\x02\x07\x08\x1b\x7f\x80\x9f\xad",
    "\ue000\uf8ff\ufffd\uffff\U000f0000\U0010ffff\u0378\U0001c000",
    "\u0897\u1c89\ua7cb\ua7cd\U00010d40\U00010d50\U0002ebf0\U0001ccf0",  # Unicode 15.1 and 16.0
    "→⇒≤∑∞§¶†‡•…«»“”‘’、。「」『』",
]
PIECES = ["'s", "'S", "'ſ", "'t", "'RE", "'ve", "'M", "'ll", "'Ll", "'d", "the", " The", "HTTP",
          "getUserName", "  ", "\r\n", "\n\n", "    ", "://", "123", "1234567", "```", "->", "\u3000"]


def random_text(rng, names=()):
    """A text of a few runs, each of one alphabet, or of anything mixed."""
    parts = []
    for _ in range(rng.randrange(1, 12)):
        kind = rng.random()
        if kind < 0.15:
            parts.append(rng.choice(PIECES))
        elif kind < 0.25 and names:
            name = rng.choice(names)
            parts.append(name if rng.random() < 0.8 else name[: rng.randrange(1, len(name))])
        elif kind < 0.5:
            mixed = rng.choices(ALPHABETS, k=rng.randrange(1, 12))
            parts.append("".join(rng.choice(alphabet) for alphabet in mixed))
        else:
            parts.append("".join(rng.choices(rng.choice(ALPHABETS), k=rng.randrange(1, 12))))
    return "".join(parts)


def random_texts(seed, count, names=()):
    rng = random.Random(seed)
    return [random_text(rng, names) for _ in range(count)]


# Classes -------------------------------------------------------------------------------------


def matched_by_tiktoken(pattern):
    """The characters that tiktoken's regular expressions match: what is not matched is dropped."""
    encoding = tiktoken.Encoding(
        name="class",
        pat_str=pattern,
        mergeable_ranks={bytes([i]): i for i in range(256)},
        special_tokens={},
    )
    return set(bytes(encoding.encode_ordinary(CHARACTERS)).decode("utf-8"))


@pytest.fixture(scope="module")
def bits(tool):
    done = subprocess.run([tool, "--bits"], capture_output=True, timeout=60, check=True)
    assert len(done.stdout) == 0x110000
    return done.stdout


@pytest.mark.parametrize(
    "bit, pattern",
    [(1, UPPER + "+"), (2, LOWER + "+"), (4, r"\p{L}+"), (8, r"\p{N}+"), (16, HAN), (32, r"\s+")],
    ids=["upper", "lower", "letter", "number", "han", "space"],
)
def test_class_of_every_code_point(bits, bit, pattern):
    ours = {char for char in CHARACTERS if bits[ord(char)] & bit}
    theirs = matched_by_tiktoken(pattern)
    assert len(theirs) > 20
    assert [hex(ord(c)) for c in sorted(ours ^ theirs)] == []


def test_isspace_of_every_code_point(bits):
    assert [hex(c) for c in range(0x110000) if bool(bits[c] & 64) != chr(c).isspace()] == []


def test_contractions_fold_as_in_tiktoken():
    """The splitter knows one letter besides ASCII that (?i:...) matches."""
    wanted = {"s": "sSſ", "t": "tT", "r": "rR", "e": "eE", "v": "vV", "m": "mM", "l": "lL", "d": "dD"}
    for letter, matches in wanted.items():
        assert matched_by_tiktoken(f"(?i:{letter})+") == set(matches)


# Vocabularies made here ----------------------------------------------------------------------


def write_tokenizer(folder, tokens):
    lines = [f"{base64.b64encode(token).decode()} {i}\n" for i, token in enumerate(tokens)]
    (folder / "tiktoken.model").write_text("".join(lines))
    first = len(tokens)
    added = {
        str(first): {"content": "[BOS]", "special": True},
        str(first + 2): {"content": "<|im_end|>", "special": True},
        str(first + 23): {"content": "<think>", "special": False},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))


def joined_tokens(rng, count):
    """The bytes in any order, then joins of earlier tokens: few are what merging makes first."""
    tokens = [bytes([i]) for i in range(256)]
    rng.shuffle(tokens)
    common = [c.encode() for c in "abcdeABC 01.'s\n"] + ["中".encode(), "é".encode(), b"th"]
    made, seen = list(common), set(tokens)
    while len(tokens) < 256 + count:
        token = rng.choice(made) + rng.choice(made)
        if len(token) < 30 and token not in seen:
            seen.add(token)
            tokens.append(token)
            made.append(token)
    return tokens


@pytest.mark.parametrize("seed, count", [(1, 0), (2, 50), (3, 500), (4, 3000)])
def test_made_vocabulary(tool, tmp_path, seed, count):
    rng = random.Random(seed)
    write_tokenizer(tmp_path, joined_tokens(rng, count))
    reference = Reference(tmp_path)
    texts = random_texts(seed, 300, reference.names)
    texts += ["".join(rng.choices("abcdeABC 01.'s\n中é", k=rng.randrange(200))) for _ in range(500)]
    texts += ["ab" * 2000, "a" * 30000, " " * 30000]
    for flags in PLAIN, ALLOW_SPECIAL:
        check_same(tool, tmp_path, reference, texts, flags)


# The model's vocabulary ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "data/kimi-tokenizer"


@pytest.fixture(scope="module")
def reference(folder):
    # The published hash of the pattern of all Kimi models.
    assert hashlib.sha256(PATTERN.encode()).hexdigest() == (
        "de5781783b193d5ccf5b1b28edfa70fa816ce78d54603fdc422cfd8d4ea4411f"
    )
    return Reference(folder)


@pytest.mark.parametrize(
    "name, lines, count, digest",
    [
        ("test", 1319, 212917, "9669e9a1ab6d9b3dc108b4e060660dd7ff6644a951443583204397d099d569e6"),
        ("train", 7473, 1175402, "9ce98a217484cec55a1af5ba5efdf07b69f9cd7d89c6f504469f716acbee1cf7"),
    ],
    ids=["test", "train"],
)
def test_gsm8k(tool, folder, reference, shared, name, lines, count, digest):
    texts = []
    with open(shared / f"data/gsm8k/{name}.jsonl", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            texts += [record["question"], record["answer"]]
    assert len(texts) == 2 * lines
    check_same(tool, folder, reference, texts, PLAIN)
    ids = [i for ids in encode(tool, folder, texts, PLAIN) for i in ids]
    assert len(ids) == count
    assert hashlib.sha256(struct.pack(f"<{count}I", *ids)).hexdigest() == digest


@pytest.mark.parametrize("flags", [PLAIN, ALLOW_SPECIAL], ids=["plain", "specials"])
def test_random_texts(tool, folder, reference, flags):
    texts = random_texts(100 + flags, 4000, reference.names)
    check_same(tool, folder, reference, texts, flags)


@pytest.mark.parametrize("flags", [PLAIN, ALLOW_SPECIAL], ids=["plain", "specials"])
def test_cuts(tool, folder, reference, flags):
    """Runs around 25,000 characters, texts around 400,000, and control tokens across the cuts."""
    rng = random.Random(7)
    texts = []
    for length in 24_999, 25_000, 25_001, 50_001:
        for char in "a", "é", " ", "\n", "\x1c", "\u3000", "中", "1", "!", "😀":
            texts.append("x " * rng.randrange(3) + char * length + rng.choice(["", " y", "z", "\n"]))
    for offset in range(24_985, 25_002, 3):
        texts.append("a" * offset + "<|im_end|>" + "b" * 100)
    words = ["word ", "parola, ", "слово ", "中文", "\n\n", "1234 ", "<think>", "  "]
    for _ in range(2):
        text = "".join(rng.choices(words, k=120_000))
        assert len(text) > 400_010
        texts.append(text[: 400_000 - 3] + "<|im_end|>" + text[400_000:] + "a" * 30_000)
    check_same(tool, folder, reference, texts, flags)


def test_every_character_in_context(tool, folder, reference):
    """Every code point between letters, digits, spaces, punctuation and Han."""
    texts = []
    for start in range(0, len(CHARACTERS), 64):
        block = CHARACTERS[start : start + 64]
        if block[0] < "\U00030000" or "\U000e0000" <= block[0] < "\U000e0200":
            texts.append("".join(f"a{c}B1{c} {c}!中{c}'s" for c in block))
    check_same(tool, folder, reference, texts, PLAIN)
