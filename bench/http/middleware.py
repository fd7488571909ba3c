"""CPU time that identity, permission, limits and trace take of a request, in this process and without a socket."""

import asyncio
import secrets
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from msgspec.structs import replace
from uuid_utils.compat import uuid7

from callsheet.settings.development import accept_development_tokens
from callsheet.settings.load import Settings
from callsheet.wiring.core import Part, open_core
from callsheet.wiring.gateway import create_gateway
from commands.handler import Context
from commands.project import CreateProject
from domain.project import ProjectNotFound
from domain.setting_types import SigningSecret
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.drain import Drain
from gateway.http.trace import join_trace
from gateway.identity.development_tokens import sign_development_token
from gateway.identity.scopes import Scope
from gateway.settings import IdentitySettings, LimitSettings
from store.log.records import Actor, Metadata

USER: Final = "usr_bench"
ROUNDS: Final = 5
LIMITS: Final = LimitSettings(
    workspace_per_second=1_000_000, workspace_burst=10_000_000,
    credential_per_second=1_000_000, credential_burst=10_000_000,
)  # fmt: skip


async def measure_middleware(conninfo: str, requests: int) -> float:
    """Return the microseconds of CPU per request: the best of five rounds of `requests`, after one to warm up."""
    secret = SigningSecret(secrets.token_urlsafe(48))
    with tempfile.TemporaryDirectory(prefix="callsheet-bench-") as directory:
        defaults = Settings(limit=LIMITS)
        settings = replace(defaults, data=replace(defaults.data, directory=Path(directory)))
        parts = frozenset({Part.GATEWAY})
        async with open_core(settings, conninfo, name="bench", secret=secret, parts=parts) as core:
            deps = create_gateway(core, accept_development_tokens(settings), secret, Drain(core.feed)).deps
            running = asyncio.create_task(core.run())
            try:
                await core.log.wait_until_connected()
                workspace_id, project_id = uuid7(), uuid7()
                await _create_project(deps, workspace_id, project_id)
                headers = _create_headers(secret, workspace_id)
                rounds = [await _measure_round(deps, headers, project_id, requests) for _ in range(ROUNDS + 1)]
            finally:
                running.cancel()
    return round(min(rounds[1:]), 1)


async def _create_project(deps: Deps, workspace_id: UUID, project_id: UUID) -> None:
    metadata = Metadata(actor=Actor("user", USER), correlation_id="bench")
    await deps.handler.execute(
        CreateProject(target_id=project_id, name="bench", owner=USER),
        Context(workspace_id=workspace_id, metadata=metadata),
    )


def _create_headers(secret: SigningSecret, workspace_id: UUID) -> Mapping[bytes, bytes]:
    token = sign_development_token(
        secret.reveal().encode(),
        workspace_claim=IdentitySettings().workspace_claim,
        workspace_id=workspace_id,
        user_id=USER,
        now=datetime.now(UTC),
        lasts=timedelta(hours=1),
    )
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    return {b"authorization": f"Bearer {token}".encode(), b"traceparent": trace}


async def _measure_round(deps: Deps, headers: Mapping[bytes, bytes], project_id: UUID, requests: int) -> float:
    limiter = deps.limiter
    if limiter is None:
        raise RuntimeError("the limits are on")
    begun = time.process_time()
    for _ in range(requests):
        join_trace(headers.get(b"traceparent"), deps.make_id)
        caller = await deps.identity.identify(headers.get(b"authorization"))
        await limiter.admit(caller, 1)
        caller.require(Scope.PROJECTS_READ)
        await deps.access.check_target(caller, project_id, (Permission.READ,), ProjectNotFound)
    return (time.process_time() - begun) / requests * 1_000_000
