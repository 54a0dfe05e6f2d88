#!/usr/bin/env python3
"""Runs every test and counts each one: the last line is "N passed, N failed, N skipped".

    tests/run.py [--build DIR] [--variant DIR]... [--full] [--fuzz SECONDS] [--only PATTERN]

Runs the cmocka programs and the fuzz replays of each build folder, then pytest on tests/reference,
tests/{cli,api,measure}. --full adds pytest's heavy tests and tests/soak (from build/venv-full), and
--fuzz the fuzzers of build/fuzz. Exits with 1 if anything failed or nothing ran.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM_SECONDS = 300  # of one C test program; a sanitizer gets SLOW times that
PYTEST_SECONDS = 900
SLOW = 4
TAP = re.compile(r"^(not )?ok \d+(?: (# SKIP)| -)? ?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)$")


class Counts:
    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def ran(self):
        return self.passed + self.failed + self.skipped

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def run(command, seconds, env=None):
    """Returns (exit status or None when out of time, standard output, standard error).

    Nothing the command started outlives it.
    """
    child = subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        streams = child.communicate(timeout=seconds)
        status = child.returncode
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        streams = child.communicate()
        status = None
    except BaseException:  # an interrupt: take the child down too
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    try:
        os.killpg(child.pid, signal.SIGKILL)  # what it may have left running
    except ProcessLookupError:
        pass
    return status, *(stream.decode("utf-8", "replace") for stream in streams)


def how_it_ended(status, seconds):
    if status is None:
        return f"did not end within {seconds} s"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with {status}"


def sanitizer_env():
    """Hostile sizes must come back as NULL, as they do without a sanitizer."""
    common = "allocator_may_return_null=1"
    return {
        # Not detect_stack_use_after_return: gcc 12 aligns its stack to 32 bytes, AVX-512 wants 64.
        "ASAN_OPTIONS": f"{common}:detect_leaks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": f"{common}:halt_on_error=1:second_deadlock_stack=1",
    }


def read_tap(output):
    """Counts cmocka's TAP lines; a test that was planned and did not report has failed."""
    counts, planned = Counts(), 0
    for line in output.splitlines():
        plan, test = PLAN.match(line), TAP.match(line)
        if plan:
            planned += int(plan.group(1))
        elif test and test.group(2):
            counts.skipped += 1
        elif test and test.group(1):
            counts.failed += 1
        elif test:
            counts.passed += 1
    counts.failed += max(0, planned - counts.ran())
    return counts


def run_unit(program, seconds):
    env = {"CMOCKA_MESSAGE_OUTPUT": "tap", **sanitizer_env()}
    status, output, errors = run([program], seconds, env)
    counts = read_tap(output)
    output += errors
    if status != 0 and counts.failed == 0:
        counts.failed += 1
        output += f"\n{program} {how_it_ended(status, seconds)}\n"
    elif status is None or status < 0:
        output += f"\n{program} {how_it_ended(status, seconds)}\n"
    elif counts.ran() == 0:
        counts.failed += 1
        output += f"\n{program} ran no test\n"
    return counts, output


def run_status(command, seconds, env=None):
    """One test that passes by exiting with 0."""
    status, output, errors = run(command, seconds, {**sanitizer_env(), **(env or {})})
    if status == 0:
        return Counts(passed=1), output + errors
    ending = f"\n{command[0]} {how_it_ended(status, seconds)}\n"
    return Counts(failed=1), output + errors + ending


def run_pytest(python, label, arguments, seconds):
    report = ROOT / "build" / "test" / f"{label}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-q", f"--junitxml={report}"]
    status, output, errors = run(command + arguments, seconds, {"PYTHONDONTWRITEBYTECODE": "1"})
    output += errors
    counts = Counts()
    if report.exists():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            bad = int(suite.get("failures")) + int(suite.get("errors"))
            skipped = int(suite.get("skipped"))
            total = int(suite.get("tests"))
            counts.add(Counts(max(0, total - bad - skipped), bad, skipped))
    if status not in (0, 5) and counts.failed == 0:  # 5: pytest found no test here
        counts.failed += 1
        output += f"\npytest {how_it_ended(status, seconds)}\n"
    return counts, output


