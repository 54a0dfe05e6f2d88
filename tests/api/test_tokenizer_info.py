"""/tokenizer_info gives the model's own file, numbers beyond 64 bits included."""

import json


def test_the_real_tokenizer(serve, kimi):
    server = serve(kimi, "--enable-tokenizer-info-endpoint")
    status, _, reply = server.get("/tokenizer_info")
    assert status == 200
    given = json.loads(reply)
    own = json.loads((kimi / "tokenizer_config.json").read_text())
    assert {name: given[name] for name in own} == own
    assert own["model_max_length"] > 2**63
    assert given["eos_token"] and given["bos_token"]
    assert "chat_template" in given


def test_it_is_off_by_default(server):
    assert server.get("/tokenizer_info")[0] == 404
