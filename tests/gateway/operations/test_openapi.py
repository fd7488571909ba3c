"""The OpenAPI document describes every operation from its declaration."""

import re
from typing import Any

import msgspec
import pytest

from gateway.catalog import OPERATIONS, encode_openapi
from gateway.operations.operation import Operation
from gateway.operations.problem_codes import list_problem_codes
from gateway.operations.query import describe_query

EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.operation_id)


def load_document() -> dict[str, Any]:
    return msgspec.json.decode(encode_openapi())


@EACH
def test_an_operation_is_documented_as_declared(operation: Operation) -> None:
    documented = load_document()["paths"][operation.path][operation.method.lower()]
    assert documented["operationId"] == operation.operation_id
    names = {parameter["name"] for parameter in documented.get("parameters", ())}
    assert names >= {parameter.name for parameter in operation.path_parameters}
    assert names >= {parameter.name for parameter in describe_query(operation.query)}
    statuses = {response.status for response in operation.responses} | set(list_problem_codes(operation).values())
    assert documented["responses"].keys() == {str(status) for status in statuses}
    assert ("requestBody" in documented) == (operation.body is not None or operation.takes_file)
    assert documented["security"] == ([{"token": [operation.scope]}] if operation.scope is not None else [])


def test_every_reference_of_the_document_resolves() -> None:
    schemas = load_document()["components"]["schemas"]
    references = re.findall(rb'"\$ref":"#/components/schemas/([^"]+)"', encode_openapi())
    assert references
    assert {name.decode() for name in references} <= schemas.keys()
