"""Wrong requests get the right status, an OpenAI error object and the field's name; and the next
good request is answered as before."""

import json

import pytest

from api import wrong_requests

GOOD = {"model": "tiny", "prompt": "Once", "max_tokens": 8, "temperature": 0, "logprobs": 1}


def good_answer(server):
    status, reply = server.post("/v1/completions", GOOD)
    assert status == 200
    return reply["choices"], reply["usage"]


@pytest.fixture(scope="module")
def before(server):
    return good_answer(server)


def test_table_is_long_enough():
    assert len(wrong_requests.CASES) >= 100
    names = [case[0] for case in wrong_requests.CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", wrong_requests.CASES, ids=lambda case: case[0])
def test_wrong_request(server, before, case):
    _, route, body, want_status, want_param = case
    status, headers, reply = server.request("POST", route, body)
    assert headers["Content-Type"].startswith("application/json")
    error = json.loads(reply)["error"]
    assert status == want_status, error
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == status
    assert error["type"].endswith("Error")
    assert error["message"]
    assert error["param"] == want_param
    assert good_answer(server) == before


def test_wrong_content_type(server):
    body = json.dumps(GOOD).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        status, _, reply = server.request(
            "POST", "/v1/completions", body, headers={"Content-Type": kind}
        )
        assert status == 400, kind
        assert json.loads(reply)["error"]["type"] == "BadRequestError"
