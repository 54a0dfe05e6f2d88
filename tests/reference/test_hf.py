"""hf_compare.py as a test; heavy, because it needs torch and transformers."""

import pytest
from hf_compare import COMPARED, compare
from harness import TOOL

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not built"),
]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", COMPARED)
def test_hf(name, backend, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    result = compare(name, 300, tmp_path, backend)
    print(name, result)
    assert result["margin"] > 2e-6, "this seed has an expert selection that rounding may flip"
    # Both float32 here: theirs always, ours with "cpu".
    assert result["numpy"] < 1e-4
    assert result[backend] < 1e-4
