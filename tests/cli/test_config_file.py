"""--config FILE.yaml from outside, and the files of packaging/ that use it."""

import json
import os
import re
import shutil
import subprocess

import pytest

from api.server import PATIENCE, Server


@pytest.fixture
def config(tmp_path):
    """config(text): a file with it."""

    def write(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def call(abruzzi):
    """call(status, *words): what the program wrote."""

    def run(status, *words, **extra):
        done = subprocess.run([abruzzi, *map(str, words)], capture_output=True, text=True,
                              env=os.environ | extra, timeout=PATIENCE)
        assert done.returncode == status, done.stderr
        return done.stdout, done.stderr

    return run


def names(server):
    return [model["id"] for model in json.loads(server.get("/v1/models")[2])["data"]]


def test_a_server_from_a_file_alone(abruzzi, tiny, config, tmp_path):
    path = config(f"""\
# the whole configuration
model: {tiny}
port: 0
served_model_name: [one, two]
max-model-len: 4k
max_num_seqs: 3
disable-access-log: true
no-enable-prefix-caching: true
""")
    server = Server(abruzzi, tmp_path, ["--config", path, "--port=0"])
    try:
        assert names(server) == ["one", "two"]
        log = server.log()
        assert "CPU KV cache size: 12,096 tokens" in log  # 3 times 4,000 in blocks of 64
        assert "'enable_prefix_caching': False" in log and "/v1/models HTTP" not in log
        assert server.terminate() == 0
    finally:
        server.kill()


def test_flags_beat_the_environment_beats_the_file(abruzzi, tiny, config, tmp_path):
    path = config("model: /nonexistent\nport: 1\nserved-model-name: file\nmax-num-seqs: 2\n"
                  "max-model-len: 1024\n")
    flags = [tiny, "--config", path, "--port", "0"]
    server = Server(abruzzi, tmp_path, flags, {"ABRUZZI_SERVED_MODEL_NAME": "environment",
                                               "ABRUZZI_MAX_NUM_SEQS": "3"})
    try:
        assert names(server) == ["environment"]
        assert "CPU KV cache size: 3,072 tokens" in server.log()
    finally:
        server.kill()
    server = Server(abruzzi, tmp_path, ["--port=0", "--served-model-name=flag", "--model", tiny],
                    {"ABRUZZI_CONFIG": str(path), "ABRUZZI_SERVED_MODEL_NAME": "environment"})
    try:
        assert names(server) == ["flag"]
    finally:
        server.kill()


def test_complete_has_it_too(call, tiny, config):
    path = config(f"model: {tiny}\ntemperature: 0\nmax_tokens: 3\nignore-eos: yes\njson: true\n"
                  "log-level: error\nstop-token-ids: [1, 2]\n")
    out, err = call(0, "complete", "--config", path, "-q", "Once")
    assert err == "" and json.loads(out)["usage"]["completion_tokens"] == 3
    out, _ = call(0, "complete", "--config", path, "-q", "Once", "--max-tokens=2")
    assert json.loads(out)["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    "text, message",
    [
        ("port: 1\nprot: 2\n", ":2: unknown option prot; did you mean port?"),
        ("port: 1\nport: 2\n", ":2: port is on line 1 already"),
        ("tensor_parallel_size: x\n", ":1: tensor_parallel_size: 'x' is not an integer"),
        ("\n\nhost: {a: b}\n", ":3: host: must be a value or a list of values"),
        ("host: &x a\n", ":1: anchors (&) are not supported"),
        ("host: !!python/object/apply:os.system [x]\n", ":1: tags (!) are not supported"),
        ("host: [a, b]\n", ":1: host: takes one value, not a list"),
        ("- port\n", ":1: must be lines of the form \"flag: value\""),
        ("quick: x\n", ":1: unknown option quick"),  # of another command
        ("api-key: hush\nport: maybe\n", ":2: port: 'maybe' is not an integer"),
    ],
)
def test_refused_files(call, config, text, message):
    path = config(text)
    out, err = call(64, "serve", "m", "--config", path)
    assert (out, err) == ("", f"abruzzi serve: --config: {path}{message}\n"
                              "Try 'abruzzi serve --help'.\n")


def test_unreadable_files(call, tmp_path):
    assert str(tmp_path / "none") in call(64, "serve", "m", "--config", tmp_path / "none")[1]
    assert str(tmp_path) in call(64, "serve", "m", "--config", tmp_path)[1]
    big = tmp_path / "big"
    big.write_bytes(b"host: " + b"x" * (1 << 20))
    assert str(big) in call(64, "serve", "m", "--config", big)[1]


# --------------------------------------------------------------------------------------------
# packaging/


def test_the_example_is_right(call, root, tmp_path):
    """Only the model it names is not there; with all its comments removed, its keys' file."""
    example = root / "packaging" / "config.yaml"
    _, err = call(65, "serve", "--config", example, "--port=0")
    assert "/srv/models/Kimi-K2-Thinking" in err
    path = tmp_path / "config.yaml"
    path.write_text(re.sub(r"^# (?=[a-z-]+: )", "", example.read_text(), flags=re.M))
    _, err = call(64, "serve", "--config", path, "--port=0")
    assert "--api-key-file: /etc/abruzzi/keys" in err


def test_install_and_uninstall(root, build, tmp_path):
    prefix = f"{tmp_path}/prefix"
    command = ["make", "--no-print-directory", f"PREFIX={prefix}"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    if str(build.relative_to(root)) != "build":
        pytest.skip("for the plain build")
    subprocess.run([*command, "install"], cwd=root, check=True, env=env, capture_output=True)
    unit = tmp_path / "prefix/lib/systemd/system/abruzzi.service"
    text = unit.read_text()
    assert f"ExecStart={prefix}/bin/abruzzi serve --config" in text
    assert "/usr/local" not in re.sub(r"^#.*", "", text, flags=re.M)
    assert os.access(tmp_path / "prefix/share/abruzzi/healthcheck", os.X_OK)
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit],
                              capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    subprocess.run([*command, "uninstall"], cwd=root, check=True, env=env,
                   capture_output=True)
    assert [path for path in (tmp_path / "prefix").rglob("*") if path.is_file()] == []


def test_the_unit_waits_long_enough(call, root):
    """systemd must not kill what --shutdown-timeout still lets run."""
    text = (root / "packaging" / "abruzzi.service").read_text()
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.M)[1])
    out, _ = call(0, "serve", "--help")
    default = re.search(r"--shutdown-timeout S.*?\(default: (\d+)\)", out, re.S)
    assert stop > int(default[1])
    assert re.search(r"^RestartPreventExitStatus=64 65 71$", text, re.M)


def test_healthcheck_of_the_image(abruzzi, root, tiny, tmp_path):
    script = root / "packaging" / "healthcheck"

    def check(port):
        return subprocess.run([script], env=os.environ | {"ABRUZZI_PORT": str(port)},
                              capture_output=True, timeout=PATIENCE).returncode

    server = Server(abruzzi, tmp_path, [tiny, "--port=0", "--max-model-len=1k"])
    try:
        assert check(server.port) == 0
    finally:
        server.kill()
    assert check(server.port) != 0
