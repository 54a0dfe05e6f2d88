"""Event streams: pings while silent, slow readers beside fast ones, an idle server."""

import json
import socket
import threading
import time

import pytest

LONG = {"match": "long", "token_ids": [65] * 40000, "chunks": [1], "finish": "length"}
SILENT = {"match": "silent", "text": "at last", "prefill_ms": 1500}
QUICK = {"match": "*", "text": "hello"}


@pytest.fixture(scope="module")
def server(replay):
    return replay(
        [LONG, SILENT, QUICK],
        *("--max-model-len", "65536", "--max-num-seqs", "64", "--ping-interval", "0.3"),
        *("--kv-cache-memory-bytes", "16G"),
    )


def open_stream(server, prompt, max_tokens, receive_buffer=None):
    body = json.dumps({"prompt": prompt, "max_tokens": max_tokens, "stream": True}).encode()
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(120)
    sock.connect(("127.0.0.1", server.port))
    sock.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    sock.sendall(body)
    return sock


def read_to_end(sock):
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def test_silence_is_filled_with_pings(server):
    with open_stream(server, "silent", 16) as sock:
        reply = read_to_end(sock)
    first = reply.index(b"data: ")
    assert reply[:first].count(b": ping\n\n") >= 2
    assert reply.rstrip(b"\r\n0").endswith(b"data: [DONE]")


def test_slow_readers_do_not_slow_others(server):
    slow = [open_stream(server, "long", 40000, receive_buffer=4096) for _ in range(5)]
    done = []

    def fast():
        with open_stream(server, "long", 40000) as sock:
            done.append(read_to_end(sock).count(b"data: "))

    threads = [threading.Thread(target=fast) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert done == [40001] * 3  # every token (the last with the finish), and [DONE]
    # What a slow reader does not take is not kept for it without end.
    end = time.monotonic() + 60
    while server.metric("vllm:num_requests_running") > 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    for sock in slow:
        sock.close()


def test_idle_server_uses_no_cpu(server):
    status, _ = server.post("/v1/completions", {"prompt": "x"})
    assert status == 200
    time.sleep(1.0)
    before = server.cpu_seconds()
    time.sleep(2.0)
    assert server.cpu_seconds() - before <= 0.02
