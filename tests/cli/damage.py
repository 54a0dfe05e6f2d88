"""Ways to damage a checkpoint: small edits of shards, index and JSON files.

Where a function returns a function, that one takes the checkpoint's directory.
"""

import json
import os
import shutil
import struct
import subprocess

import numpy as np

from reference import make_checkpoint as mc

SHARD = "model-00002-of-000003.safetensors"
INDEX = "model.safetensors.index.json"
ALL = ("inspect", "verify", "complete")


def run(abruzzi, command, path, **faults):
    """Runs a command on a checkpoint; returns its status and standard error."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ABRUZZI_", "HF_"))}
    flags = {"complete": ["-q", "hi", "--max-tokens=1", "--max-model-len=64", "--threads=1"]}
    done = subprocess.run(
        [abruzzi, command, path, *flags.get(command, [])],
        capture_output=True,
        env=env | faults,
        timeout=120,
    )
    err = done.stderr.decode(errors="replace")
    assert "Sanitizer" not in err and "runtime error" not in err, err
    return done.returncode, err


def read_shard(path):
    raw = path.read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + n]), raw[8 + n :]


def write_shard(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def edit_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def shard_of(path, tensor):
    return path / json.loads((path / INDEX).read_text())["weight_map"][tensor]


def edit_tensor(path, tensor, change):
    """Changes a tensor's entry in its header."""
    shard = shard_of(path, tensor)
    header, data = read_shard(shard)
    change(header[tensor])
    write_shard(shard, header, data)


def replace_tensor(path, tensor, dtype, array):
    """Puts other data in place of a tensor, the shard staying well-formed."""
    shard = shard_of(path, tensor)
    rewrite(shard, lambda tensors: tensors.update({tensor: (dtype, array)}))


def rewrite(shard, change):
    header, data = read_shard(shard)
    types = {"BF16": np.uint16, "I32": np.int32, "F32": np.float32, "I64": np.int64}
    tensors = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        begin, end = t["data_offsets"]
        array = np.frombuffer(data[begin:end], dtype=types[t["dtype"]]).reshape(t["shape"])
        tensors[name] = (t["dtype"], array)
    change(tensors)
    shard.write_bytes(mc.safetensors_bytes(tensors))


def poke(path, tensor, element, value):
    """Overwrites one element in place."""
    shard = shard_of(path, tensor)
    header, _ = read_shard(shard)
    raw = bytearray(shard.read_bytes())
    (n,) = struct.unpack("<Q", raw[:8])
    begin, end = header[tensor]["data_offsets"]
    at = 8 + n + (begin if element >= 0 else end) + element * len(value)
    raw[at : at + len(value)] = value
    shard.write_bytes(raw)


def add_tensor(path, name, dtype="BF16", shape=(4,)):
    size = {"BF16": 2, "F32": 4, "I32": 4, "F8_E4M3": 1}[dtype] * int(np.prod(shape))
    shard = path / SHARD
    header, data = read_shard(shard)
    header[name] = {
        "dtype": dtype,
        "shape": list(shape),
        "data_offsets": [len(data), len(data) + size],
    }
    write_shard(shard, header, data + b"\0" * size)
    edit_json(path / INDEX, lambda index: index["weight_map"].update({name: SHARD}))


def remove_tensor(path, name, from_index=True):
    rewrite(shard_of(path, name), lambda tensors: tensors.pop(name))
    if from_index:
        edit_json(path / INDEX, lambda index: index["weight_map"].pop(name))


def truncate(path, size):
    with open(path, "r+b") as f:
        f.truncate(size if size >= 0 else path.stat().st_size + size)


def poke_length(path, n):
    raw = (path / SHARD).read_bytes()
    (path / SHARD).write_bytes(struct.pack("<Q", n) + raw[8:])


def append(path, extra):
    path.write_bytes(path.read_bytes() + extra)


def duplicate(path):
    """The polyglot: one name twice, with other contents."""
    header, data = read_shard(path / SHARD)
    name = first_tensor(header)
    again = json.dumps(
        {name: {"dtype": "U8", "shape": [4], "data_offsets": [len(data), len(data) + 4]}}
    )
    text = json.dumps(header)[:-1] + "," + again[1:]
    write_shard(path / SHARD, text.encode(), data + b"\0" * 4)


def raw_header(change):
    """A damage that edits the text of SHARD's header."""

    def damage(path):
        header, data = read_shard(path / SHARD)
        write_shard(path / SHARD, change(json.dumps(header).encode()), data)

    return damage


def config(key, value):
    def change(c):
        at, last = c, key.split(".")
        for part in last[:-1]:
            at = at[part]
        at[last[-1]] = value

    return lambda path: edit_json(path / "config.json", change)


def first_tensor(header):
    return next(name for name in header if name != "__metadata__")


def shift(by):
    """Moves the begin of the second tensor of SHARD: a hole or an overlap."""

    def damage(path):
        header, data = read_shard(path / SHARD)
        names = sorted(
            (n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"]
        )
        for name in names[1:]:
            header[name]["data_offsets"] = [x + by for x in header[name]["data_offsets"]]
        write_shard(path / SHARD, header, data + b"\0" * by if by > 0 else data[:by])

    return damage


def swap(path):
    one, two = path / SHARD, path / "model-00003-of-000003.safetensors"
    one.rename(path / "x")
    two.rename(one)
    (path / "x").rename(two)


def other_checkpoint(**changes):
    """A shard of a checkpoint with another configuration."""

    def damage(path):
        other = path.parent / "other"
        mc.write_checkpoint(other, mc.tiny_config(**changes), seed=1)
        shutil.copy(other / SHARD, path / SHARD)

    return damage


def twice(path):
    """The same tensor in two shards."""
    name = "model.layers.1.input_layernorm.weight"
    source = shard_of(path, name)
    target = next(s for s in sorted(path.glob("*.safetensors")) if s != source)
    rewrite(target, lambda t: t.update({name: ("BF16", np.full(64, 0x3F80, np.uint16))}))


def set_index(tensor, file):
    return lambda path: edit_json(path / INDEX, lambda i: i["weight_map"].update({tensor: file}))


def tokenizer_line(number, line):
    def damage(path):
        lines = (path / "tiktoken.model").read_bytes().splitlines(keepends=True)
        lines[number] = line
        (path / "tiktoken.model").write_bytes(b"".join(lines))

    return damage
