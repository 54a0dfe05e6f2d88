"""100,000 short requests leave the server as large as it was."""

import http.client
import json
import threading

import pytest

from api.server import Server

REQUESTS = 100_000
THREADS = 8


@pytest.fixture
def server(abruzzi, tiny, tmp_path):
    scripts = tmp_path / "scripts.jsonl"
    scripts.write_text(json.dumps({"match": "*", "text": "hello there"}) + "\n")
    server = Server(abruzzi, tmp_path, [tiny, "--engine", f"replay:{scripts}", "--disable-access-log"])
    yield server
    server.kill()


def ask(port, n, wrong):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    kinds = (
        ("/v1/completions", {"prompt": "x", "max_tokens": 8}),
        ("/v1/completions", {"prompt": "x", "max_tokens": 8, "stream": True}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "y"}], "max_tokens": 8}),
        ("/tokenize", {"prompt": "a b c"}),
        ("/v1/completions", {"prompt": "", "max_tokens": -1}),
    )
    for i in range(n):
        path, body = kinds[i % len(kinds)]
        connection.request(
            "POST", path, json.dumps(body), headers={"Content-Type": "application/json"}
        )
        reply = connection.getresponse()
        reply.read()
        if reply.status != (400 if i % len(kinds) == 4 else 200):
            wrong.append((path, reply.status))
    connection.close()


def crowd(port, requests):
    wrong = []
    threads = [
        threading.Thread(target=ask, args=(port, requests // THREADS, wrong))
        for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:5]


def test_memory_stays_flat(server):
    crowd(server.port, REQUESTS // 10)
    before = server.rss_mib()
    descriptors = server.open_files()
    crowd(server.port, REQUESTS - REQUESTS // 10)
    after = server.rss_mib()
    print(f"RSS {before:.1f} MiB after {REQUESTS // 10} requests, {after:.1f} after {REQUESTS}")
    assert after < before * 1.05 + 2
    assert abs(server.open_files() - descriptors) <= THREADS
