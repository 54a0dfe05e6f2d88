"""lm-eval's task gsm8k, version 3, said again in Python, and a server that is asked it."""

import http.server
import json
import math
import random
import re
import socket
import threading

STOPS = ["Question:", "</s>", "<|im_end|>"]
FILTERS = {
    "flexible-extract": (r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1),
    "strict-match": (r"#### (\-?[0-9\.\,]+)", 0),
}
IGNORED = [",", r"\$", "(?s).*#### ", r"\.$"]


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def prompts(train, test, shots=5, seed=1234):
    draws = random.Random(seed)
    for doc in test:
        text = ""
        for shot in draws.sample(train, shots) if shots else []:
            text += f"Question: {shot['question']}\nAnswer:"
            text += f" {shot['answer']}\n\n" if shot["answer"] else ""
        yield text + f"Question: {doc['question']}\nAnswer:"


def extract(name, text):
    pattern, which = FILTERS[name]
    found = re.findall(pattern, text)
    if not found:
        return "[invalid]"
    last = found[which]
    return last if isinstance(last, str) else next(group for group in last if group)


def exact_match(prediction, answer):
    for pattern in IGNORED:
        prediction, answer = re.sub(pattern, "", prediction), re.sub(pattern, "", answer)
    return float(prediction.lower() == answer.lower())


def scores(items):
    mean = sum(items) / len(items)
    if len(items) < 2:
        return mean, None
    deviation = math.sqrt(sum((x - mean) ** 2 for x in items) / (len(items) - 1))
    return mean, deviation / math.sqrt(len(items))


def cells(values):
    """Numbers as pytablewriter aligns them: without the zeros that the whole column ends in."""
    if None in values:
        return ["   N/A"] * len(values)
    texts = [f"{value:.4f}" for value in values]
    decimals = max(len(text.rstrip("0").split(".")[1]) for text in texts)
    return [f"{float(text):.{decimals}f}" for text in texts]


def table(rows, shots=5):
    """rows: [(filter, mean, standard error)]."""
    value, error = cells([row[1] for row in rows]), cells([row[2] for row in rows])
    width = max(5, *map(len, value))
    rule = "-" * 6 if rows[0][2] is None else "-----:"
    lines = [
        f"|Tasks|Version|     Filter     |n-shot|  Metric   |   |{'Value':<{width}}|   |Stderr|",
        f"|-----|------:|----------------|-----:|-----------|---|{'-' * (width - 1)}:|---|{rule}|",
    ]
    for i, (name, _, _) in enumerate(rows):
        task = "     |       " if i else "gsm8k|      3"
        lines.append(
            f"|{task}|{name:<16}|{shots:>6}|exact_match|↑  |{value[i]:>{width}}|±  |{error[i]:>6}|"
        )
    return "".join(line + "\n" for line in lines)


class Fake(http.server.ThreadingHTTPServer):
    """Answers completions with what `answer` gives for a prompt and the number of times it came.

    A string is the completion's text; (status, body) a reply; None closes the connection; a number
    is how many seconds nothing is said for.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.bodies = []
        self.headers = []
        self.times = {}
        self.lock = threading.Lock()
        self.open = self.most_open = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.over.set()
        self.shutdown()
        self.server_close()
        self.thread.join()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass  # clients may go away


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *unused):
        pass

    def reply(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        assert self.path == "/v1/models"
        self.reply(200, {"object": "list", "data": [{"id": "fake"}]})

    def do_POST(self):
        server = self.server
        assert self.path == "/v1/completions"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            times = server.times[body["prompt"]] = server.times.get(body["prompt"], 0) + 1
            server.open += 1
            server.most_open = max(server.open, server.most_open)
        try:
            said = server.answer(body["prompt"], times)
            if isinstance(said, float):
                server.over.wait(said)
                said = None
        finally:
            with server.lock:
                server.open -= 1
        if said is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif isinstance(said, tuple):
            self.reply(*said)
        else:
            self.reply(200, {"choices": [{"index": 0, "text": said}]})


def asked(prompt):
    """The question a prompt ends in."""
    return prompt.rsplit("Question: ", 1)[1].removesuffix("\nAnswer:")
