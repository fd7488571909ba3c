"""API keys: `GET/POST /v1/api-keys`, `POST /v1/api-keys/{keyId}:revoke`."""

import secrets
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from commands.aggregates import API_KEY
from commands.api_key import CreateApiKey, RevokeApiKey
from domain.api_key import ApiKey, ApiKeyNotFound, ApiKeyStatus
from domain.folded import Folded
from domain.ids import from_uuid
from domain.project import ProjectNotFound
from domain.refusal import Problem
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.ids import format_id, parse_id
from gateway.http.rejections import BodyUnacceptable, NotPermitted
from gateway.identity.api_key_text import SECRET_BYTES, encode_secret, format_api_key, hash_secret
from gateway.identity.caller import Caller
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import (
    CHANGE_HEADERS,
    DeclaredResponse,
    Method,
    Operation,
    PathId,
    RequestBody,
    respond_changed,
    respond_page,
)
from gateway.operations.paging import PageRequest
from gateway.operations.results import Page, Result
from gateway.projects import Name

KEY_ID: Final = PathId("keyId", "key", ApiKeyNotFound)


class NewApiKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An API key to create. It acts for the caller, with these scopes, and in these projects if any are listed."""

    name: Name
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=100)]
    project_ids: Annotated[tuple[str, ...], Meta(min_length=1, max_length=100)] | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class Revocation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of a revocation: no field is needed."""


class ApiKeyBody(Struct, frozen=True, kw_only=True):
    """An API key. `secret` is the key itself, and is in the first response to its creation only.

    `last_used_at` is up to a minute late. `project_ids` is null if the key is not bound to projects.
    """

    id: str
    name: str
    status: ApiKeyStatus
    user_id: str
    scopes: tuple[str, ...]
    project_ids: tuple[str, ...] | None
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    secret: str | UnsetType = UNSET


class ApiKeyQuery(Struct, frozen=True, kw_only=True):
    """Query of a list of API keys."""

    page: PageRequest
    status: ApiKeyStatus | None = None


def create_api_key_body(
    folded: Folded[ApiKey], *, last_used_at: datetime | None = None, secret: str | UnsetType = UNSET
) -> ApiKeyBody:
    """Return an API key as it is sent."""
    key, projects = folded.state, folded.state.project_ids
    return ApiKeyBody(
        id=from_uuid("key", folded.stream_id),
        name=key.name,
        status=key.status,
        user_id=key.user_id,
        scopes=key.scopes,
        project_ids=None if projects is None else tuple(format_id("prj", project_id) for project_id in projects),
        expires_at=key.expires_at,
        last_used_at=last_used_at,
        created_at=folded.created_at,
        updated_at=folded.updated_at,
        secret=secret,
    )


async def list_api_keys(request: RequestContext[ApiKeyQuery, None], deps: Deps) -> Page:
    """List the API keys of the workspace."""
    query = request.query
    listing = await deps.api_keys.list(
        request.workspace_id,
        status=query.status,
        limit=query.page.limit,
        cursor=query.page.cursor,
        sort=query.page.sort,
    )
    uses = await deps.credential_uses.read([folded.stream_id for folded in listing.items])
    items = [create_api_key_body(folded, last_used_at=uses.get(folded.stream_id)) for folded in listing.items]
    return Page(items=items, next_cursor=listing.next)


LIST_API_KEYS: Final = Operation(
    method=Method.GET,
    path="/v1/api-keys",
    operation_id="listApiKeys",
    tag="api-keys",
    summary="List the API keys of the workspace, without their secrets.",
    scope=Scope.KEYS_ADMIN,
    query=ApiKeyQuery,
    responses=(respond_page(ApiKeyBody, "A page of API keys."),),
    reads=("projects",),
    handler=list_api_keys,
)