def programs(build, full):
    """The (label, function) of every C test below one build folder, in a stable order."""
    slow = SLOW if "variant" in build.parts else 1
    for source in sorted(ROOT.glob("tests/unit/test_*.c")) + sorted(
        ROOT.glob("tests/kernels/test_*.c")
    ):
        program = build / source.relative_to(ROOT).with_suffix("")
        yield str(program), lambda program=program: run_unit(
            program, PROGRAM_SECONDS * slow * (SLOW if full else 1)
        )
    for source in sorted(ROOT.glob("tests/fuzz/fuzz_*.c")):
        program = build / "tests" / "fuzz" / f"replay_{source.stem}"
        corpus = ROOT / "tests" / "fuzz" / "corpus" / source.stem.removeprefix("fuzz_")
        yield str(program), lambda program=program, corpus=corpus: run_status(
            [program, corpus], PROGRAM_SECONDS * slow
        )


def fuzzers(seconds):
    for source in sorted(ROOT.glob("tests/fuzz/fuzz_*.c")):
        name = source.stem.removeprefix("fuzz_")
        found = ROOT / "build" / "fuzz" / "corpus" / name
        found.mkdir(parents=True, exist_ok=True)
        artifacts = ROOT / "build" / "fuzz" / "artifacts"
        artifacts.mkdir(parents=True, exist_ok=True)
        command = [
            ROOT / "build" / "fuzz" / source.stem,
            f"-max_total_time={seconds}",
            "-timeout=25",
            "-rss_limit_mb=4096",
            "-print_final_stats=1",
            f"-artifact_prefix={artifacts}/{name}-",
            found,
            ROOT / "tests" / "fuzz" / "corpus" / name,
        ]
        yield f"fuzz {name}", lambda command=command: run_status(command, seconds + 300)


def python_tests(full):
    light = ROOT / "build" / "venv" / "bin" / "python"
    for folder in ("reference", "cli", "api", "measure"):
        if list(ROOT.glob(f"tests/{folder}/**/test_*.py")):
            yield f"pytest tests/{folder}", lambda folder=folder: run_pytest(
                light, folder, [f"tests/{folder}"], PYTEST_SECONDS
            )
    if not full:
        return
    heavy = ROOT / "build" / "venv-full" / "bin" / "python"
    yield "pytest heavy", lambda: run_pytest(
        heavy, "heavy", ["-m", "heavy", "tests"], SLOW * PYTEST_SECONDS
    )
    if list(ROOT.glob("tests/soak/test_*.py")):
        yield "pytest tests/soak", lambda: run_pytest(
            heavy, "soak", ["-m", "not heavy", "tests/soak"], SLOW * PYTEST_SECONDS
        )


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--variant", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--fuzz", type=int, metavar="SECONDS")
    parser.add_argument("--only", default="", help="a regular expression on the labels printed")
    return parser.parse_args()


def main():
    options = parse_arguments()
    os.environ["ABRUZZI_BUILD"] = str(options.build)
    if options.full:
        os.environ["ABRUZZI_TEST_FULL"] = "1"  # C tests may go longer
    jobs = []
    if options.fuzz is None or options.full:
        for build in [options.build, *options.variant]:
            jobs += programs(build, options.full)
        jobs += python_tests(options.full)
    if options.fuzz is not None:
        jobs += fuzzers(options.fuzz)

    total = Counts()
    for label, job in jobs:
        if not re.search(options.only, label):
            continue
        started = time.monotonic()
        try:
            counts, output = job()
        except OSError as error:  # the program is not there, or cannot be run
            counts, output = Counts(failed=1), f"{error}\n"
        total.add(counts)
        print(f"{label}: {counts} ({time.monotonic() - started:.1f} s)", flush=True)
        if counts.failed:
            print(output, flush=True)
        elif counts.skipped:
            for line in output.splitlines():
                if "SKIP" in line:
                    print(f"  {line.strip()}", flush=True)
    print(total, flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
