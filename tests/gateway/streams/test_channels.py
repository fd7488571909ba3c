"""The channels of `/v1/streams`: every kind of message is sent and received, with the payload that is described."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import httpx2
import pytest
from msgspec import Struct, convert

from bus import watch
from bus.deltas import MOST_UNTAKEN, Delta
from callsheet.settings.load import Settings
from callsheet.wiring.core import COMPONENTS, Part
from domain.ids import to_uuid
from engine.egress.allow_list import AllowList
from engine.settings import OutgoingSettings
from gateway.streams.channels.table import CHANNELS, MESSAGES
from gateway.streams.messages import Sender
from store.postgres.migrations import migrate
from tests.gateway.runs.test_events import decide, waiting_run
from tests.support.gateway.given import HUMAN, TRANSFORM_CHAIN, Caller, Environment, new_id, serving
from tests.support.gateway.sockets import Socket, open_socket
from tests.support.servers.web import WebServer

KINDS: Final = {(kind.sender, kind.channel.value, kind.event): kind for kind in MESSAGES}
DURABLE: Final = ("runs", "tasks", "announcements")


class Recorder:
    """Checks and records the kinds of the messages that a client sends and receives."""

    def __init__(self) -> None:
        """Record nothing yet."""
        self.seen: set[tuple[Sender, str, str]] = set()

    def check(self, sender: Sender, message: Mapping[str, Any]) -> None:
        kind = KINDS[sender, message["channel"], message["event"]]
        convert(message["payload"], kind.payload)
        self.seen.add((sender, message["channel"], message["event"]))


class CheckedSocket(Socket, frozen=True):
    """A WebSocket whose messages are all checked_socket."""

    recorder: Recorder

    async def send(
        self,
        channel: str,
        event: str,
        subscription_id: str = "",
        **payload: Any,  # noqa: ANN401  # JSON
    ) -> None:
        self.recorder.check(Sender.CLIENT, {"channel": channel, "event": event, "payload": payload})
        await super().send(channel, event, subscription_id, **payload)

    async def receive(self) -> dict[str, Any]:
        message = await super().receive()
        self.recorder.check(Sender.SERVER, message)
        return message


class Stage(Struct, frozen=True):
    """A checked_socket WebSocket of a caller, and the server."""

    socket: CheckedSocket
    ada: Caller
    environment: Environment


Play = Callable[[Stage], Awaitable[None]]


async def play_connection(stage: Stage) -> None:
    socket = stage.socket
    await socket.send("connection", "ping", "p")
    assert (await socket.receive_until("pong"))["id"] == "p"
    await socket.connection.send("nonsense")
    assert (await socket.receive_until("error"))["payload"]["code"] == "malformed"


async def play_runs(stage: Stage) -> None:
    socket, ada = stage.socket, stage.ada
    run = await ada.ended_run(TRANSFORM_CHAIN, {"n": 1})
    events = (await ada.get(f"/v1/runs/{run['id']}/events")).json()["items"]
    for names in ({"project_id": run["project_id"]}, {"workflow_id": run["workflow_id"]}, {"run_id": run["id"]}):
        assert (await socket.subscribe("runs", "r", **names, after="0"))["payload"]["position"].endswith("-0")
        received = await socket.read_events(events[-1]["id"], "r")
        assert [(event["position"], event["topic"]) for event in received] == [
            (event["id"], event["type"]) for event in events
        ]
        assert received[-1]["run"] == run
        assert received[0]["run"]["status"] == "queued"
        await socket.receive_until("live", "r")
        await socket.send("runs", "unsubscribe", "r")
        await socket.receive_until("unsubscribed", "r")


async def play_deltas(stage: Stage) -> None:
    socket, ada = stage.socket, stage.ada
    run_id = await waiting_run(ada)
    hub = stage.environment.core.bus.deltas
    write = hub.sender(to_uuid("run", run_id), node="draft", attempt=1)
    write("Once upon ")
    offsets = [{"node": "draft", "attempt": 1, "offset": 5}]
    await socket.subscribe("runs", "d", run_id=run_id, deltas=True, texts=offsets)
    joined = await socket.receive_until("text.delta")
    assert (joined["payload"]["offset"], joined["payload"]["text"]) == (5, "upon ")
    write("a time")
    followed = await socket.receive_until("text.delta")
    assert (followed["payload"]["offset"], followed["payload"]["text"]) == (10, "a time")
    for number in range(MOST_UNTAKEN + 1):
        hub.publish(to_uuid("run", run_id), Delta(node="other", attempt=1, offset=number, text="x"))
    assert (await socket.receive_until("text.dropped"))["payload"] == {"run_id": run_id, "count": 1}
    hub.end_texts(to_uuid("run", run_id), node="draft", attempt=1)


async def play_tasks(stage: Stage) -> None:
    socket, ada = stage.socket, stage.ada
    await socket.subscribe("tasks", "t")
    await socket.subscribe("tasks", "all", assigned="all")
    run_id = await waiting_run(ada)
    waiting = await socket.receive_until("task.waiting", "t")
    (task,) = (await ada.get(f"/v1/tasks?run_id={run_id}")).json()["items"]
    assert waiting["payload"]["task"] == task
    await decide(ada, run_id)
    closed = (await socket.receive_until("task.closed", "t"))["payload"]
    assert (closed["run_id"], closed["outcome"], closed["decided_by"]) == (run_id, "approve", "usr_ada")


async def play_announcements(stage: Stage) -> None:
    socket, ada = stage.socket, stage.ada
    admin = ada.as_user(ada.user_id, scope="announcements:read announcements:write")
    await socket.subscribe("announcements", "a")
    made = (await admin.post("/v1/announcements", {"title": "Maintenance"})).json()
    assert (await socket.receive_until("announcement.published"))["payload"] == made
    withdrawn = (await admin.post(f"/v1/announcements/{made['id']}:withdraw")).json()
    assert (await socket.receive_until("announcement.withdrawn"))["payload"] == withdrawn


async def play_presence(stage: Stage) -> None:
    socket, ada = stage.socket, stage.ada
    project = await ada.project()
    await socket.subscribe("presence", "p", project_id=project["id"], cursor={"node": "draft"})
    roster = (await socket.receive_until("presence.roster"))["payload"]
    (me,) = roster["members"]
    assert (me["id"], me["kind"], me["user_id"], me["cursor"]) == (roster["you"], "user", "usr_ada", {"node": "draft"})
    async with open_socket(ada) as other:
        await other.subscribe("presence", "q", project_id=project["id"])
        assert len((await other.receive_until("presence.roster"))["payload"]["members"]) == 2
        joined = (await socket.receive_until("presence.joined"))["payload"]
        await other.send("presence", "presence.update", "q", cursor=7)
        updated = (await socket.receive_until("presence.updated"))["payload"]
        assert (updated["id"], updated["cursor"]) == (joined["id"], 7)
        await socket.send("presence", "presence.update", "p", cursor=8)
        while (await other.receive_until("presence.updated"))["payload"]["cursor"] != 8:
            pass
    assert (await socket.receive_until("presence.left"))["payload"]["id"] == joined["id"]


async def play_endings(stage: Stage) -> None:
    socket, ada = stage.socket, stage.ada
    project = await ada.project()
    for channel in CHANNELS:
        fields = {"project_id": project["id"]} if channel in {"runs", "presence"} else {}
        await socket.subscribe(channel, channel, **fields)
        assert (await socket.subscribe(channel, channel, **fields))["payload"]["code"] == "subscription_id_taken"
        await socket.send(channel, "unsubscribe", channel)
        await socket.receive_until("unsubscribed", channel)


async def play_resets(stage: Stage) -> None:
    socket, ada = stage.socket, stage.ada
    project = await ada.project()
    for channel in DURABLE:
        fields = {"project_id": project["id"]} if channel == "runs" else {}
        await socket.subscribe(channel, channel, after="999999999999", **fields)
        reset = await socket.receive_until("reset", channel)
        assert int(reset["payload"]["position"].split("-")[1]) >= ada.last.value
        await socket.receive_until("live", channel)
        await socket.send(channel, "unsubscribe", channel)
        await socket.receive_until("unsubscribed", channel)


PLAYS: Final[Mapping[str, Play]] = {
    "connection": play_connection,
    "runs": play_runs,
    "deltas": play_deltas,
    "tasks": play_tasks,
    "announcements": play_announcements,
    "presence": play_presence,
    "endings": play_endings,
    "resets": play_resets,
}


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def checked_socket(ada: Caller, recorder: Recorder) -> AsyncIterator[CheckedSocket]:
    async with open_socket(ada.as_user(ada.user_id)) as socket:
        recorder.seen.add((Sender.SERVER, "connection", "opened"))
        yield CheckedSocket(socket.connection, recorder)


@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
async def test_the_messages_of_a_channel_are_as_described(
    checked_socket: CheckedSocket, ada: Caller, environment: Environment, play: Play
) -> None:
    await play(Stage(checked_socket, ada, environment))


async def test_a_slow_subscription_is_told_that_it_lags_and_loses_nothing(
    checked_socket: CheckedSocket, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await ada.project()
    workflow = await ada.workflow(HUMAN, project["id"])
    admin = ada.as_user(ada.user_id, scope="announcements:read announcements:write")
    fields: dict[str, dict[str, Any]] = {"runs": {"project_id": project["id"]}, "tasks": {}, "announcements": {}}
    for channel, named in fields.items():
        await checked_socket.subscribe(channel, channel, **named)
        await checked_socket.receive_until("live", channel)
    monkeypatch.setattr(watch, "MOST_UNTAKEN", 0)
    run = (await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {}})).json()
    await admin.post("/v1/announcements", {"title": "Maintenance"})
    told: dict[str, list[str]] = {channel: [] for channel in fields}
    topics: list[str] = []
    last = {"runs": "run.updated", "tasks": "task.waiting", "announcements": "announcement.published"}
    while not all({"resumed", last[channel]} <= set(events) for channel, events in told.items()) or (
        "step.waiting" not in topics
    ):
        message = await checked_socket.receive()
        told[message["channel"]].append(message["event"])
        topics += [message["payload"]["topic"]] if message["event"] == "run.updated" else []
    events = (await ada.get(f"/v1/runs/{run['id']}/events")).json()["items"]
    assert topics == [event["type"] for event in events]
    assert told["tasks"].count("task.waiting") == 1
    assert told["announcements"].count("announcement.published") == 1


async def test_a_process_that_stops_says_so_within_a_second(
    gateway_database: str, ada: Caller, environment: Environment, recorder: Recorder
) -> None:
    project = await ada.project()
    async with serving(gateway_database, Settings(), process_parts=frozenset({Part.GATEWAY})) as stopping:
        url = stopping.url.replace("http://", "ws://")
        assert url != environment.url
        async with ada.client.__class__(base_url=stopping.url) as client:
            caller = Caller(client=client, workspace_id=ada.workspace_id, user_id=ada.user_id)
            async with open_socket(caller) as socket:
                checked_socket = CheckedSocket(socket.connection, recorder)
                await checked_socket.subscribe("runs", "r", project_id=project["id"])
                stopping.drain.begin()
                async with asyncio.timeout(1):
                    closing = (await checked_socket.receive_until("closing"))["payload"]
                    await socket.connection.wait_closed()
                assert (closing["code"], closing["reason"]) == (1012, "draining")
                assert 200 <= closing["retry_ms"] <= 3_000
                assert socket.connection.close_code == 1012


async def test_an_agent_is_present_while_it_works_on_a_step(database: str) -> None:
    await migrate(database, COMPONENTS)
    with WebServer() as web:
        settings = Settings(outgoing=OutgoingSettings(allowed=AllowList(f"127.0.0.1:{web.port}")))
        async with serving(database, settings) as own, httpx2.AsyncClient(base_url=own.url, timeout=30) as client:
            ada = Caller(client=client, workspace_id=new_id(), user_id="usr_ada")
            config = {"method": "GET", "url": web.url("/slow")}
            node = {"id": "call", "kind": "http", "config": config, "timeout_seconds": 60}
            workflow = await ada.workflow({"nodes": [node], "edges": []})
            async with open_socket(ada) as socket:
                await socket.subscribe("presence", "p", project_id=workflow["project_id"])
                run = (await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": {}})).json()
                joined = (await socket.receive_until("presence.joined"))["payload"]
                assert (joined["kind"], joined["run_id"], joined["node"], joined["attempt"]) == (
                    "agent",
                    run["id"],
                    "call",
                    1,
                )
                await ada.post(f"/v1/runs/{run['id']}:cancel", {})
                assert (await socket.receive_until("presence.left"))["payload"]["id"] == joined["id"]


async def test_what_a_model_writes_is_kept_until_its_step_ends(ada: Caller, environment: Environment) -> None:
    config = {"model": "scripted/x", "template": "Write a page."}
    run = await ada.ended_run({"nodes": [{"id": "draft", "kind": "prompt", "config": config}], "edges": []}, {})
    assert run["status"] == "completed"
    assert list(environment.core.bus.deltas.list_written(to_uuid("run", run["id"]))) == []


def test_every_kind_of_message_was_sent_and_received(recorder: Recorder) -> None:
    assert recorder.seen == set(KINDS), "run this file as a whole"
