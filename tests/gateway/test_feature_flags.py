"""Feature flags over HTTP: evaluated for workspace and user, reloaded, pinned by runs, and obeyed."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from msgspec import Struct

from callsheet.settings.load import Settings
from domain.ids import from_uuid
from gateway.flags.flags import FeatureFlags, FlagsUnusable
from gateway.settings import FlagSettings
from tests.support.gateway.given import (
    PATIENCE_SECONDS,
    TRANSFORM_CHAIN,
    Caller,
    expect_problem,
    new_id,
    serving,
)
from tests.support.waiting import eventually

DEFAULTS: Final = {"steps-http": True, "steps-map": True, "forks": True, "presence": True}
HTTP_STEP: Final[dict[str, Any]] = {
    "nodes": [{"id": "call", "kind": "http", "config": {"method": "GET", "url": "https://example.com/"}}]
}


def boolean(targeting: dict[str, Any] | None = None, default: str = "on") -> dict[str, Any]:
    flag: dict[str, Any] = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": default}
    return flag if targeting is None else {**flag, "targeting": targeting}


def off_for(attribute: str, value: str) -> dict[str, Any]:
    return boolean({"if": [{"==": [{"var": attribute}, value]}, "off", "on"]})


class FlagServer(Struct):
    """A caller of a server with a file of flags."""

    caller: Caller
    file: Path

    def write(self, **flags: dict[str, Any]) -> None:
        self.file.write_text(json.dumps({"flags": {name.replace("_", "-"): flag for name, flag in flags.items()}}))

    async def read(self, caller: Caller | None = None) -> dict[str, Any]:
        return (await (caller or self.caller).get("/v1/feature-flags")).json()["flags"]

    async def becomes(self, name: str, value: object) -> None:
        async def has_value() -> bool:
            return (await self.read()).get(name) == value

        await eventually(has_value, what=f"the flag {name} is {value}")


@pytest.fixture
async def flags(gateway_database: str, tmp_path: Path) -> AsyncGenerator[FlagServer]:
    file = tmp_path / "flags.json"
    file.write_text('{"flags": {}}')
    settings = Settings(flags=FlagSettings(file=file, refresh_seconds=0.05))
    async with (
        serving(gateway_database, settings) as found,
        httpx2.AsyncClient(base_url=found.url, timeout=PATIENCE_SECONDS) as client,
    ):
        yield FlagServer(Caller(client=client, workspace_id=new_id(), user_id="usr_ada"), file)


async def test_without_a_file_every_flag_has_its_default(ada: Caller) -> None:
    assert (await ada.get("/v1/feature-flags")).json() == {"flags": DEFAULTS}
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    events = (await ada.get(f"/v1/runs/{run['id']}/events")).json()["items"]
    assert "flags" not in events[0]["data"]["pins"]


async def test_flags_are_evaluated_per_workspace_and_user_and_obeyed(flags: FlagServer) -> None:
    ada, bob = flags.caller, flags.caller.as_user("usr_bob")
    elsewhere = ada.to(new_id())
    assert await flags.read() == DEFAULTS
    banner: dict[str, Any] = {"state": "ENABLED", "variants": {"a": "Hello"}, "defaultVariant": "a"}
    workspace = from_uuid("ws", ada.workspace_id)
    flags.write(steps_http=off_for("workspace", workspace), forks=off_for("targetingKey", "usr_ada"), banner=banner)
    await flags.becomes("steps-http", value=False)
    assert await flags.read() == {**DEFAULTS, "steps-http": False, "forks": False, "banner": "Hello"}
    assert await flags.read(bob) == {**DEFAULTS, "steps-http": False, "banner": "Hello"}
    assert await flags.read(elsewhere) == {**DEFAULTS, "forks": False, "banner": "Hello"}

    workflow = await ada.workflow(HTTP_STEP)
    outer = await ada.workflow(
        {"nodes": [{"id": "inner", "kind": "workflow", "config": {"workflow_id": workflow["id"]}}]},
        workflow["project_id"],
    )
    for refused in (workflow, outer):
        answer = await ada.post(f"/v1/workflows/{refused['id']}:run", {})
        assert "`steps-http`" in expect_problem(answer, 403, "feature_switched_off")["detail"]
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    expect_problem(await ada.post(f"/v1/runs/{run['id']}:fork", {"node": "two"}), 403, "feature_switched_off")
    events = (await ada.get(f"/v1/runs/{run['id']}/events")).json()["items"]
    assert events[0]["data"]["pins"]["flags"] == {"steps-http": False, "steps-map": True, "forks": False}

    flags.write()
    await flags.becomes("forks", value=True)
    assert (await ada.post(f"/v1/runs/{run['id']}:fork", {"node": "two"})).status_code == 202


async def test_a_file_with_a_mistake_changes_nothing(flags: FlagServer) -> None:
    flags.write(forks=boolean(default="off"))
    await flags.becomes("forks", value=False)
    for mistake in ("{", "[]", '{"flags": []}', '{"flags": {"forks": {"state": "MAYBE"}}}', '{"flags": {"forks": 7}}'):
        flags.file.write_text(mistake)
        written = flags.file.stat().st_mtime_ns
        assert (await flags.read())["forks"] is False, written
    flags.file.unlink()
    assert (await flags.read())["forks"] is False
    broken: dict[str, Any] = {"if": [{"no such operator": []}, "off", "on"]}
    flags.write(forks=boolean(broken), steps_map=boolean(default="off"))
    await flags.becomes("steps-map", value=False)
    assert (await flags.read())["forks"] is True, "a flag that cannot be evaluated has its default"


@pytest.mark.parametrize("content", [None, "{", '{"flags": {"forks": {"variants": []}}}'])
def test_a_file_that_cannot_be_used_at_the_start_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "flags.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(FlagsUnusable):
        FeatureFlags(FlagSettings(file=file))
