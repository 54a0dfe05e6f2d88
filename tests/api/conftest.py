"""Servers for the tests of the API: one per model and set of flags, on a free loopback port."""

import json
import shutil
import subprocess

import pytest

from api.server import Server


@pytest.fixture(scope="module")
def serve(abruzzi, tmp_path_factory):
    """serve(model, *flags, env=...) starts a server that ends with the module's tests."""
    servers = []

    def start(*arguments, env=None):
        server = Server(abruzzi, tmp_path_factory.mktemp("server"), arguments, env)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def server(serve, tiny):
    """A server of the tiny checkpoint with the flags of the guide."""
    return serve(
        tiny,
        "--served-model-name",
        "tiny",
        "--tensor-parallel-size",
        "1",
        "--enable-auto-tool-choice",
        "--tool-call-parser",
        "kimi_k2",
        "--reasoning-parser",
        "kimi_k2",
        "--trust-remote-code",
    )


@pytest.fixture(scope="module")
def replay(serve, tiny, tmp_path_factory):
    """replay(scripts, *flags): a server that plays scripts (a list of objects)."""

    def start(scripts, *flags, model=tiny, env=None):
        path = tmp_path_factory.mktemp("replay") / "scripts.jsonl"
        path.write_text("".join(json.dumps(script) + "\n" for script in scripts))
        return serve(
            model, "--served-model-name", "tiny", "--engine", f"replay:{path}", *flags, env=env
        )

    return start


@pytest.fixture(scope="session")
def kimi(tmp_path_factory, abruzzi, shared):
    """A tiny random checkpoint with the real tokenizer."""
    out = tmp_path_factory.mktemp("checkpoint") / "kimi"
    tokenizer = shared / "data" / "kimi-tokenizer"
    done = subprocess.run(
        [abruzzi, "synth", out, "--preset", "tiny", "--tokenizer", tokenizer, "--vocab", "163840"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    yield out
    shutil.rmtree(out, ignore_errors=True)
