"""`abruzzi eval gsm8k` against lm-eval's definitions (gsm8k_oracle.py), and against lm-eval."""

import hashlib
import importlib.util
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import gsm8k_oracle as oracle

from api.server import Server

PATIENCE = 240


def write(folder, train, test):
    for name, docs in (("train", train), ("test", test)):
        lines = (json.dumps(doc, ensure_ascii=False) + "\n" for doc in docs)
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    return folder


def documents(n, prefix):
    return [
        {"question": f"{prefix} {i}: how many? – «{i * 7}» 个", "answer": f"So many.\n#### {i:,}"}
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with 40 examples and 30 questions of our own."""
    folder = tmp_path_factory.mktemp("questions")
    return write(folder, documents(40, "Example"), documents(30, "Question"))


@pytest.fixture
def run(abruzzi, tmp_path):
    """run(*arguments, status=0) -> (the table, standard error, the samples)."""

    def start(*arguments, status=0, env=None):
        samples = tmp_path / "samples.jsonl"
        done = subprocess.run(
            [abruzzi, "eval", "gsm8k", *map(str, arguments), "--output", samples],
            capture_output=True, text=True, timeout=PATIENCE,
            env={"PATH": os.environ["PATH"], **(env or {})},
        )
        assert done.returncode == status, done.stderr
        return done.stdout, done.stderr, oracle.read(samples)

    return start


def check(out, samples, shots=5):
    """Filters, scores and the table of what was answered, against the oracle."""
    rows = []
    for name in oracle.FILTERS:
        for sample in samples:
            assert sample[name] == oracle.extract(name, sample["completion"]), sample
            expected = oracle.exact_match(sample[name], sample["target"])
            assert sample["exact_match"][name] == expected, sample
        rows.append((name, *oracle.scores([s["exact_match"][name] for s in samples])))
    assert out == oracle.table(rows, shots)


# --------------------------------------------------------------------------------------------
# Prompts and requests


def test_the_first_100_prompts_are_those_of_lm_eval(run, shared):
    hashes = [
        line for line in (pathlib.Path(__file__).parent / "gsm8k_prompts.txt").read_text().split("\n")
        if line and not line.startswith("#")
    ]
    assert len(hashes) == 100
    with oracle.Fake(lambda prompt, times: " #### 1") as fake:
        _, _, samples = run("--url", fake.url, "--data", shared / "data/gsm8k", "--limit", 100)
    sent = {hashlib.sha256(body["prompt"].encode()).hexdigest() for body in fake.bodies}
    assert [hashlib.sha256(s["prompt"].encode()).hexdigest() for s in samples] == hashes
    assert sent == set(hashes) and len(fake.bodies) == 100


@pytest.mark.parametrize(("shots", "seed"), [(5, 1234), (0, 1234), (1, 0), (8, 7), (40, 2**40 + 3)])
def test_prompts(run, small, shots, seed):
    train, test = oracle.read(small / "train.jsonl"), oracle.read(small / "test.jsonl")
    with oracle.Fake(lambda prompt, times: "") as fake:
        out, _, samples = run("--url", fake.url, "--data", small, "--num-fewshot", shots,
                              "--seed", seed)
    expected = list(oracle.prompts(train, test, shots, seed))
    assert [s["prompt"] for s in samples] == expected
    assert [(s["doc_id"], s["question"], s["target"]) for s in samples] == [
        (i, doc["question"], doc["answer"]) for i, doc in enumerate(test)]
    assert sorted(body["prompt"] for body in fake.bodies) == sorted(expected)
    check(out, samples, shots)


def test_examples_without_an_answer(run, tmp_path):
    train = documents(6, "Example")
    train[2]["answer"] = ""
    test = documents(3, "Question")
    with oracle.Fake(lambda prompt, times: "") as fake:
        _, _, samples = run("--url", fake.url, "--data", write(tmp_path, train, test))
    assert [s["prompt"] for s in samples] == list(oracle.prompts(train, test))


def test_requests(run, small):
    with oracle.Fake(lambda prompt, times: " 1") as fake:
        # As lm-eval wants the URL, and from the environment.
        run("--url", f"{fake.url}/v1/completions", "--data", small, "--limit", 1,
            env={"OPENAI_API_KEY": "secret"})
        run("--url", f"{fake.url}/v1/", "--data", small, "--limit", 1, "--model", "other",
            "--max-gen-toks", "2k", "--seed", 3, "--api-key", "key")
    fields = ["prompt", "model", "max_tokens", "temperature", "stop", "seed"]
    first, second = fake.bodies
    assert list(first) == list(second) == fields
    assert [first[f] for f in fields[1:]] == ["fake", 256, 0, oracle.STOPS, 1234]
    assert [second[f] for f in fields[1:]] == ["other", 2000, 0, oracle.STOPS, 3]
    assert [h["Authorization"] for h in fake.headers] == ["Bearer secret", "Bearer key"]


def test_the_longest_are_asked_first_and_so_many_at_once(run, small):
    def slowly(prompt, times):
        time.sleep(0.02)
        return " 1"

    with oracle.Fake(slowly) as fake:
        run("--url", fake.url, "--data", small, "--num-concurrent", 1)
        lengths = [len(body["prompt"]) for body in fake.bodies]
        assert lengths == sorted(lengths, reverse=True) and fake.most_open == 1
        run("--url", fake.url, "--data", small, "--num-concurrent", 7)
    assert 2 <= fake.most_open <= 7


@pytest.mark.parametrize(
    ("limit", "n"), [("1", 1), ("7", 7), ("7.9", 7), ("30", 30), ("1000", 30), ("0.5", 15),
                     ("0.51", 16), ("0.001", 1)])
def test_limit(run, small, limit, n):
    with oracle.Fake(lambda prompt, times: " 1") as fake:
        out, _, samples = run("--url", fake.url, "--data", small, "--limit", limit)
    assert len(samples) == len(fake.bodies) == n
    check(out, samples)


# --------------------------------------------------------------------------------------------
# Filters, scores, the table

HARD = [
    "", " ", "\n", "72", "#### 72", "#### 72.", "#### -72", "####72", "##### 72", "#### #### 72",
    "#### $72", "#### 7,2", "#### 7\n#### 8", "the answer is 7 or 8.", "$1,234.50", "$", "-", "--",
    "-$", "-$5", "--5", "5-3", "5--3", "-5-", "1.", "..", ".", ",", ",,", "$$", "$$$ 5", "5 $",
    "x5y6z", "٣٤", "１２", "²", "½ 3", "#### ３", "####\u00a05", "####\t5", "#### \n5", "3,000,000",
    "#### 3,000,000.00", "#### -", "#### .", "#### ,", "#### ..", "#### -.", "#### 1-2", "#### 1e5",
    "1e5", "a\0b 5\0", "#### 5\0", "\0", "5\u2028", "#### 5\u2028", "[invalid]", "#### [invalid]",
    "Answer: 18\n\nQ", "#### 18 dollars #### 19", "18 <<9*2=18>>18 every day", "-0", "- 5", "−5",
    "#### 18#### 19", "#### 1#### ", "#", "####", "#### ", "# ### 5", "12345678901234567890" * 50,
    "#" * 5000 + " 5", "#### " * 2000, "-" * 5000, "9," * 3000, "1 " * 3000 + "$", "\ufffd 7",
    "🙂7🙂", "7🙂", "e\u0301 5", "#### 5\r\n", "#### 5\u0085", "ＡＮＳＷＥＲ 5。",
]
TARGETS = ["72", "#### 72", "x\n#### 1,234", "#### 5.", "#### 5\n", "#### 5.\n", "#### -72", "",
           "#### ", "#### $8", "###,# 7", "[Invalid]", "a #### b #### 0.5", "#### 5..", "18", "5",
           "1.", "#### 3,000,000", "..", ".", "-$5", "#### 5 "]


def completions(n):
    """Noise made of what the filters look for."""
    choose = random.Random(5)
    pieces = ["#### ", "####", "#", " ", "-", "$", ",", ".", "0", "7", "42", "1,000", "\n", "é", "个",
              "x", "answer is ", "\0", "３", "−"]
    for _ in range(n):
        yield "".join(choose.choices(pieces, k=choose.randrange(1, 14)))


def test_filters(run, tmp_path):
    texts = HARD + list(completions(1500))
    choose = random.Random(6)
    test = [{"question": f"{i}?", "answer": choose.choice(TARGETS)} for i in range(len(texts))]
    for i in range(0, len(texts), 3):  # or hardly anything would be right
        test[i]["answer"] = "#### " + oracle.extract("strict-match", texts[i])
    write(tmp_path, documents(1, "Example"), test)
    with oracle.Fake(lambda prompt, times: texts[int(oracle.asked(prompt)[:-1])]) as fake:
        out, _, samples = run("--url", fake.url, "--data", tmp_path, "--num-fewshot", 0)
    assert [s["completion"] for s in samples] == texts
    check(out, samples, 0)
    assert len({s["strict-match"] for s in samples}) > 40
    assert 0.2 < sum(s["exact_match"]["strict-match"] for s in samples) / len(texts) < 0.8


@pytest.mark.parametrize(
    ("n", "right"), [(1, 0), (1, 1), (2, 1), (30, 0), (30, 30), (30, 29), (30, 15), (16, 4), (10, 9)])
def test_table(run, small, n, right):
    """Columns of numbers get narrower where all of them are round."""

    def answer(prompt, times):
        number = int(re.match(r"Question (\d+):", oracle.asked(prompt)).group(1))
        return f" #### {number}" if number < right else " none"

    with oracle.Fake(answer) as fake:
        out, _, samples = run("--url", fake.url, "--data", small, "--limit", n)
    assert sum(s["exact_match"]["strict-match"] for s in samples) == right
    check(out, samples)


# --------------------------------------------------------------------------------------------
# Failures


def test_a_second_and_a_third_try(run, small):
    """Whatever went wrong, and a second later at the earliest."""
    wrong = [(500, {"error": {"message": "no"}}), (200, b"{"), (429, b""), (302, b""),
             (200, {"choices": []}), (404, {"detail": "x"}), (200, b""), (200, b"[]"),
             (200, {"choices": [{"index": 0}]}), (200, {"choices": [{"index": 0, "text": 5}]})]
    seen = {}

    def answer(prompt, times):
        seen.setdefault(prompt, []).append(time.monotonic())
        number = int(re.match(r"Question (\d+):", oracle.asked(prompt)).group(1))
        return wrong[number] if number < len(wrong) and times <= 1 + number % 2 else " 1"

    with oracle.Fake(answer) as fake:
        out, err, samples = run("--url", fake.url, "--data", small)
    check(out, samples)
    assert [s["tries"] for s in samples] == [2, 3] * 5 + [1] * 20
    assert " failed" not in err
    for times in seen.values():
        assert all(b - a > 0.9 for a, b in zip(times, times[1:]))


def test_failures_are_counted_with_their_reasons(run, small):
    wrong = {
        0: ((429, {"error": {"message": "queue is\nfull"}}), "HTTP 429: queue is?full"),
        1: ((429, {"error": {"message": "queue is\nfull"}}), "HTTP 429: queue is?full"),
        2: ((200, b"{\"choices\": ["), "the reply is no JSON"),
        3: ((200, {"choices": [{"index": 1, "text": "5"}]}), "the reply has no choices[0].text"),
        4: (None, "the connection was closed without a reply"),
        5: ((503, b"busy"), "HTTP 503"),
    }

    def answer(prompt, times):
        number = int(re.match(r"Question (\d+):", oracle.asked(prompt)).group(1))
        return wrong[number][0] if number in wrong else f" #### {number}"

    with oracle.Fake(answer) as fake:
        out, err, samples = run("--url", fake.url, "--data", small, status=71)
    failed = {s["doc_id"]: s for s in samples if "error" in s}
    closed = failed[4]["error"]  # found out before or behind the request
    assert closed.startswith("the connection ")
    wrong[4] = None, closed
    assert {i: s["error"] for i, s in failed.items()} == {i: w[1] for i, w in wrong.items()}
    assert all(s["tries"] == 3 and "completion" not in s for s in failed.values())
    check(out, [s for s in samples if "error" not in s])
    assert "2 questions: HTTP 429: queue is?full" in err and "1 question: HTTP 503" in err
    assert "6 of 30 questions failed; the table is of the other 24" in err


def test_timeout(run, small):
    with oracle.Fake(lambda prompt, times: 60.0 if "Question 3:" in prompt else " 1") as fake:
        out, err, samples = run("--url", fake.url, "--data", small, "--timeout", 0.3, status=71)
    assert [s["doc_id"] for s in samples if "error" in s] == [3]
    assert "1 question: timed out" in err
    check(out, [s for s in samples if "error" not in s])


def test_null_is_an_answer_without_a_number(run, small):
    reply = (200, {"choices": [{"index": 0, "text": None}]})
    with oracle.Fake(lambda prompt, times: reply) as fake:
        out, _, samples = run("--url", fake.url, "--data", small, "--limit", 2)
    assert {s["completion"] for s in samples} == {"[NO ANSWER]"}
    check(out, samples)


def test_server_that_dies(run, small):
    """The rest fails, each question for itself, and what was answered before is kept."""
    count = 0

    def answer(prompt, times):
        nonlocal count
        count += 1
        if count == 10:
            fake.socket.close()  # nobody is let in any more
        return " #### 1" if count < 10 else None

    with oracle.Fake(answer) as fake:
        out, err, samples = run("--url", fake.url, "--data", small, "--num-concurrent", 2,
                                status=71)
    answered = [s for s in samples if "error" not in s]
    assert len(answered) == 9 and all(s["tries"] == 1 for s in answered)
    assert "21 of 30 questions failed; the table is of the other 9" in err
    check(out, answered)


def test_server_that_answers_nothing_is_given_up(run, small):
    with oracle.Fake(lambda prompt, times: (500, b"")) as fake:
        out, err, samples = run("--url", fake.url, "--data", small, "--num-concurrent", 8, status=71)
    assert out == "" and "none of 30 questions was answered" in err
    assert len(fake.bodies) < 30 * 3 and all(s["error"] for s in samples)
    assert any(s["error"].startswith("not asked") for s in samples)


def test_failures_with_answers_between_them_are_no_reason_to_give_up(run, tmp_path):
    write(tmp_path, documents(6, "Example"), documents(90, "Question"))

    def answer(prompt, times):
        if oracle.asked(prompt).split(":")[0].endswith("7"):
            return 500, b""
        time.sleep(0.1)
        return " 1"

    with oracle.Fake(answer) as fake:
        _, err, samples = run("--url", fake.url, "--data", tmp_path, "--num-concurrent", 2,
                              "--num-fewshot", 0, status=71)
    failed = [s for s in samples if "error" in s]
    assert [s["doc_id"] % 10 for s in failed] == [7] * 9
    assert all(s["tries"] == 3 for s in failed)
    assert "9 of 90 questions failed" in err


def test_nobody_listens(run, small):
    with oracle.Fake(lambda prompt, times: "") as fake:
        url = fake.url
    _, err, samples = run("--url", url, "--data", small, status=71)
    assert "could not connect" in err and samples == []
    _, err, samples = run("--url", url, "--data", small, "--model", "x", status=71)
    assert "could not connect" in err and len(samples) == 30


def test_interrupt(abruzzi, small, tmp_path):
    """What was answered is written, no table is printed."""
    answers = iter(range(1000))
    with oracle.Fake(lambda prompt, times: " 1" if next(answers) < 5 else 60.0) as fake:
        child = subprocess.Popen(
            [abruzzi, "eval", "gsm8k", "--url", fake.url, "--data", small,
             "--output", tmp_path / "out"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + PATIENCE
        while len(fake.bodies) < 30 and time.monotonic() < end:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130 and out == "", err
    samples = oracle.read(tmp_path / "out")
    answered = [s for s in samples if "completion" in s]
    assert len(samples) == 30 and len(answered) <= 5
    assert f"interrupted: {len(answered)} of 30 questions were answered" in err


# --------------------------------------------------------------------------------------------
# Usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data is missing"),
        (["--data", "."], "no model given"),
        (["--data", ".", "--url", "http://127.0.0.1:1", "m"], "MODEL and --url exclude each other"),
        (["--data", ".", "--url", "http://127.0.0.1:1", "--threads", "2"], "--threads is for a model"),
        (["--data", ".", "m", "--timeout", "2"], "--timeout needs --url"),
        (["--data", "/none", "--url", "http://127.0.0.1:1"], "/none/train.jsonl"),
        (["--data", ".", "--limit", "0", "m"], "--limit"),
    ],
)
def test_wrong_usage(abruzzi, arguments, message):
    done = subprocess.run([abruzzi, "eval", "gsm8k", *arguments], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.returncode == 64 and message in done.stderr


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ('{"question": "1", "answer": "2"}\n{"question": "1"}\n', 'line 2: "answer" is no string'),
        ('\n{"question": 1, "answer": "2"}\n', 'line 2: "question" is no string'),
        ('{"question": "1", "answer": "2"', "line 1"),
        ("[]\n", 'line 1: "question" is no string'),
        ("\n", "no questions"),
        ("", "no questions"),
    ],
)
def test_wrong_data(abruzzi, tmp_path, test, message):
    write(tmp_path, documents(5, "Example"), [])
    (tmp_path / "test.jsonl").write_text(test)
    done = subprocess.run(
        [abruzzi, "eval", "gsm8k", "--data", tmp_path, "--url", "http://127.0.0.1:1"],
        capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 64 and "test.jsonl" in done.stderr and message in done.stderr


def test_too_many_examples(abruzzi, small):
    done = subprocess.run(
        [abruzzi, "eval", "gsm8k", "--data", small, "--url", "http://127.0.0.1:1",
         "--num-fewshot", "41"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 64
    assert "41 examples cannot be drawn from 40 questions" in done.stderr


# --------------------------------------------------------------------------------------------
# Models


def test_in_process_is_as_through_the_api(run, abruzzi, tiny, small, tmp_path):
    flags = ["--data", small, "--num-fewshot", 2, "--limit", 12, "--max-gen-toks", 24]
    out, _, here = run(tiny, *flags)
    check(out, here, 2)
    server = Server(abruzzi, tmp_path, [tiny, "--served-model-name", "tiny"])
    try:
        there = run("--url", server.url, *flags)
    finally:
        server.kill()
    assert (there[0], there[2]) == (out, here)
    assert len({s["completion"] for s in here}) > 1


def test_interrupt_in_process(abruzzi, tiny, small, tmp_path):
    child = subprocess.Popen(
        [abruzzi, "eval", "gsm8k", tiny, "--data", small, "--output", tmp_path / "out",
         "--max-gen-toks", "100000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "questions of GSM8K" not in (line := child.stderr.readline()):
        assert line, "it ended by itself"
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130 and out == "", err
    samples = oracle.read(tmp_path / "out")
    answered = [s for s in samples if "completion" in s]
    assert len(samples) == 30 and len(answered) < 30
    assert f"interrupted: {len(answered)} of 30 questions were answered" in err


def test_prompts_longer_than_the_model_takes(run, tiny, small):
    out, err, samples = run(tiny, "--data", small, "--limit", 3, "--max-model-len", 64, status=71)
    assert out == "" and all("64" in s["error"] for s in samples)
    assert "none of 3 questions was answered" in err


def test_replayed_scripts(run, abruzzi, tiny, tmp_path):
    """200 answers that are played by a server: what the scripts say is what is scored."""
    choose = random.Random(9)
    test = documents(200, "Question")
    said = {}
    scripts = tmp_path / "scripts.jsonl"
    with open(scripts, "w", encoding="utf-8") as file:
        for doc in test:
            right = choose.random() < 0.9
            text = f" Hm.\n{doc['answer'] if right else '#### 3.5'}"
            said[doc["question"]] = text
            text += choose.choice(["", "\n\nQuestion: another?", "</s>", "<|im_end|>"])
            file.write(json.dumps({"match": doc["question"], "text": text, "chunks": [3]}) + "\n")
    write(tmp_path, documents(9, "Example"), test)
    server = Server(abruzzi, tmp_path, [tiny, "--engine", f"replay:{scripts}"])
    try:
        out, _, samples = run("--url", server.url, "--data", tmp_path, "--num-fewshot", 1)
    finally:
        server.kill()
    assert [s["completion"].rstrip("\n") for s in samples] == [said[d["question"]] for d in test]
    check(out, samples, 1)
    assert 160 < sum(s["exact_match"]["strict-match"] for s in samples) < 200


# --------------------------------------------------------------------------------------------
# lm-eval itself


def local_task(folder, data):
    """lm-eval's own gsm8k.yaml, with the questions read from `data`."""
    import lm_eval
    import yaml

    path = pathlib.Path(lm_eval.__file__).parent / "tasks" / "gsm8k" / "gsm8k.yaml"
    config = yaml.safe_load(path.read_text())
    assert config["metadata"]["version"] == 3.0
    del config["tag"], config["dataset_name"]
    config["dataset_path"] = "json"
    config["dataset_kwargs"] = {"data_files": {n: f"{data}/{n}.jsonl" for n in ("train", "test")}}
    config["task"] = "gsm8l"  # as long as the name it cannot have twice
    (folder / "gsm8l.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.heavy
def test_lm_eval(run, shared, tmp_path):
    """The whole test set, asked of one server by both: prompts, filters, scores, the table."""
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm_eval is not installed (make venv-full)")
    data = shared / "data" / "gsm8k"
    answers = {doc["question"]: doc["answer"] for doc in oracle.read(data / "test.jsonl")}
    hard = [text for text in HARD + list(completions(400)) if "\0" not in text]

    def answer(prompt, times):
        choose = random.Random(prompt)
        return " " + (answers[oracle.asked(prompt)] if choose.random() < 0.8 else choose.choice(hard))

    with oracle.Fake(answer) as fake:
        out, _, samples = run("--url", fake.url, "--data", data)
        ours = sorted(json.dumps(body) for body in fake.bodies)
        fake.bodies.clear()
        done = subprocess.run(
            [sys.executable, "-m", "lm_eval", "run", "--model", "local-completions",
             "--tasks", "gsm8l", "--include_path", local_task(tmp_path, data),
             "--output_path", tmp_path / "out", "--log_samples", "--model_args",
             f"model=fake,base_url={fake.url}/v1/completions,num_concurrent=32,"
             "tokenized_requests=False,tokenizer_backend=None"],
            capture_output=True, text=True, timeout=1200, cwd=tmp_path,
            env={"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr[-4000:]
        theirs = sorted(json.dumps(body) for body in fake.bodies)
    assert len(ours) == 1319 and ours == theirs
    logged = oracle.read(next((tmp_path / "out").rglob("samples_*.jsonl")))
    assert len(logged) == 2 * 1319
    for line in logged:
        sample, name = samples[line["doc_id"]], line["filter"]
        assert sample["prompt"] == line["arguments"]["gen_args_0"]["arg_0"]
        assert sample["target"] == line["target"]
        assert [sample[name]] == line["filtered_resps"]
        assert sample["exact_match"][name] == line["exact_match"]
    results = json.loads(next((tmp_path / "out").rglob("results_*.json")).read_text())
    for name in oracle.FILTERS:
        mean, error = oracle.scores([s["exact_match"][name] for s in samples])
        assert results["results"]["gsm8l"][f"exact_match,{name}"] == mean
        assert results["results"]["gsm8l"][f"exact_match_stderr,{name}"] == error
    assert out in done.stdout.replace("gsm8l", "gsm8k")


@pytest.mark.heavy
def test_table_of_lm_eval(small, run):
    """The oracle's table is what lm-eval prints."""
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm_eval is not installed (make venv-full)")
    from lm_eval.utils import make_table

    choose = random.Random(2)
    numbers = [0.0, 1.0, 0.5, 0.25, 0.1, 0.9999, 0.0001, 0.9409, 0.3333]
    for _ in range(300):
        picked = [choose.choice([*numbers, choose.random()]) for _ in range(4)]
        if choose.random() < 0.1:
            picked[1] = picked[3] = None
        rows = [("flexible-extract", *picked[:2]), ("strict-match", *picked[2:])]
        result = {}
        for name, mean, error in rows:
            result[f"exact_match,{name}"] = mean
            result[f"exact_match_stderr,{name}"] = "N/A" if error is None else error
        shots = choose.choice([0, 5, 10])
        assert oracle.table(rows, shots) == make_table({
            "results": {"gsm8k": {"alias": "gsm8k", **result}}, "versions": {"gsm8k": 3.0},
            "n-shot": {"gsm8k": shots}, "higher_is_better": {"gsm8k": {"exact_match": True}}})
