"""The guard of outgoing calls: real connections to what is allowed, and none at all to what is not."""

import asyncio
import socket
from collections.abc import Generator

import httpx2
import pytest

from engine.egress.allow_list import AllowList
from engine.egress.guard import Guard, GuardedTransport, OutgoingRefused, Resolve
from tests.support.model_server.server import ModelServer


@pytest.fixture
def model_server() -> Generator[ModelServer]:
    """A real HTTP server on 127.0.0.1."""
    with ModelServer() as server:
        yield server


def gives(*answers: list[str]) -> Resolve:
    """Return a resolver that answers each time with the next of these, the last one again and again."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


async def call(url: str, guard: Guard) -> int:
    async with GuardedTransport(guard) as transport:
        response = await transport.handle_async_request(httpx2.Request("GET", url))
        await response.aclose()
        return response.status_code


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.1.2.3/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[fe80::1%25lo]/",
        "http://localhost/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://017700000001/",
        "http://127.1/",
        "http://0/",
        "http://0.0.0.0/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://user:password@example.com/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://ex%61mple.com/",
        "http:///",
    ],
)
async def test_what_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(OutgoingRefused) as refused:
        await call(url, Guard())
    assert "password" not in str(refused.value).replace("no password", "")


@pytest.mark.parametrize("text", ["http://0177.0.0.1/", "http://\uff11\uff12\uff17.0.0.1/"])
def test_an_octal_or_a_wide_address_is_no_url_at_all(text: str) -> None:
    with pytest.raises(httpx2.InvalidURL):
        httpx2.URL(text)


async def test_a_name_with_a_private_address_is_refused_though_another_is_public() -> None:
    with pytest.raises(OutgoingRefused, match="CALLSHEET_OUTGOING_ALLOWED"):
        await call("http://rebound.example/", Guard(resolve=gives(["1.1.1.1", "10.0.0.1"])))


async def test_the_connection_goes_to_the_address_that_was_looked_at(model_server: ModelServer) -> None:
    port = httpx2.URL(model_server.base_url).port
    once = gives(["127.0.0.1"], ["192.0.2.1"])
    allowed = Guard(allowed=AllowList("models.example"), resolve=once)
    assert await call(f"http://models.example:{port}/ledger", allowed) == 200


async def test_a_host_is_looked_at_again_for_every_connection(model_server: ModelServer) -> None:
    port = httpx2.URL(model_server.base_url).port
    moved = Guard(resolve=gives(["8.8.8.8"], ["127.0.0.1"]))
    assert await moved.resolve_allowed("models.example", 80) == ["8.8.8.8"]
    with pytest.raises(OutgoingRefused):
        await call(f"http://models.example:{port}/ledger", moved)
    assert model_server.connections == 0


async def test_an_address_that_refuses_gives_way_to_the_next(model_server: ModelServer) -> None:
    port = httpx2.URL(model_server.base_url).port
    two = Guard(allowed=AllowList("models.example"), resolve=gives(["127.0.0.2", "127.0.0.1"]))
    assert await call(f"http://models.example:{port}/ledger", two) == 200


async def test_the_operator_allows_a_host_at_its_port_only(model_server: ModelServer) -> None:
    port = httpx2.URL(model_server.base_url).port
    assert await call(f"http://localhost:{port}/ledger", Guard(allowed=AllowList(f"localhost:{port}"))) == 200
    with pytest.raises(OutgoingRefused):
        await call(f"http://localhost:{port}/ledger", Guard(allowed=AllowList("localhost:1")))


async def test_a_host_without_an_address_cannot_be_connected() -> None:
    async def nobody(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    with pytest.raises(httpx2.ConnectError):
        await call("http://nowhere.example/", Guard(resolve=nobody))
    with pytest.raises(httpx2.ConnectError):
        await call("http://nowhere.example/", Guard(resolve=gives([])))


async def test_a_name_that_no_resolver_takes_is_refused() -> None:
    async def unwritable(_host: str, _port: int) -> list[str]:
        raise UnicodeError("label too long")

    with pytest.raises(OutgoingRefused):
        await call("http://nowhere.example/", Guard(resolve=unwritable))


async def test_a_resolver_that_never_answers_runs_into_the_time_to_connect() -> None:
    async def silent(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with GuardedTransport(Guard(resolve=silent)) as transport:
        request = httpx2.Request("GET", "http://slow.example/", extensions={"timeout": {"connect": 0.05}})
        with pytest.raises(httpx2.ConnectTimeout):
            await transport.handle_async_request(request)


async def test_host_and_tls_keep_the_name(model_server: ModelServer) -> None:
    hello: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.set_result(await reader.read(4_096))
        writer.close()

    guard = Guard(allowed=AllowList("models.example"), resolve=gives(["127.0.0.1"]))
    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        with pytest.raises(httpx2.ConnectError):
            await call(f"https://models.example:{server.sockets[0].getsockname()[1]}/", guard)
        assert b"models.example" in await hello
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
    port = httpx2.URL(model_server.base_url).port
    async with GuardedTransport(guard) as transport:
        request = httpx2.Request("POST", f"http://models.example:{port}/v1/chat/completions", json=body)
        await (await transport.handle_async_request(request)).aclose()
    assert model_server.calls[0].headers["host"] == f"models.example:{port}"
