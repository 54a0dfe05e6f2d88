"""abruzzi chat and abruzzi complete --url, typed at and piped into."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import pytest

from api.server import Server

SCRIPTS = [
    {"match": "escape", "text": "<think>t</think>a\u001b]0;title\u0007b\u009bc"},
    {"match": "be slow", "text": "<think>hm</think>" + "la " * 500, "delay_ms": 20},
    {"match": "second", "text": "<think>more</think>I know first and second"},
    {"match": "first", "text": "<think>let me see</think>I know first"},
    {"match": "*", "text": "<think>well</think>Hello"},
]


@pytest.fixture(scope="module")
def server(abruzzi, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    scripts = folder / "scripts.jsonl"
    scripts.write_text("".join(json.dumps(script) + "\n" for script in SCRIPTS))
    server = Server(abruzzi, folder, [tiny, "--engine", f"replay:{scripts}"])
    yield server
    server.kill()


def run(abruzzi, *arguments, text="", env=None):
    return subprocess.run(
        [abruzzi, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(env or {})},
    )


def chat(abruzzi, server, *arguments, text=""):
    done = run(abruzzi, "chat", "--url", server.url + "/v1", *arguments, text=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quick(abruzzi, server):
    assert chat(abruzzi, server, "-q", "hi") == "well\nHello\n"
    assert chat(abruzzi, server, "-q", "hi", "--no-thinking") == "Hello\n"


def test_history_is_kept(abruzzi, server):
    out = chat(abruzzi, server, "--no-thinking", text="first\nand second\n")
    assert "> I know first\n> I know first and second\n> " in out


def test_commands(abruzzi, server, tmp_path):
    saved = tmp_path / "said.json"
    out = chat(
        abruzzi,
        server,
        "--no-thinking",
        text=f"first\nsecond\n/undo\n/save {saved}\n/retry\n/clear\n/undo\n/nothing\n/quit\nfirst\n",
    )
    assert out.count("I know first\n") == 2
    assert "The conversation is empty." in out
    assert "Nothing has been said yet." in out
    assert "There is no /nothing" in out
    assert json.loads(saved.read_text()) == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "I know first"},
    ]


def test_set_reaches_the_server(abruzzi, server):
    out = run(
        abruzzi,
        *("chat", "--url", server.url + "/v1"),
        text="/set max_tokens 1\n/set temperature -3\nhi\n/set temperature\nhi\n/set stream 1\n",
    )
    assert "temperature" in out.stderr  # the server's refusal
    assert "Hello" not in out.stdout
    assert "stream is not yours to set" in out.stdout


def test_several_lines(abruzzi, server):
    out = chat(abruzzi, server, "--no-thinking", text='"""one\nsecond"""\n')
    assert "I know first and second" in out


def test_a_model_in_this_process(abruzzi, tiny):
    done = run(abruzzi, "chat", tiny, "-q", "hi", "--max-tokens", "4", "--temperature", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    again = run(abruzzi, "chat", tiny, "-q", "hi", "--max-tokens", "4", "--temperature", "0")
    assert again.stdout == done.stdout


def test_complete_with_a_server(abruzzi, server):
    url = server.url + "/v1"
    done = run(abruzzi, "complete", "--url", url, "-q", "first")
    assert done.stdout == "<think>let me see</think>I know first\n"
    done = run(abruzzi, "complete", "--url", url, "-q", "first", "--n", "2", "--max-tokens", "3")
    assert done.stdout.startswith("[0] ") and "\n[1] " in done.stdout
    done = run(abruzzi, "complete", "--url", url, "-q", "first", "--json", "--logprobs", "1")
    assert json.loads(done.stdout)["choices"][0]["logprobs"]["tokens"]
    done = run(abruzzi, "complete", "--url", url, text="first\n\nsecond\n")
    assert done.stdout.count("I know first") == 2


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["chat", "--url", "ftp://x", "-q", "a"], "http://"),
        (["complete", "MODEL", "--url", "http://127.0.0.1:1/v1"], "exclude each other"),
        (["complete", "--url", "http://127.0.0.1:1/v1", "--threads", "2"], "--threads"),
        (["chat", "MODEL", "--url", "http://127.0.0.1:1/v1"], "exclude each other"),
    ],
)
def test_wrong_flags(abruzzi, arguments, said):
    done = run(abruzzi, *arguments)
    assert done.returncode == 64
    assert said in done.stderr


def test_nobody_there(abruzzi, server):
    assert run(abruzzi, "chat", "--url", "http://127.0.0.1:1/v1", "-q", "a").returncode == 71
    done = run(abruzzi, "chat", "--url", server.url + "/v1", "--model-name", "no", "-q", "a")
    assert done.returncode == 71
    assert "does not exist" in done.stderr


def test_key(abruzzi, tiny, tmp_path):
    server = Server(abruzzi, tmp_path, [tiny, "--api-key", "secret"])
    try:
        asked = ["chat", "--url", server.url + "/v1", "-q", "hi", "--max-tokens", "2"]
        assert run(abruzzi, *asked).returncode == 71
        assert run(abruzzi, *asked, "--api-key", "secret").returncode == 0
        assert run(abruzzi, *asked, env={"OPENAI_API_KEY": "secret"}).returncode == 0
    finally:
        server.kill()


class Typed:
    """A chat on a terminal."""

    def __init__(self, abruzzi, server):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.environ.pop("NO_COLOR", None)
            os.execv(abruzzi, [str(abruzzi), "chat", "--url", server.url + "/v1"])
        self.seen = ""

    def expect(self, pattern, patience=60):
        end = time.monotonic() + patience
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < end, repr(self.seen)
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")
                except OSError:
                    raise AssertionError(f"it ended: {self.seen!r}") from None
        self.seen = self.seen[found.end() :]
        return found

    def expect_prompt(self):
        """The line editor prints the prompt just before it takes the terminal over."""
        self.expect("> ")
        end = time.monotonic() + 60
        while termios.tcgetattr(self.fd)[3] & termios.ICANON:
            assert time.monotonic() < end
            time.sleep(0.005)

    def type(self, text):
        os.write(self.fd, text.encode())

    def status(self, patience=60):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                if select.select([self.fd], [], [], 0.05)[0]:
                    os.read(self.fd, 65536)
            except OSError:
                pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError("it did not end")


def test_on_a_terminal(abruzzi, server):
    typed = Typed(abruzzi, server)
    typed.expect("Using model: ")
    typed.expect_prompt()
    typed.type("first\r")
    typed.expect(re.escape("\033[2mlet me see\033[0m"))
    typed.expect("I know first")
    typed.expect_prompt()
    typed.type("please be slow\r")
    typed.expect("la la la")
    typed.type("\x03")  # Ctrl-C stops the answer, not the chat
    typed.expect_prompt()
    typed.type("escape\r")
    found = typed.expect(r"a(\S+)title(\S)b(\S+)c")
    assert "\033" not in found.group(0) and "\x07" not in found.group(0)
    assert "\u009b" not in found.group(0)
    typed.expect_prompt()
    typed.type("\x03")  # at the prompt it leaves
    assert typed.status() == 0


def test_end_of_input_leaves_a_terminal(abruzzi, server):
    typed = Typed(abruzzi, server)
    typed.expect_prompt()
    typed.type("\x04")
    assert typed.status() == 0
