"""What all Python tests share: where things are, and one small checkpoint."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))


@pytest.fixture(scope="session")
def root():
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def build(root):
    """The folder with the program and the test tools; ABRUZZI_BUILD chooses another variant."""
    return root / os.environ.get("ABRUZZI_BUILD", "build")


@pytest.fixture(scope="session")
def abruzzi(build):
    """The path of the program."""
    path = build / "abruzzi"
    assert path.exists(), f"{path} is missing: run make"
    return path


@pytest.fixture(scope="session")
def shared(root):
    """The folder with the model's own tokenizer, vectors and GSM8K, which is not in every place."""
    path = root.parent / "shared"
    if not path.is_dir():
        pytest.skip("../shared is absent")
    return path


@pytest.fixture(scope="session")
def tiny(abruzzi, tmp_path_factory):
    """A checkpoint of a few MB with random weights. Tests must not write into it."""
    out = tmp_path_factory.mktemp("checkpoint") / "tiny"
    done = subprocess.run(
        [abruzzi, "synth", out, "--preset", "tiny"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return out
