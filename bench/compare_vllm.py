#!/usr/bin/env python3
"""Measures one server with vLLM's own benchmark client and with abruzzi bench serve, in turn.

    bench/compare_vllm.py FOLDER [--compat 2025-11] [--case NAME]... [--repeat N] [--markdown]

FOLDER holds vllm/benchmarks/ of a vLLM release, of which nothing else is needed. It comes out of
the wheel, without its dependencies and without running anything of it:

    pip download --no-deps --dest /tmp/wheel vllm==0.11.2
    unzip -q /tmp/wheel/vllm-0.11.2-*.whl 'vllm/benchmarks/*' -d /tmp/vllm-0.11.2

The Python that runs this has what that client imports, and what the tokenizer's oracle needs:

    python3 -m venv /tmp/compare
    /tmp/compare/bin/pip install aiohttp numpy pybase64 pytest regex tiktoken tqdm typing_extensions

Everything else the client imports (torch, transformers, vllm's other modules) is replaced by empty
modules, its tokenizer by tiktoken. The server replays a script with delays that are known. Each
client makes its own prompts from the same seed; they are compared too. The numbers are medians over
the repetitions, in which the clients take turns, so that both see the same machine. The first column
is what a client without any delay would measure. On a busy machine `nice -n -15` keeps other work
out.

--compat is given to abruzzi for releases of 2025.
"""

import argparse
import asyncio
import collections
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import types

ROOT = pathlib.Path(__file__).resolve().parent.parent
PREFILL_MS, STEP_MS, OUTPUT, INPUT = 600, 50, 24, 40
NEAR = 0.02
COMMON = ["--dataset-name", "random", "--random-input-len", str(INPUT), "--random-output-len",
          str(OUTPUT), "--random-range-ratio", "0.2", "--model", "tiny", "--num-warmups", "16",
          "--ready-check-timeout-sec", "0", "--percentile-metrics", "ttft,tpot,itl,e2el",
          "--metric-percentiles", "50,90,99", "--goodput", "e2el:1835", "tpot:60", "--disable-tqdm",
          "--save-result", "--save-detailed"]
CHAT = ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions"]
CASES = {
    "concurrency": (100, 1, ["--max-concurrency", "20"]),
    "at once": (64, 2, []),
    "poisson": (100, 3, ["--request-rate", "16"]),
    "bursts": (100, 4, ["--request-rate", "16", "--burstiness", "0.4", "--max-concurrency", "20"]),
    "ramp": (100, 5, ["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "4",
                      "--ramp-up-end-rps", "28"]),
    "chat": (100, 6, [*CHAT, "--request-rate", "16"]),
}
COUNTS = ["completed", "failed", "total_input_tokens", "total_output_tokens"]
NUMBERS = ["duration", "request_throughput", "request_goodput", "output_throughput",
           "total_token_throughput", "max_output_tokens_per_s", "max_concurrent_requests",
           *(f"{stat}_{kind}_ms" for kind in ("ttft", "tpot", "itl", "e2el")
             for stat in ("mean", "median", "p90", "p99"))]


# --------------------------------------------------------------------------------------------
# vLLM's client, in a process of its own


def make_nothing(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Nothing(name, (), {"__init__": lambda self, *args, **kwargs: None,
                              "__class_getitem__": classmethod(lambda cls, item: cls)})


class Nothing(type):
    """Classes that do nothing, and have every attribute."""

    def __getattr__(cls, name):
        return make_nothing(name)


class Empty(types.ModuleType):
    """A module in which every name is such a class."""

    def __getattr__(self, name):
        return make_nothing(name)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the benchmarks' modules in their folder and makes up what else they import."""

    MADE_UP = ("vllm", "torch", "transformers", "datasets", "PIL", "cv2", "librosa", "soundfile",
               "huggingface_hub")

    def __init__(self, folder, known):
        self.folder, self.known = folder, known

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] not in self.MADE_UP:
            return None
        if name.startswith("vllm.benchmarks."):
            place = self.folder.joinpath(*name.split("."))
            if (place / "__init__.py").exists():
                return importlib.util.spec_from_file_location(
                    name, place / "__init__.py", submodule_search_locations=[str(place)])
            if place.with_suffix(".py").exists():
                return importlib.util.spec_from_file_location(name, place.with_suffix(".py"))
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Empty(spec.name)

    def exec_module(self, module):
        module.__path__ = []
        for name, value in self.known.get(module.__name__, {}).items():
            setattr(module, name, value)


