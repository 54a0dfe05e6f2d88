"""lm-evaluation-harness, unmodified, as the guide runs it: GSM8K 5-shot through completions."""

import importlib.util
import json
import subprocess
import sys

import pytest

TASK = """\
task: gsm8k_local
dataset_path: json
dataset_kwargs:
  data_files:
    train: {data}/train.jsonl
    test: {data}/test.jsonl
output_type: generate_until
training_split: train
fewshot_split: train
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
num_fewshot: 5
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
generation_kwargs:
  until: ["Question:", "</s>", "<|im_end|>"]
  do_sample: false
  temperature: 0.0
filter_list:
  - name: strict-match
    filter:
      - function: regex
        regex_pattern: "#### (\\\\-?[0-9\\\\.\\\\,]+)"
      - function: take_first
"""


@pytest.mark.heavy
def test_gsm8k(serve, kimi, shared, tmp_path):
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm_eval is not installed (make venv-full)")
    server = serve(kimi, "--served-model-name", "kimi", "--max-num-seqs", "32")
    (tmp_path / "gsm8k_local.yaml").write_text(TASK.format(data=shared / "data" / "gsm8k"))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lm_eval", "run"),
            *("--model", "local-completions", "--tasks", "gsm8k_local"),
            *("--include_path", tmp_path, "--num_fewshot", "5", "--limit", "20"),
            *("--output_path", tmp_path / "out", "--log_samples"),
            "--model_args",
            f"model=kimi,base_url={server.url}/v1/completions,num_concurrent=32,"
            "tokenized_requests=False,tokenizer_backend=None",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1200,
        env={"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    results = json.loads(next((tmp_path / "out").rglob("results_*.json")).read_text())
    assert results["n-samples"]["gsm8k_local"]["effective"] == 20
    samples = next((tmp_path / "out").rglob("samples_*.jsonl")).read_text().splitlines()
    assert len(samples) == 20
    assert server.metric("vllm:request_success_total") == 20