async def create_api_key(request: RequestContext[None, NewApiKey], deps: Deps) -> Result:
    """Create an API key. A repeated request does not show the secret again, since it is not stored."""
    new, caller = request.body, request.caller
    problems = _find_scope_problems(caller, new.scopes)
    projects = None if new.project_ids is None else await _read_projects(deps, caller, new.project_ids, problems)
    if new.expires_at is not None and new.expires_at <= deps.clock():
        problems.append(Problem("/expires_at", "must be in the future"))
    if problems and not await request.is_repeated(API_KEY):
        raise BodyUnacceptable(problems=tuple(problems))
    if projects is None and caller.project_ids is not None:
        projects = tuple(sorted(caller.project_ids))
    key_id = deps.make_id()
    secret = encode_secret(secrets.token_bytes(SECRET_BYTES))
    command = CreateApiKey(
        target_id=key_id,
        name=new.name,
        user_id=caller.user_id,
        scopes=tuple(dict.fromkeys(scope.value for scope in new.scopes)),
        project_ids=projects,
        secret_hash=hash_secret(secret),
        expires_at=new.expires_at,
    )
    outcome = await request.execute(command)
    body = create_api_key_body(outcome.loaded, secret=UNSET if outcome.replayed else format_api_key(key_id, secret))
    return Result.of_change(outcome, body)


def _find_scope_problems(caller: Caller, scopes: tuple[Scope, ...]) -> list[Problem]:
    return [
        Problem(f"/scopes/{index}", f"must be a scope of your own credential, which `{scope}` is not")
        for index, scope in enumerate(scopes)
        if not caller.has_scope(scope)
    ]


async def _read_projects(
    deps: Deps, caller: Caller, texts: tuple[str, ...], problems: list[Problem]
) -> tuple[UUID, ...]:
    """Return the projects that a key is bound to; adds a problem for each that the caller cannot see."""
    found: dict[UUID, None] = {}
    for index, text in enumerate(texts):
        try:
            project_id = parse_id("prj", text)
            await deps.access.check_project(caller, project_id, (Permission.READ,))
        except (ValueError, ProjectNotFound, NotPermitted):
            problems.append(Problem(f"/project_ids/{index}", "must be the id of a project that you can see"))
        else:
            found[project_id] = None
    return tuple(found)


CREATE_API_KEY: Final = Operation(
    method=Method.POST,
    path="/v1/api-keys",
    operation_id="createApiKey",
    tag="api-keys",
    summary="Create an API key that acts for the caller. Its `secret` is shown once.",
    scope=Scope.KEYS_ADMIN,
    body=RequestBody(type=NewApiKey),
    responses=(
        DeclaredResponse(
            status=201, description="The new API key with its secret.", body=ApiKeyBody, headers=CHANGE_HEADERS
        ),
    ),
    idempotent_by_key=True,
    compresses=False,
    handler=create_api_key,
)


async def revoke_api_key(request: RequestContext[None, Revocation], deps: Deps) -> Result:
    """Revoke an API key. This process refuses it before the answer is sent; the others notice it in the log."""
    outcome = await request.execute(RevokeApiKey(target_id=request.target_id, user_id=request.caller.user_id))
    deps.identity.forget_key(request.target_id)
    deps.open_requests.end_key(request.target_id)
    return Result.of_change(outcome, create_api_key_body(outcome.loaded))


REVOKE_API_KEY: Final = Operation(
    method=Method.POST,
    path="/v1/api-keys/{keyId}:revoke",
    operation_id="revokeApiKey",
    tag="api-keys",
    summary="Revoke an API key for good. Its open event streams end.",
    scope=Scope.KEYS_ADMIN,
    path_parameters=(KEY_ID,),
    body=RequestBody(type=Revocation, optional=True),
    responses=(respond_changed(ApiKeyBody, "The revoked API key."),),
    idempotent_by_key=True,
    handler=revoke_api_key,
)

OPERATIONS: Final = (LIST_API_KEYS, CREATE_API_KEY, REVOKE_API_KEY)
