"""The declarations of all operations: complete, consistent, and the only way to be reachable."""

import importlib
import inspect
import pkgutil
import re
import typing
from types import NoneType
from typing import Any

import pytest

import gateway
from gateway.catalog import OPERATIONS
from gateway.operations.context import RequestContext
from gateway.operations.operation import Method, Operation, PathId
from gateway.operations.query import describe_query
from tests.support.gateway.given import Caller, expect_problem

EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.operation_id)


def find_declared() -> list[Operation]:
    """Return every operation that a module of the gateway declares."""
    modules = pkgutil.walk_packages(gateway.__path__, "gateway.")
    loaded = (importlib.import_module(found.name) for found in modules)
    return [value for module in loaded for value in vars(module).values() if isinstance(value, Operation)]


def test_every_declared_operation_is_served() -> None:
    served = {operation.operation_id for operation in OPERATIONS}
    assert {operation.operation_id for operation in find_declared()} == served
    assert len(served) == len(OPERATIONS)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)


@EACH
def test_the_path_names_its_declared_parameters(operation: Operation) -> None:
    assert re.findall(r"\{(\w+)\}", operation.path) == [parameter.name for parameter in operation.path_parameters]


@EACH
def test_an_operation_on_something_in_a_project_declares_a_permission(operation: Operation) -> None:
    ids = [parameter for parameter in operation.path_parameters if isinstance(parameter, PathId)]
    assert (operation.permission is not None) == any(parameter.prefix not in {"key", "ann"} for parameter in ids)


@EACH
def test_a_handler_takes_the_declared_query_and_body(operation: Operation) -> None:
    hints: dict[str, Any] = typing.get_type_hints(operation.handler)
    request = hints[next(iter(inspect.signature(operation.handler).parameters))]
    query, body = typing.get_args(request)
    assert typing.get_origin(request) is RequestContext
    assert query is (operation.query or NoneType)
    assert body is (operation.body.type if operation.body is not None else NoneType)


@EACH
def test_request_bodies_refuse_unknown_fields(operation: Operation) -> None:
    if operation.body is not None:
        assert operation.body.type.__struct_config__.forbid_unknown_fields


@EACH
def test_writes_have_a_body_and_reads_wait_for_positions(operation: Operation) -> None:
    assert (operation.body is not None or operation.takes_file) == (operation.method is not Method.GET)
    assert operation.if_match == (operation.method is Method.PATCH)
    assert all(" " not in parameter.name for parameter in describe_query(operation.query))
    if operation.method is Method.GET:
        assert not operation.idempotent_by_key


@pytest.mark.parametrize("path", ["/schema", "/docs/openapi.json", "/docs/swagger", "/v1", "/", "/openapi.json"])
async def test_what_is_not_declared_is_not_reachable(ada: Caller, path: str) -> None:
    expect_problem(await ada.get(path), 404, "not_found")
