"""The model server: behaviours by model name, by control call and by repetition, and as a program."""

import subprocess
import sys
from pathlib import Path

import httpx2
import msgspec

from tests.support.model_server.ledger import Call
from tests.support.model_server.server import ModelServer

TOP = Path(__file__).parents[3]


def call(base_url: str, model: str = "echo", token: str = "t") -> httpx2.Response:  # noqa: S107  # no secret
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    return httpx2.post(f"{base_url}/chat/completions", json=body, headers={"Idempotency-Key": token})


def test_control_says_how_the_next_calls_go() -> None:
    with ModelServer() as server:
        root = server.base_url.removesuffix("/v1")
        httpx2.post(f"{root}/control", json={"behaviours": ["status-500", "status-503"]})
        statuses = [call(server.base_url).status_code for _ in range(3)]
    assert statuses == [500, 503, 200]


def test_a_behaviour_can_pass_after_so_many_calls_with_one_token() -> None:
    with ModelServer() as server:
        first = [call(server.base_url, "status-503|x2", "a").status_code for _ in range(3)]
        other = call(server.base_url, "status-503|x2", "b").status_code
    assert (first, other) == ([503, 503, 200], 503)


def test_as_a_program_it_says_where_it_is_and_gives_its_ledger() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.model_server.server"], stdout=subprocess.PIPE, text=True, cwd=TOP
    ) as program:
        assert program.stdout is not None
        base_url = program.stdout.readline().strip()
        call(base_url, token="token-1")  # noqa: S106  # no secret
        ledger = msgspec.json.decode(httpx2.get(f"{base_url.removesuffix('/v1')}/ledger").content, type=list[Call])
        program.kill()
    assert [(request.protocol, request.behaviour, request.idempotency_token) for request in ledger] == [
        ("openai", "echo", "token-1")
    ]
