"""Feature flags: read from a flagd file that reloads, and evaluated per workspace and user through OpenFeature."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import structlog
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError
from uuid_utils.compat import uuid4

from domain.ids import from_uuid
from domain.runs.features import FORKS, STEP_FLAGS
from domain.runs.refusals import FeatureSwitchedOff
from gateway.flags.provider import FlagdFileProvider
from gateway.identity.caller import Caller
from gateway.settings import FlagSettings
from store.lru import LruCache
from store.outage_log import OutageLog

BYTES_MAX: Final = 1024 * 1024
CACHED_MAX: Final = 10_000
PINNED: Final = frozenset({*STEP_FLAGS.values(), FORKS})
"""The flags that decide about runs: a run pins them."""
DEFAULTS: Final[Mapping[str, object]] = dict.fromkeys((*STEP_FLAGS.values(), FORKS, "presence"), True)
"""Callsheet's own flags. All are true unless the file says otherwise."""


class FlagsUnusable(Exception):  # noqa: N818  # an answer to the operator
    """The file of feature flags cannot be used; the message says why."""


class FeatureFlags:
    """The feature flags of a process. Without a file every flag has its default."""

    def __init__(self, settings: FlagSettings) -> None:
        """Read the file, if one is set. Raises FlagsUnusable."""
        self._settings = settings
        self._content = b""
        self._kinds: dict[str, object] = {}
        self._provider = FlagdFileProvider()
        self._evaluated = LruCache[tuple[int, str], Mapping[str, object]](CACHED_MAX)
        self._logger = structlog.get_logger("gateway.flags")
        self._client: OpenFeatureClient | None = None
        if settings.file is not None:
            self._replace(read_definition(settings.file))
            # OpenFeature keeps providers by domain; one of its own keeps the gateways of a process apart.
            domain = f"callsheet-{uuid4()}"
            api.set_provider_and_wait(self._provider, domain)
            self._client = api.get_client(domain)

    def evaluate(self, caller: Caller) -> Mapping[str, object]:
        """Return every flag as it is for a caller. A flag that cannot be evaluated has its default."""
        client = self._client
        if client is None:
            return DEFAULTS
        key = (caller.workspace_id.int, caller.user_id)
        found = self._evaluated.get(key)
        if found is None:
            workspace = from_uuid("ws", caller.workspace_id)
            context = EvaluationContext(caller.user_id, {"workspace": workspace, "user": caller.user_id})
            found = {name: _evaluate(client, name, kind, context) for name, kind in self._kinds.items()}
            self._evaluated.put(key, found)
        return found

    def list_pinned(self, caller: Caller) -> dict[str, object]:
        """Return the flags that a run pins: none without a file."""
        if self._client is None:
            return {}
        return {name: value for name, value in self.evaluate(caller).items() if name in PINNED}

    def require(self, caller: Caller, flag: str) -> None:
        """Raise FeatureSwitchedOff if a flag is false for a caller."""
        if self.evaluate(caller)[flag] is False:
            raise FeatureSwitchedOff(f"This is switched off here (feature flag `{flag}`).")

    async def run(self) -> None:
        """Read the file again at intervals, until cancelled. The last one that could be used is kept."""
        if self._settings.file is None:
            return
        outages = OutageLog("gateway.flags", lost="flags.not_reloaded", back="flags.reloaded")
        while True:
            await asyncio.sleep(self._settings.refresh_seconds)
            self._evaluated.clear()  # targeting may depend on the time
            try:
                self._replace(await asyncio.to_thread(read_definition, self._settings.file))
            except FlagsUnusable as fault:
                outages.note_failure(str(fault))
            else:
                outages.note_success()

    def _replace(self, content: bytes) -> None:
        """Replace the flags if the file has changed. Raises FlagsUnusable."""
        if content == self._content:
            return
        definition = parse_definition(content)
        try:
            self._provider.replace(definition)
        except (OpenFeatureError, ValueError, TypeError, AttributeError, KeyError) as fault:
            raise FlagsUnusable(f"the file {self._settings.file} is no flagd definition: {fault}") from fault
        own = {name: _find_kind(flag) for name, flag in definition["flags"].items()}
        self._kinds = {**DEFAULTS, **{name: kind for name, kind in own.items() if name not in DEFAULTS}}
        self._content = content
        self._evaluated.clear()
        self._logger.info("flags.loaded", flags=len(own))


def read_definition(file: Path) -> bytes:
    """Return the content of a file. Raises FlagsUnusable."""
    try:
        with file.open("rb") as opened:
            content = opened.read(BYTES_MAX + 1)
    except OSError as fault:
        raise FlagsUnusable(f"the file {file} cannot be read: {fault.strerror}") from fault
    if len(content) > BYTES_MAX:
        raise FlagsUnusable(f"the file {file} is larger than {BYTES_MAX} bytes")
    return content


def parse_definition(content: bytes) -> dict[str, Any]:
    """Return a flagd definition: an object with an object `flags`. Raises FlagsUnusable."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise FlagsUnusable(f"the feature flags are not JSON: {fault}") from fault
    definition = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
    if not isinstance(definition.get("flags"), dict):
        raise FlagsUnusable("the feature flags must be an object with an object `flags`")
    return definition


def _find_kind(flag: dict[str, Any]) -> object:
    """Return a value of the type that the variants of a flag have: flagd's definition does not name the type."""
    return next(iter(flag["variants"].values()))


def _evaluate(client: OpenFeatureClient, name: str, kind: object, context: EvaluationContext) -> object:
    """Return the value of a flag; for Callsheet's own flags `kind` is the default."""
    match kind:
        case bool():
            return client.get_boolean_value(name, DEFAULTS.get(name) is True, context)
        case int() | float():
            return client.get_float_value(name, 0.0, context)
        case str():
            return client.get_string_value(name, "", context)
        case _:
            return client.get_object_value(name, {}, context)
