"""Images, files and conversations: sent in the words of each protocol, and what comes back is kept with its type."""

from base64 import b64encode
from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from commands.asset import ChangeAsset, CreateAsset
from domain.asset import AssetType
from domain.graphs.graph import ErrorClass
from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.facts import StepCompleted
from domain.runs.run import Run, RunStatus
from engine.providers.images.provider import ImagesProvider, ImagesSettings
from engine.providers.provider import Provider
from engine.providers.turns import Media, decode_data_url
from engine.settings import OutgoingSettings
from engine.steps.http.step import HttpSteps
from tests.engine.providers.conftest import LOCAL, speaking
from tests.support.commands.processes import new_id
from tests.support.engine.harness import FakeModel, Harness, open_harness, reviews
from tests.support.graphs import Json, edge, graph, node
from tests.support.model_server.server import ModelServer
from tests.support.servers.web import WebServer
from tests.support.store.given import WORKSPACE

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
CODED = b64encode(PNG).decode()


@pytest.fixture
def server() -> Generator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture(params=["openai", "anthropic"])
async def provider(request: pytest.FixtureRequest, server: ModelServer) -> AsyncGenerator[Provider]:
    """A provider of one protocol and then of the other."""
    made = speaking(request.param, server.base_url)
    yield made
    await made.close()


def prompt(model: str, *messages: Json, **config: Any) -> Json:  # noqa: ANN401  # JSON
    asked = {"model": f"fake/{model}", "messages": list(messages), **config}
    return node("a", kind="prompt", config=asked)


async def play(
    database: str,
    provider: Provider,
    raw: Json,
    inputs: Json | None = None,
    status: RunStatus = RunStatus.COMPLETED,
) -> tuple[Run, list[Any]]:
    async with open_harness(database) as plain:
        http = HttpSteps(LOCAL, {}, OutgoingSettings(), plain.slow)
        harness = replace(plain, fake_model=cast("FakeModel", provider), http=http)
        async with harness.run_engine():
            run = await harness.begin(raw, inputs)
            ended = await harness.wait_until_ended(run, status)
            facts = await harness.list_facts(run)
        await http.close()
        return ended, facts


async def test_a_conversation_is_sent_turn_by_turn_and_its_system_prompts_apart(
    database: str, provider: Provider, server: ModelServer
) -> None:
    messages = (
        {"role": "system", "template": "You name {{ inputs.what }}."},
        {"role": "user", "template": "A lamp"},
        {"role": "assistant", "template": "Lumen"},
        {"role": "user", "parts": [{"type": "text", "text": "Another for {{ inputs.what }}"}]},
    )
    raw = graph(prompt("echo", *messages, system="Be brief."))
    ended, _ = await play(database, provider, raw, {"what": "things"})
    assert ended.outputs["a"].value == "You said: Another for things "
    body: Any = server.calls[0].body
    turns = [turn for turn in body["messages"] if turn["role"] != "system"]
    system = body.get("system") or body["messages"][0]["content"]
    assert system == "Be brief.\n\nYou name things."
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("user", "A lamp"),
        ("assistant", "Lumen"),
        ("user", "Another for things"),
    ]


async def test_what_one_step_received_another_sends_to_a_model(
    database: str, provider: Provider, server: ModelServer
) -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image", "content": "{{ steps.get.output.body.content }}"},
        {"type": "image", "url": "https://pictures.example/{{ inputs.name }}.png"},
        {"type": "file", "url": f"data:application/pdf;base64,{CODED}", "name": "{{ inputs.name }}.pdf"},
    ]
    with WebServer() as web:
        get = node("get", kind="http", config={"url": web.url("/binary")})
        raw = graph(get, prompt("text?A-picture", {"parts": parts}), edges=[edge("get", "a")])
        _, facts = await play(database, provider, raw, {"name": "lamp"})
    [got, answered] = [fact for fact in facts if isinstance(fact, StepCompleted)]
    output: Any = got.output.value
    body = output["body"]
    assert (body["media_type"], body["bytes"]) == ("image/png", len(PNG))
    assert body["url"].endswith(f"/contents/{body['content'].removeprefix('sha256:')}")
    sent: Any = server.calls[0].body["messages"]
    content = sent[-1]["content"]
    if server.calls[0].protocol == "openai":
        assert content[1:] == [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{CODED}"}},
            {"type": "image_url", "image_url": {"url": "https://pictures.example/lamp.png"}},
            {"type": "file", "file": {"filename": "lamp.pdf", "file_data": f"data:application/pdf;base64,{CODED}"}},
        ]
    else:
        assert content[1:] == [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": CODED}},
            {"type": "image", "source": {"type": "url", "url": "https://pictures.example/lamp.png"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": CODED},
                "title": "lamp.pdf",
            },
        ]
    assert answered.call is not None
    asked = msgspec.json.encode(answered.call.asked).decode()
    assert body["content"] in asked
    assert CODED not in asked, "the record refers to images, and does not repeat them"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "image", "content": "sha256:" + "0" * 64}, "There is no content"),
        ({"type": "image", "content": "{{ inputs.what }}"}, "reference"),
        ({"type": "image", "url": "file:///etc/passwd"}, "http"),
        ({"type": "file", "url": "data:text/plain;base64,???"}, "base64"),
        ({"type": "file", "url": f"data:text/plain;base64,{'A' * 60_000}"}, "too large. Limit: 100000"),
    ],
)
async def test_what_cannot_be_sent_fails_the_step_before_anything_is_paid(
    database: str, server: ModelServer, part: Json, said: str
) -> None:
    provider = speaking("openai", server.base_url)
    raw = graph(prompt("echo", {"parts": [part] * 3}))
    ended, _ = await play(database, provider, raw, {"what": "nothing"}, RunStatus.FAILED)
    await provider.close()
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.EXPRESSION
    assert said in ended.error.message
    assert server.calls == []


