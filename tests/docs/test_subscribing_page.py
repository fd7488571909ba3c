"""The page for subscribers says what is published, and what it has its readers type works."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import nats
import pytest

from bus.cloudevents import Event, decode_envelope
from bus.nats.subjects import format_subject
from callsheet.demo.server import start_server
from callsheet.settings.load import list_variables
from domain.ids import to_uuid
from store.log.identity import create_identity
from tests.docs.test_first_session import run_script
from tests.support.bus.given import migrate_components, open_process, wait_until_published
from tests.support.docs.topics import format_tables
from tests.support.examples.subscribers import (
    PROGRAMS,
    TYPESCRIPT,
    Program,
    Subscriber,
    count_expected,
    record_workflow_with_runs,
)
from tests.support.servers.nats import NatsForTests
from tests.support.servers.node import NODE_FOLDER, install_node_packages

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

PAGE = (Path(__file__).parents[2] / "docs" / "subscribing.md").read_text()
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONFIGURATION = re.compile(r"^```text\n(accounts.*?)^```", re.MULTILINE | re.DOTALL)
ENVELOPE = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)
FIELD_ROW = re.compile(r"^\| (`[a-z]+`(?:, `[a-z]+`)*) \| ", re.MULTILINE)
COUNTED = re.compile(r"^\d{4}-\d\d-\d\d  Tagline +3 +\d +0 +0 ", re.MULTILINE)


def read_envelope() -> dict[str, Any]:
    """Return the event on the page."""
    (text,) = ENVELOPE.findall(PAGE)
    return msgspec.json.decode(text)


def find_limited_workspace() -> str:
    """Return the one workspace that the page's permissions let ana read."""
    (found,) = set(re.findall(r"\.callsheet\.v1\.(ws_\w+)\.>", PAGE))
    return found


def test_every_topic_is_on_the_page_with_its_fields() -> None:
    assert format_tables() in PAGE, "python -m tests.support.docs.topics prints what has to stand there"


def test_every_field_of_an_envelope_is_explained() -> None:
    section = PAGE.split("## What does a message contain?")[1].split("\n### ")[0]
    explained = {name for row in FIELD_ROW.findall(section) for name in re.findall(r"`([a-z]+)`", row)}
    assert set(Event.__struct_encode_fields__) - explained == {"specversion", "data_base64"}
    assert "`data_base64`" in section


def test_the_event_on_the_page_is_one_that_we_publish_on_that_subject() -> None:
    event = read_envelope()
    fact = decode_envelope(create_identity(UUID(event["source"].removeprefix("urn:uuid:"))), msgspec.json.encode(event))
    subject = format_subject(fact.workspace_id, fact.project_id, event["type"])
    assert f"| `{subject}` | " in PAGE


def test_the_settings_of_the_stream_have_the_defaults_of_the_page() -> None:
    on_the_page = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \| ", PAGE, re.MULTILINE))
    assert len(on_the_page) == 5
    assert on_the_page.items() <= {variable.name: str(variable.default) for variable in list_variables()}.items()


@pytest.mark.long
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
async def test_the_steps_of_the_page_end_with_the_counts(
    database: str, nats_server: NatsForTests, tmp_path: Path
) -> None:
    install_node_packages(TYPESCRIPT)
    _, dev, give, python, typescript = SHELL.findall(PAGE.split("## Which subjects are there?")[0])
    assert dev == "NATS_URL=nats://127.0.0.1:4222 make dev\n"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")},
        "DATABASE_URL": database,
        "CALLSHEET_DATA_DIRECTORY": str(tmp_path),
        "NATS_URL": nats_server.url,
    }
    backfill = SHELL.findall(PAGE.split("## How do I backfill")[1])[0]
    script = "".join(adapt_block(block, tmp_path) for block in (give, python, typescript, backfill))
    async with start_server(environ) as url:
        said = await run_script(script.replace("http://localhost:8000", url), environ)
    assert len(COUNTED.findall(said)) == 3


def adapt_block(block: str, folder: Path) -> str:
    """Return a block with this Python, and with files in a folder of the test."""
    python = shlex.quote(sys.executable)
    for there, here in (
        (r"^(PATH=|\(cd ).*\n", ""),  # done by install_node_packages
        (r"^node ", f"{shlex.quote(str(NODE_FOLDER / 'node'))} "),
        (r"subscriber\.(py|ts) ", rf"subscriber.\1 --database {folder}/\1.db "),
        (r"events\.jsonl", f"{folder}/events.jsonl"),
        (r"(?<!/)\.venv/bin/python ", f"{python} "),
        (r"(?<!/)\.venv/bin/callsheet ", f"{python} -m callsheet "),
    ):
        block = re.sub(there, here, block, flags=re.MULTILINE)
    return block


class NatsWithUsers(NatsForTests):
    """A server with the configuration on the page; Callsheet connects as its own user."""

    @property
    def url(self) -> str:
        return self.build_url("callsheet", "c")

    def build_url(self, user: str, password: str) -> str:
        """Return the URL for a user."""
        return super().url.replace("nats://", f"nats://{user}:{password}@")


@pytest.fixture
def with_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[NatsWithUsers]:
    """A server that knows ana."""
    monkeypatch.setenv("CALLSHEET_NATS_PASSWORD", "c")
    monkeypatch.setenv("ANA_PASSWORD", "a")
    configuration = tmp_path / "nats.conf"
    configuration.write_text(CONFIGURATION.findall(PAGE)[0])
    server = NatsWithUsers("-c", str(configuration))
    yield server
    server.destroy()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
async def test_a_user_of_one_workspace_counts_that_one_and_may_not_ask_for_more(
    database: str, with_users: NatsWithUsers, program: Program, tmp_path: Path
) -> None:
    install_node_packages(TYPESCRIPT)
    await migrate_components(database)
    ws, as_ana = find_limited_workspace(), ("--nats-url", with_users.build_url("ana", "a"))
    async with open_process(database, with_users, relays=True) as first:
        await record_workflow_with_runs(first.log, 2)
        await wait_until_published(first, await record_workflow_with_runs(first.log, 3, workspace=to_uuid("ws", ws)))
        ana = Subscriber(program, with_users, tmp_path / "ana.db", *as_ana, "--inbox-prefix", "_INBOX_ana")
        report = await ana.run_and_report("--once", "--workspace", ws, "--durable", "ana")
        assert report["workflows"] == await count_expected(first.log, workspace=to_uuid("ws", ws))
        code, _, why = await ana.run_to_end("--once", "--durable", "all", "--database", str(tmp_path / "all.db"))
        assert (code, "permissions violation" in why.lower()) == (2, True), why


async def test_the_server_holds_a_user_to_the_workspace_in_the_subject(
    database: str, with_users: NatsWithUsers
) -> None:
    await migrate_components(database)
    async with open_process(database, with_users, relays=True) as first:
        await wait_until_published(first, await record_workflow_with_runs(first.log, 1))
    wider = {"durable_name": "ana", "name": "ana", "filter_subject": "callsheet.v1.>", "ack_policy": "explicit"}
    request = msgspec.json.encode({"stream_name": "CALLSHEET", "config": wider})
    create = f"$JS.API.CONSUMER.CREATE.CALLSHEET.ana.callsheet.v1.{find_limited_workspace()}.>"
    ana = await nats.connect(with_users.build_url("ana", "a"), allow_reconnect=False, inbox_prefix=b"_INBOX_ana")
    try:
        answer = msgspec.json.decode((await ana.request(create, request)).data)
        assert "error" in answer, answer
        assert "did not match filtered subject" in answer["error"]["description"]
    finally:
        await ana.close()