class Tokenizer:
    """What the client asks of a tokenizer, done by tiktoken."""

    def __init__(self, folder):
        sys.path.insert(0, str(ROOT / "tests" / "cli"))
        from test_tokenizer_oracle import ALLOW_SPECIAL, Reference
        self.flags, self.reference = ALLOW_SPECIAL, Reference(pathlib.Path(folder))
        config = json.loads((pathlib.Path(folder) / "tokenizer_config.json").read_text("utf-8"))
        special = [config.get(f"{kind}_token") for kind in ("bos", "eos", "unk", "pad")]
        special += config.get("additional_special_tokens", [])
        ids = self.reference.encoding._special_tokens
        self.all_special_ids = sorted({ids[name] for name in special if name in ids})
        self.vocab_size = self.reference.encoding.n_vocab

    def encode(self, text, **_):
        return self.reference.encode(text, self.flags) if text else []

    def decode(self, ids, **_):
        return self.reference.encoding.decode([int(i) for i in ids])

    def num_special_tokens_to_add(self):
        return 0

    def __call__(self, text, **_):
        return types.SimpleNamespace(input_ids=self.encode(text))


def run_theirs(folder, prompts_path, flags):
    """Runs vLLM's client with its own flags; keeps the prompts it made."""
    def freeze():
        gc.collect()
        gc.freeze()

    def get_tokenizer(name, **_):
        return Tokenizer(name)

    known = {
        "vllm.utils.argparse_utils": {"FlexibleArgumentParser": argparse.ArgumentParser},
        "vllm.utils.gc_utils": {"freeze_gc_heap": freeze},
        "vllm.utils.network_utils": {"join_host_port": lambda host, port: f"{host}:{port}"},
        "vllm.utils.mistral": {"is_mistral_tokenizer": lambda tokenizer: False},
        "vllm.logger": {"init_logger": logging.getLogger},
        "vllm.transformers_utils.tokenizer": {"get_tokenizer": get_tokenizer},
        "vllm.tokenizers": {"get_tokenizer": get_tokenizer},
    }
    sys.meta_path.insert(0, Finder(folder.resolve(), known))
    serve = importlib.import_module("vllm.benchmarks.serve")
    get_samples = serve.get_samples

    def keep_samples(args, tokenizer):
        samples = get_samples(args, tokenizer)
        prompts_path.write_text(json.dumps(
            [[s.prompt_len, s.expected_output_len, s.prompt] for s in samples]))
        return samples

    serve.get_samples = keep_samples
    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)
    asyncio.run(serve.main_async(parser.parse_args(flags)))


# --------------------------------------------------------------------------------------------
# Both


