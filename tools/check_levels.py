#!/usr/bin/env python3
"""Checks the map of rooms: who may include whom, and a few house rules that a compiler cannot see.

A room includes rooms of lower levels only, each through its one header (base has several), and
inside backend/ the folders cpu and reference know nothing of each other. Prints one line for each
breach and exits with 1 if there is any.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEVELS = {
    "base": 0,
    "http": 1,
    "token": 1,
    "comm": 1,
    "model": 2,
    "grammar": 2,
    "chat": 2,
    "backend": 3,
    "engine": 4,
    "api": 5,
    "measure": 5,
    "cli": 6,
}
# The folders inside a room, and those of them that each may include besides itself.
FOLDERS = {("backend", "cpu"): {"sample"}, ("backend", "reference"): {"sample"}}
LONGEST = 900
GENERATED = re.compile(r"generated (by|from)", re.IGNORECASE)
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
ODDITIES = [
    (re.compile(r"\t"), "a tab"),
    (re.compile(r"\s$"), "a blank at the end of the line"),
    (re.compile(r"\btypedef\b.*\b\w+_t;"), "a type named _t, which POSIX reserves"),
    (re.compile(r"^\s*#\s*pragma\s+(omp|GCC\s+optimize)"), "a pragma that changes the language"),
    (re.compile(r"\b(__typeof__|typeof|__auto_type)\b"), "typeof, which is not C17"),
    (re.compile(r"\b(TODO|FIXME|XXX)\b(?!\([^)]+\))"), "a TODO without a reason: TODO(why)"),
]
UNCHECKED = re.compile(r"\b(strcat|sprintf|gets|atoi|atol|atof)\s*\(")


def sources():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.c", "*.h"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [pathlib.PurePath(line) for line in sorted(set(listed.stdout.splitlines()))]


def folder_of(parts):
    """The folder inside a room that src/ROOM/FOLDER/FILE is in, or "" for the room itself."""
    return parts[1] if len(parts) > 2 else ""


def check_include(path, target):
    """Says what is wrong with src/`path` including "`target`", or None."""
    here, there = path.parts, pathlib.PurePath(target).parts
    if len(there) < 2 or not (ROOT / "src" / target).is_file():
        return f'"{target}" is no file below src/'
    if here[0] not in LEVELS or there[0] not in LEVELS:
        return f'"{target}": a room that is not on the map'
    if here[0] != there[0]:
        if LEVELS[there[0]] >= LEVELS[here[0]]:
            return f'"{target}": {there[0]} is not below {here[0]}'
        if there[0] != "base" and there != (there[0], f"{there[0]}.h"):
            return f'"{target}": only "{there[0]}/{there[0]}.h" is for other rooms'
        return None
    mine, other = folder_of(here), folder_of(there)
    if not other or mine == other:
        return None
    if mine and other not in FOLDERS.get((here[0], mine), set()):
        return f'"{target}": {here[0]}/{mine} must not know {here[0]}/{other}'
    # What two folders share, or a room takes from a folder, is that folder's one header.
    if there != (here[0], other, f"{other}.h"):
        return f'"{target}": only "{here[0]}/{other}/{other}.h" is for other folders'
    return None


def check_guard(path, lines):
    name = re.sub(r"\W", "_", "/".join(path.parts[1:])).upper()
    short = {name, re.sub(r"^([A-Z0-9]+)_\1_", r"\1_", name)}
    folder = re.sub(r"\W", "_", "/".join(path.parts[-2:])).upper()
    guards = [line.split()[1] for line in lines if line.startswith("#ifndef ")]
    if not guards or guards[0] not in short | {folder}:
        return f"the include guard should be {folder}"
    return None


def check_file(path):
    try:
        lines = (ROOT / path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        yield 1, f"not UTF-8: {error}"
        return
    if lines[-1] != "":
        yield len(lines), "no newline at the end"
    if len(lines) - 1 > LONGEST and not GENERATED.search("\n".join(lines[:5])):
        yield len(lines), f"more than {LONGEST} lines"
    in_src = path.parts[0] == "src"
    if in_src and path.suffix == ".h":
        wrong = check_guard(path, lines)
        if wrong:
            yield 1, wrong
    for number, line in enumerate(lines, 1):
        for pattern, what in ODDITIES:
            if pattern.search(line):
                yield number, what
        if in_src and UNCHECKED.search(line):
            yield number, "a function that checks neither size nor digits"
        include = INCLUDE.match(line)
        if in_src and include:
            wrong = check_include(pathlib.PurePath(*path.parts[1:]), include.group(1))
            if wrong:
                yield number, wrong


def main():
    breaches = 0
    for path in sources():
        for line, what in check_file(path):
            print(f"{path}:{line}: {what}")
            breaches += 1
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
