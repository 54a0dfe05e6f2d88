"""Bytes on a socket that no client library would send."""

import re
import socket
import time

import pytest

from api import bad_requests

STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
GOOD = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(server, timeout=30):
    return socket.create_connection(("127.0.0.1", server.port), timeout=timeout)


def read_all(sock):
    parts = []
    try:
        while part := sock.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def read_replies(sock, n):
    """(status, body) of each of n replies with a Content-Length."""
    data, replies = b"", []
    while len(replies) < n:
        while b"\r\n\r\n" not in data:
            data += receive(sock)
        head, data = data.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
        while len(data) < length:
            data += receive(sock)
        replies.append((int(STATUS.match(head).group(1)), data[:length]))
        data = data[length:]
    return replies


def receive(sock):
    part = sock.recv(65536)
    assert part, "the connection was closed"
    return part


def read_reply(sock):
    return read_replies(sock, 1)[0]


def is_alive(server):
    with connect(server) as sock:
        sock.sendall(GOOD)
        return read_reply(sock)[0] == 200


def test_enough_bad_requests():
    assert len(bad_requests.CASES) >= 60


@pytest.mark.parametrize("case", bad_requests.CASES, ids=lambda case: case[0])
def test_bad_request(server, case):
    _, sent, want = case
    wanted = {want} if isinstance(want, int) else set(want)
    with connect(server) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        reply = read_all(sock)
    statuses = [int(status) for status in STATUS.findall(reply)]
    # One refusal, and nothing behind it is taken for a second request.
    assert len(statuses) == 1, reply
    assert statuses[0] in wanted, reply
    assert re.search(rb"(?i)connection: close", reply)
    assert is_alive(server)


def test_pipelined_requests_are_answered_in_order(server):
    with connect(server) as sock:
        sock.sendall(GOOD + b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" + GOOD)
        assert [status for status, _ in read_replies(sock, 3)] == [200, 404, 200]


def test_request_byte_by_byte(server):
    body = b'{"prompt":"a","max_tokens":2,"temperature":0}'
    request = (
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body
    with connect(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(request)):
            sock.sendall(request[i : i + 1])
        assert read_reply(sock)[0] == 200


def test_flood_of_headers(server):
    with connect(server) as sock:
        try:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n")
            for i in range(100_000):
                sock.sendall(b"X-%d: y\r\n" % i)
        except (BrokenPipeError, ConnectionResetError):
            pass
        reply = read_all(sock)
    assert not reply or STATUS.match(reply).group(1) == b"431"
    assert is_alive(server)


def test_flood_of_body(server):
    """A body that says it is small and is not: what follows is another request, a bad one."""
    with connect(server) as sock:
        sock.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert read_reply(sock)[0] == 413
    with connect(server) as sock:
        sock.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        try:
            for _ in range(200):
                sock.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        reply = read_all(sock)
    assert not reply or STATUS.match(reply).group(1) == b"413"
    assert is_alive(server)


def test_half_closed_client_gets_its_answer(server):
    with connect(server) as sock:
        sock.sendall(GOOD)
        sock.shutdown(socket.SHUT_WR)
        assert STATUS.match(read_all(sock)).group(1) == b"200"


def test_many_idle_connections(server):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(5000, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idle = []
    try:
        for _ in range(n):
            idle.append(connect(server))
        assert is_alive(server)
        status, reply = server.post("/v1/completions", {"prompt": "x", "max_tokens": 2})
        assert status == 200 and reply["choices"]
        assert server.metric("abruzzi_open_connections") >= n
    finally:
        for sock in idle:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    end = time.monotonic() + 30
    while server.metric("abruzzi_open_connections") > 10:
        assert time.monotonic() < end, "closed connections are still counted"
        time.sleep(0.05)


def test_few_file_descriptors(serve, tiny):
    """With a limit of 128 it keeps answering those who are in, and goes on when others leave."""
    import subprocess

    started = serve(tiny, "--served-model-name", "tiny")
    subprocess.run(["prlimit", f"--pid={started.process.pid}", "--nofile=128:128"], check=True)
    with connect(started) as inside:
        inside.sendall(GOOD)
        assert read_reply(inside)[0] == 200
        crowd = []
        for _ in range(300):
            crowd.append(connect(started))
        inside.sendall(GOOD)
        assert read_reply(inside)[0] == 200
        used = started.cpu_seconds()
        time.sleep(1.0)
        assert started.cpu_seconds() - used < 0.5, "it spins"
        for sock in crowd:
            sock.close()
    end = time.monotonic() + 30
    while True:
        try:
            if is_alive(started):
                break
        except (AssertionError, ConnectionError, OSError):
            assert time.monotonic() < end
            time.sleep(0.1)
