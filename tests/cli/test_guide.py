"""The guides' command lines: commands and flags exist, and both languages show the same ones."""

import re
import shlex
import subprocess

import pytest

GUIDES = ["GUIDE.md", "GUIDE.zh-CN.md"]
LATER = "not-in-this-version"  # in the first line of a block whose commands are refused today
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)
FLAG = re.compile(r"(?<![\w-])(--?[A-Za-z][\w-]*)")


def commands(text):
    """(whether it is for later, the words behind `abruzzi`) of every command line."""
    for kind, rest, body in BLOCK.findall(text):
        if kind != "sh":
            continue
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0] == "abruzzi":
                ends = [i for i, word in enumerate(words) if word in ("&", "|", ">")]
                yield LATER in rest, words[1 : min(ends, default=len(words))]


def read(root, name):
    return (root / "docs" / name).read_text("utf-8")


@pytest.fixture(scope="module")
def known(abruzzi):
    """The flags of each subcommand, as its help lists them."""

    def output(*words):
        done = subprocess.run([abruzzi, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    usage, rest = output("--help").split("Commands:")
    section = rest.split("\n\n")[0]
    names = re.findall(r"^  (\S+(?: \S+)?)  ", section, re.M)
    flags = {"": set(FLAG.findall(usage))}
    for name in names:
        heads = re.findall(r"^  (-.*)$", output(*name.split(), "--help"), re.M)
        flags[name] = {flag for head in heads for flag in FLAG.findall(head)}
    return flags


def meant(flag, flags):
    """The flags that `flag` may stand for: itself, or all it is the beginning of."""
    flag = flag.split("=")[0].replace("_", "-")
    if flag in flags:
        return [flag]
    return [each for each in flags if flag.startswith("--") and each.startswith(flag)]


def test_meant():
    flags = {"--random-input-len", "--random-output-len", "--seed", "-h"}
    assert meant("--random-input", flags) == ["--random-input-len"]
    assert len(meant("--random", flags)) == 2
    assert meant("--se=1", flags) == ["--seed"]
    assert meant("--nothing", flags) == []


def test_commands_of_a_text():
    text = "```sh\nA=1 abruzzi x --b 'c d' \\\n  -e > f\nls abruzzi\n```\n\n```text\nabruzzi no\n```\n"
    assert list(commands(text)) == [(False, ["x", "--b", "c d", "-e"])]
    assert [later for later, _ in commands(text.replace("sh\n", f"sh {LATER}\n"))] == [True]


@pytest.mark.parametrize("name", GUIDES)
def test_commands_and_flags_exist(root, known, name):
    found = [words for later, words in commands(read(root, name)) if not later]
    assert len(found) >= 10
    for words in found:
        subs = [" ".join(words[:n]) for n in (2, 1, 0)]
        sub = next(sub for sub in subs if sub in known)
        assert sub or words[0].startswith("-"), f"{name}: {' '.join(words)}"
        for flag in [word for word in words if re.match(r"--?[A-Za-z]", word)]:
            assert len(meant(flag, known[sub])) == 1, f"{name}: abruzzi {sub} has no {flag}"


def test_what_is_marked_as_later_is_refused(root, abruzzi):
    """Once it is not, the guides have to say something else."""
    marked = [words for later, words in commands(read(root, GUIDES[0])) if later]
    assert marked
    for words in marked:
        done = subprocess.run([abruzzi, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 64, " ".join(words)
        assert "not available in this version" in done.stderr


def test_languages_are_in_step(root):
    texts = [read(root, name) for name in GUIDES]
    blocks, headings, tables = zip(
        *(
            (BLOCK.findall(text), re.findall(r"^(#+) ", text, re.M), text.count("\n|"))
            for text in texts
        )
    )
    assert blocks[0] == blocks[1]
    assert headings[0] == headings[1]
    assert tables[0] == tables[1]
