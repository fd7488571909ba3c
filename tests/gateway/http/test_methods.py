"""HEAD and OPTIONS, of every operation."""

import pytest

from gateway.catalog import OPERATIONS
from gateway.operations.operation import Method, Operation
from tests.gateway.operations.test_every_operation import create_unknown_ids, fill_path
from tests.support.gateway.given import Caller, sign_token

PATHS = sorted({operation.path for operation in OPERATIONS})
READING = [operation for operation in OPERATIONS if operation.method is Method.GET]


@pytest.mark.parametrize("operation", READING, ids=lambda operation: operation.operation_id)
async def test_head_is_answered_as_get_without_its_body(ada: Caller, operation: Operation) -> None:
    headers = {"authorization": f"Bearer {sign_token(ada.workspace_id, ada.user_id)}"}
    path = fill_path(operation, create_unknown_ids())
    got = await ada.client.request("GET", path, headers=headers)
    head = await ada.client.request("HEAD", path, headers=headers)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize("path", PATHS)
async def test_options_and_405_name_every_method_of_the_path(ada: Caller, path: str) -> None:
    operations = [operation for operation in OPERATIONS if operation.path == path]
    expected = {"OPTIONS", *(operation.method.value for operation in operations)}
    if "GET" in expected:
        expected.add("HEAD")
    filled = fill_path(operations[0], create_unknown_ids())
    options = await ada.client.request("OPTIONS", filled)
    refused = await ada.client.request("TRACE", filled)
    assert (options.status_code, options.content, refused.status_code) == (204, b"", 405)
    assert {name.strip() for name in options.headers["allow"].split(",")} == expected
    assert options.headers["allow"] == refused.headers["allow"]
