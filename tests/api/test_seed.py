"""--seed makes a server repeatable for requests that bring no seed of their own."""

BODY = {"prompt": "Once", "max_tokens": 12, "temperature": 1.0, "ignore_eos": True}


def texts(server, **fields):
    status, reply = server.post("/v1/completions", {**BODY, **fields})
    assert status == 200
    return [choice["text"] for choice in reply["choices"]]


def test_the_same_requests_in_the_same_order(serve, tiny):
    said = []
    for _ in range(2):
        server = serve(tiny, "--seed", "7")
        said.append([texts(server), texts(server), texts(server, n=3), texts(server, seed=3)])
    assert said[0] == said[1]
    assert len({said[0][0][0], said[0][1][0], said[0][3][0], *said[0][2]}) == 6
    other = serve(tiny, "--seed", "8")
    assert texts(other) != said[0][0]
    assert texts(other, seed=3) == said[0][3]


def test_without_it_every_answer_is_new(server):
    assert texts(server) != texts(server)