def start_server(abruzzi, folder):
    sys.path.insert(0, str(ROOT / "tests"))
    from api.server import Server
    script = folder / "script.jsonl"
    text = " ".join(f"word{i}" for i in range(4 * OUTPUT))
    script.write_text(json.dumps(
        {"match": "*", "text": text, "prefill_ms": PREFILL_MS, "delay_ms": STEP_MS}))
    subprocess.run([abruzzi, "synth", folder / "tiny", "--preset", "tiny"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Server(abruzzi, folder, [
        folder / "tiny", "--served-model-name", "tiny", "--disable-access-log", "--max-num-seqs",
        "1024", "--engine", f"replay:{script}"])


def measure(command, folder, flags):
    path = folder / "result.json"
    path.unlink(missing_ok=True)
    done = subprocess.run([str(word) for word in [*command, *flags, "--result-filename", path]],
                          capture_output=True, text=True, env=os.environ | {"no_proxy": "*"})
    if not path.exists():
        sys.exit(f"{done.args} failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(path.read_text())


def our_prompts(tokenizer, n, seed, compat):
    done = subprocess.run(
        [str(word) for word in [ROOT / "build/tests/tools/samples", tokenizer, "random", n, INPUT,
                                OUTPUT, 0, 0.2, seed, int(compat)]],
        capture_output=True, text=True, check=True)
    samples = [json.loads(line) for line in done.stdout.splitlines()]
    return [[s["prompt_len"], s["output_len"], s["prompt"]] for s in samples]


def expect(lengths):
    """The times that the server's script makes of answers of these lengths."""
    import numpy
    ttft = PREFILL_MS + STEP_MS
    found = {}
    for kind, values in [("ttft", [ttft]), ("tpot", [STEP_MS]), ("itl", [STEP_MS]),
                         ("e2el", [ttft + STEP_MS * (n - 1) for n in lengths if n > 0])]:
        found[f"mean_{kind}_ms"] = numpy.mean(values)
        for name, percent in [("median", 50), ("p90", 90), ("p99", 99)]:
            found[f"{name}_{kind}_ms"] = numpy.percentile(values, percent)
    return found


def print_row(options, *words):
    if options.markdown:
        print("| " + " | ".join(words) + " |")
    else:
        print("{:26} {:>10} {:>10} {:>10} {:>9}".format(*words))


def show(options, name, theirs, ours):
    """Prints the medians; returns which are not near each other."""
    expected, apart = expect(ours[0]["output_lens"]), []
    print(f"\n{name}\n")
    print_row(options, "", "script", "vLLM", "Abruzzi", "ratio")
    if options.markdown:
        print("|---|---|---|---|---|")
    for key in COUNTS + NUMBERS:
        a, b = (statistics.median(result[key] for result in results) for results in (theirs, ours))
        ratio = b / a if a else 1.0 if a == b else float("inf")
        if abs(ratio - 1) > NEAR:
            apart.append(key)
        script = f"{expected[key]:.2f}" if key in expected else ""
        print_row(options, key, script, f"{a:.2f}", f"{b:.2f}", f"{ratio:.4f}")
    return apart


def compare(options, server, folder, name):
    n, seed, flags = CASES[name]
    prompts_path = folder / "prompts.json"
    flags = ["--base-url", server.url, "--tokenizer", folder / "tiny", "--num-prompts", n, "--seed",
             seed, *COMMON, *flags]
    results = collections.defaultdict(list)
    for _ in range(options.repeat):
        results["theirs"].append(measure(
            [sys.executable, __file__, "--client", options.folder, prompts_path], folder, flags))
        results["ours"].append(measure(
            [options.abruzzi, "bench", "serve"], folder,
            flags + (["--compat", options.compat] if options.compat else [])))
    apart = show(options, name, results["theirs"], results["ours"])
    made = our_prompts(folder / "tiny", n, seed, bool(options.compat))
    same = sum(a == b for a, b in zip(json.loads(prompts_path.read_text()), made))
    lengths = all(a["output_lens"] == b["output_lens"] and a["input_lens"] == b["input_lens"]
                  for a, b in zip(results["theirs"], results["ours"]))
    print(f"\n{same} of {n} prompts are the same, the lengths of all requests "
          f"{'are' if lengths else 'are not'}. More than {NEAR:.0%} apart: "
          f"{', '.join(apart) or 'nothing'}.", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--compat")
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--abruzzi", type=pathlib.Path, default=ROOT / "build" / "abruzzi")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        server = start_server(options.abruzzi, folder)
        try:
            for case in options.case or CASES:
                compare(options, server, folder, case)
        finally:
            server.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        run_theirs(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4:])
    else:
        main()
