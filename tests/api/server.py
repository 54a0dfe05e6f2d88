"""A running `abruzzi serve`, for the tests of the API."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

STARTED = "Application startup complete."
ADDRESS = re.compile(r"Starting Abruzzi server on https?://[^ ]*:(\d+)")
PATIENCE = 120  # seconds; sanitized programs on a busy machine are slow


class Server:
    """A running `abruzzi serve`. Its standard streams go to `log`."""

    def __init__(self, abruzzi, folder, arguments, env=None):
        self.log_path = pathlib.Path(folder) / "server.log"
        command = [str(word) for word in [abruzzi, "serve", *arguments]]
        if "--port" not in command and "--uds" not in command:
            command += ["--port", "0"]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        self.port = None
        self._wait_for_start()

    def _wait_for_start(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            log = self.log()
            if STARTED in log:
                found = ADDRESS.search(log)
                self.port = int(found.group(1)) if found else None
                return
            assert self.process.poll() is None, f"the server ended:\n{log}"
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the server did not start:\n{self.log()}")

    def log(self):
        return self.log_path.read_text("utf-8", "replace")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def request(self, method, path, body=None, headers=None, timeout=60):
        """(status, headers, bytes) of a request; `body` is bytes, or an object sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(
            self.url + path, data=body, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, body, **kwargs):
        """(status, parsed reply)."""
        status, _, reply = self.request("POST", path, body, **kwargs)
        return status, json.loads(reply)

    def metrics(self):
        """Every sample of /metrics: {"name{labels}": value}."""
        status, _, text = self.get("/metrics")
        assert status == 200
        samples = {}
        for line in text.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def metric(self, name):
        """The sum of a metric's samples over all labels."""
        found = [v for k, v in self.metrics().items() if k.split("{")[0] == name]
        assert found, f"no metric {name}"
        return sum(found)

    def cpu_seconds(self):
        """CPU time the process has used."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self):
        """Resident memory."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def terminate(self, patience=PATIENCE):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
