#!/usr/bin/env python3
"""How near abruzzi bench serve comes to the delays a replay server is known to make.

    bench/measure_accuracy.py [--streams N]... [--rate R] [--tokens N]

For each number of streams it prints what was measured, what the script of the server says, the
ratio of both, and where there is build/bench/stream_times (make bench) what a bare epoll loop
measures of the same streams: what it has, too, is the server's delay and not the client's. Requests
come at --rate, because a thousand at one moment (--rate inf) measure how fast the server accepts
them. A busy machine makes servers late, and then these numbers say so.
"""

import argparse
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ABRUZZI = ROOT / "build" / "abruzzi"
PREFILL_MS, STEP_MS = 500, 50


def start_server(folder, tokens):
    script = folder / "script.jsonl"
    text = " ".join(f"word{i}" for i in range(2 * tokens))
    script.write_text(json.dumps(
        {"match": "*", "text": text, "prefill_ms": PREFILL_MS, "delay_ms": STEP_MS}))
    model = folder / "tiny"
    subprocess.run([ABRUZZI, "synth", model, "--preset", "tiny"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = open(folder / "log", "wb")
    server = subprocess.Popen(
        [ABRUZZI, "serve", model, "--served-model-name", "tiny", "--port", "0",
         "--disable-access-log", "--max-num-seqs", "4096", "--max-num-batched-tokens", "65536",
         "--engine", f"replay:{script}"],
        stdout=log, stderr=subprocess.STDOUT)
    for _ in range(600):
        text = (folder / "log").read_text("utf-8", "replace")
        found = re.search(r"Starting Abruzzi server on http://[^ ]*:(\d+)", text)
        if found and "Application startup complete." in text:
            return server, found.group(1)
        time.sleep(0.1)
    server.kill()
    sys.exit("the server did not start:\n" + text)


def measure(folder, port, streams, rate, tokens):
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Prompt {i}"}) + "\n"
                               for i in range(streams)))
    result = folder / "result.json"
    subprocess.run(
        [ABRUZZI, "bench", "serve", "--port", port, "--dataset-name", "custom", "--dataset-path",
         prompts, "--skip-chat-template", "--num-prompts", str(streams), "--output-len",
         str(tokens), "--ignore-eos", "--request-rate", str(rate), "--burstiness", "inf",
         "--percentile-metrics", "ttft,tpot,itl,e2el", "--disable-tqdm", "--save-result",
         "--save-detailed", "--result-filename", result],
        check=True, stdout=subprocess.DEVNULL)
    return json.loads(result.read_text())


def measure_bare(port, streams, rate, tokens):
    """What bare reads find."""
    program = ROOT / "build" / "bench" / "stream_times"
    if not program.exists():
        return {}
    done = subprocess.run([program, port, str(streams), str(rate), str(tokens)], check=True,
                          capture_output=True, text=True)
    return json.loads(done.stdout)


def expect(streams, rate, tokens):
    """What a client without any delay would measure."""
    ttft, gap = PREFILL_MS + STEP_MS, STEP_MS
    latency = ttft + (tokens - 1) * gap
    duration = streams / rate + latency / 1000
    busy = latency / 1000 * rate
    overlap = streams if busy >= streams else math.ceil(busy - 1e-9)
    expected = {"duration": duration, "request_throughput": streams / duration,
                "output_throughput": streams * tokens / duration,
                "max_concurrent_requests": overlap}
    for kind, value in [("ttft", ttft), ("tpot", gap), ("itl", gap), ("e2el", latency)]:
        expected[f"mean_{kind}_ms"] = expected[f"median_{kind}_ms"] = value
    return expected


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--streams", type=int, action="append")
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--tokens", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        server, port = start_server(folder, options.tokens)
        try:
            for streams in options.streams or [1, 100, 1000]:
                result = measure(folder, port, streams, options.rate, options.tokens)
                print(f"{streams} streams, {result['completed']} completed, "
                      f"{result['failed']} failed")
                bare = measure_bare(port, streams, options.rate, options.tokens)
                for key, want in expect(streams, options.rate, options.tokens).items():
                    got = result[key]
                    other = f" bare reads {bare[key]:12.3f}" if key in bare else ""
                    print(f"  {key:28} {got:12.3f} expected {want:12.3f} ratio {got / want:.4f}"
                          f"{other}")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