IMAGE = f'{{"type": "image_url", "image_url": {{"url": "data:image/png;base64,{CODED}"}}}}'


@pytest.mark.parametrize(
    "delta", [f'"content": "Here", "images": [{IMAGE}]', f'"content": [{{"type": "text", "text": "Here"}}, {IMAGE}]']
)
async def test_an_image_that_a_model_made_is_kept_with_its_type(database: str, server: ModelServer, delta: str) -> None:
    provider = speaking("openai", server.base_url)
    server.script_behaviours(f'events?data: {{"choices": [{{"delta": {{{delta}}}, "finish_reason": "stop"}}]}}\n\n')
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=cast("FakeModel", provider))
        async with harness.run_engine():
            run = await harness.begin(graph(prompt("echo", {"template": "A picture"})))
            ended = await harness.wait_until_ended(run)
            output: Any = ended.outputs["a"].value
            kept = await harness.contents.get(WORKSPACE, output["media"][0]["content"])
    await provider.close()
    assert output["text"] == "Here"
    assert kept == (PNG, "image/png")


async def test_an_image_at_an_address_is_not_fetched(database: str, server: ModelServer) -> None:
    provider = speaking("openai", server.base_url)
    image = '{"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}'
    server.script_behaviours(f'events?data: {{"choices": [{{"message": {{"images": [{image}]}}}}]}}\n\n')
    ended, _ = await play(database, provider, graph(prompt("echo", {"template": "x"})), None, RunStatus.FAILED)
    await provider.close()
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.INVALID_OUTPUT


def test_a_data_url_is_read_in_any_form() -> None:
    assert decode_data_url("data:text/plain,a%20b") == Media(media_type="text/plain", data=b"a b")
    assert decode_data_url("DATA:image/png;x=1;base64,AAE=") == Media(media_type="image/png", data=b"\0\1")
    assert decode_data_url("data:,x") == Media(media_type="application/octet-stream", data=b"x")
    assert decode_data_url("https://host/data:x,") is None


async def add_media_asset(harness: Harness, project: UUID, data: bytes | None) -> UUID:
    """Create a media asset, with a file as its second version if there is data."""
    asset = new_id()
    empty = CreateAsset(
        target_id=asset, project_id=project, type=AssetType.MEDIA, label="Logo", metadata={}, content=Payload()
    )
    await harness.does(empty)
    if data is not None:
        await upload(harness, asset, data)
    return asset


async def upload(harness: Harness, asset: UUID, data: bytes) -> None:
    reference = await harness.contents.put(WORKSPACE, data, "image/png")
    content = Payload(ref=reference, bytes=len(data), media_type="image/png")
    await harness.does(ChangeAsset(target_id=asset, content=content))


async def test_a_prompt_sends_the_file_of_an_asset_as_it_was_when_the_run_began(
    database: str, provider: Provider, server: ModelServer
) -> None:
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=cast("FakeModel", provider))
        async with harness.run_engine():
            project = await harness.project()
            asset = await add_media_asset(harness, project, PNG)
            parts = [{"type": "text", "text": "What?"}, {"type": "image", "asset_id": from_uuid("ast", asset)}]
            raw = graph(reviews("d"), prompt("text?A-logo", {"parts": parts}), edges=[edge("d", "a")])
            run = await harness.start(await harness.workflow(project, raw))
            await harness.wait_until(run, lambda state: state.waiting == 1, "waits")
            await upload(harness, asset, b"a newer logo")
            await harness.decide(run, "d")
            ended = await harness.wait_until_ended(run)
            facts = await harness.list_facts(run)
    assert ended.pins.assets == {asset: 2}
    [*_, answered] = [fact for fact in facts if isinstance(fact, StepCompleted)]
    assert CODED in msgspec.json.encode(server.calls[0].body).decode()
    assert answered.call is not None
    assert from_uuid("ast", asset) in msgspec.json.encode(answered.call.asked).decode()


async def test_a_media_asset_without_a_file_fails_the_step(database: str, server: ModelServer) -> None:
    provider = speaking("openai", server.base_url)
    async with open_harness(database) as plain:
        harness = replace(plain, fake_model=cast("FakeModel", provider))
        async with harness.run_engine():
            project = await harness.project()
            part = {"type": "file", "asset_id": from_uuid("ast", await add_media_asset(harness, project, None))}
            run = await harness.start(await harness.workflow(project, graph(prompt("echo", {"parts": [part]}))))
            ended = await harness.wait_until_ended(run, RunStatus.FAILED)
    await provider.close()
    assert ended.error is not None
    assert (ended.error.error_class, server.calls) == (ErrorClass.EXPRESSION, [])
    assert "has no file: upload one" in ended.error.message


async def test_what_an_image_model_makes_is_kept_with_a_link(database: str, server: ModelServer) -> None:
    provider = ImagesProvider(ImagesSettings(base_url=server.base_url, guard=LOCAL))
    ended, _ = await play(database, provider, graph(prompt("png", {"template": "A lamp"}, system="Flat colours.")))
    await provider.close()
    output: Any = ended.outputs["a"].value
    [kept] = output["media"]
    assert (kept["media_type"], kept["bytes"]) == ("image/png", len(PNG))
    assert kept["url"].endswith(f"/contents/{kept['content'].removeprefix('sha256:')}")
    assert output["text"] == "A fine Flat colours.\n\nA lamp"
