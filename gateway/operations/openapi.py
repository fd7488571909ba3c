"""The OpenAPI 3.1 document, created from operations."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Final

import msgspec
from litestar.openapi.spec import (
    Components,
    Info,
    OpenAPI,
    OpenAPIFormat,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Parameter,
    PathItem,
    Reference,
    Schema,
    SecurityScheme,
    Server,
)
from litestar.openapi.spec import Operation as DocumentedOperation
from litestar.openapi.spec import RequestBody as DocumentedBody
from msgspec import Struct

from gateway.http import problems
from gateway.operations.operation import DeclaredResponse, Operation, PathId, ResponseHeader
from gateway.operations.problem_codes import list_problem_codes
from gateway.operations.query import QueryParameter, describe_query

HEADER_DESCRIPTIONS: Final[Mapping[ResponseHeader, str]] = {
    ResponseHeader.ETAG: "The version of the resource, for `If-Match`.",
    ResponseHeader.LOCATION: "The path of the resource.",
    ResponseHeader.LINK: "The next page (`rel=next`).",
    ResponseHeader.POSITION: "Up to which position in the log the response has everything.",
    ResponseHeader.REPLAYED: "`true` if an earlier request with the same `Idempotency-Key` made the change.",
    ResponseHeader.PREFERENCE_APPLIED: "The preference that was applied; `none` if `Prefer` was ignored.",
}
SCHEMA_PATH: Final = "#/components/schemas/{name}"
STRING: Final = Schema(type=OpenAPIType.STRING)
BYTES: Final = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)


def create_openapi(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of operations."""
    listed = tuple(operations)
    bodies = sorted({body for operation in listed for body in _list_bodies(operation)}, key=lambda body: body.__name__)
    schemas, components = msgspec.json.schema_components(
        [problems.ProblemBody, *bodies], schema_hook=_create_custom_schema, ref_template=SCHEMA_PATH
    )
    references = dict(zip([problems.ProblemBody, *bodies], (schema["$ref"] for schema in schemas), strict=True))
    paths: defaultdict[str, PathItem] = defaultdict(PathItem)
    for operation in listed:
        setattr(paths[operation.path], operation.method.lower(), _document_operation(operation, references))
    document = OpenAPI(
        info=Info(title="Callsheet", version="1"),
        servers=[Server(url="/")],
        paths=dict(paths),
        components=Components(
            security_schemes={"token": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
        ),
    ).to_schema()
    document["components"]["schemas"] = components
    return document


def _create_custom_schema(kind: type) -> dict[str, Any]:
    if kind is object:
        return {"description": "Any JSON value."}  # msgspec takes an empty schema for a missing one
    raise NotImplementedError  # what msgspec asks of a `schema_hook` for a type that it does not know


def _list_bodies(operation: Operation) -> list[type[Struct]]:
    found = [response.body or response.list_of for response in operation.responses]
    request = operation.body.type if operation.body is not None else None
    return [body for body in (request, *found) if body is not None]


def _document_operation(operation: Operation, references: Mapping[type[Struct], str]) -> DocumentedOperation:
    body = None
    if operation.body is not None:
        media_type = OpenAPIMediaType(schema=Reference(ref=references[operation.body.type]))
        body = DocumentedBody(
            content=dict.fromkeys(sorted(operation.body.media_types), media_type),
            required=not operation.body.optional,
        )
    if operation.takes_file:
        body = DocumentedBody(content={"*/*": OpenAPIMediaType(schema=BYTES)}, required=True)
    return DocumentedOperation(
        tags=[operation.tag],
        summary=operation.summary,
        operation_id=operation.operation_id,
        parameters=[*_document_path(operation), *_document_query(operation), *_document_headers(operation)] or None,
        request_body=body,
        responses={**_document_responses(operation, references), **_document_problems(operation, references)},
        security=[{"token": [operation.scope.value]}] if operation.scope is not None else [],
    )


def _document_path(operation: Operation) -> list[Parameter]:
    return [
        Parameter(name=parameter.name, param_in="path", required=True, schema=_create_id_schema(parameter.prefix))
        if isinstance(parameter, PathId)
        else Parameter(
            name=parameter.name, param_in="path", required=True, schema=STRING, description=parameter.description
        )
        for parameter in operation.path_parameters
    ]


def _document_query(operation: Operation) -> list[Parameter]:
    return [
        Parameter(
            name=parameter.name,
            param_in="query",
            schema=_create_query_schema(parameter),
            description=parameter.description or None,
        )
        for parameter in describe_query(operation.query)
    ]


def _create_query_schema(parameter: QueryParameter) -> Schema:
    match parameter.kind:
        case "text" | "cursor" | "position" | "version":
            return STRING
        case "time":
            return Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)
        case "number":
            return Schema(type=OpenAPIType.NUMBER, exclusive_minimum=0)
        case "limit":
            return Schema(type=OpenAPIType.INTEGER, minimum=1)
        case "choice":
            return Schema(type=OpenAPIType.STRING, enum=list(parameter.values))
        case prefix:
            return _create_id_schema(prefix)


def _create_id_schema(prefix: str) -> Schema:
    return Schema(type=OpenAPIType.STRING, pattern=f"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$")


def list_request_headers(operation: Operation) -> Mapping[str, str]:
    """Return the request headers that an operation reads besides those of every request, with their descriptions."""
    headers = {
        "Idempotency-Key": ("Makes the request safe to retry.", operation.idempotent_by_key),
        "If-Match": ("The `ETag` of the version to change.", operation.if_match),
        "If-None-Match": ("Versions that the caller has.", operation.if_match or operation.is_revalidated),
        "Prefer": ("`wait=N` responds when the run has ended, after N seconds at most.", operation.prefer_wait),
        "Callsheet-Min-Position": ("Wait until the response reflects this position.", bool(operation.reads)),
        "Last-Event-ID": ("The id of the last event that was received.", operation.last_event_id),
    }
    return {name: description for name, (description, is_read) in headers.items() if is_read}


def _document_headers(operation: Operation) -> list[Parameter]:
    return [
        Parameter(name=name, param_in="header", schema=STRING, description=description)
        for name, description in list_request_headers(operation).items()
    ]


def _document_responses(
    operation: Operation, references: Mapping[type[Struct], str]
) -> dict[str, OpenAPIResponse | Reference]:
    responses: dict[str, OpenAPIResponse | Reference] = {}
    for status, group in groupby(operation.responses, key=lambda response: response.status):
        declared = tuple(group)  # several media types of one status
        responses[str(status)] = OpenAPIResponse(
            description=" ".join(response.description for response in declared),
            headers={
                header.value: OpenAPIHeader(schema=STRING, description=HEADER_DESCRIPTIONS[header])
                for response in declared
                for header in response.headers
            }
            or None,
            content={
                response.media_type: _document_body(response, references)
                for response in declared
                if response.media_type is not None
            }
            or None,
        )
    return responses


def _document_body(response: DeclaredResponse, references: Mapping[type[Struct], str]) -> OpenAPIMediaType:
    if response.body is not None:
        return OpenAPIMediaType(schema=Reference(ref=references[response.body]))
    if response.list_of is not None:
        items = Schema(type=OpenAPIType.ARRAY, items=Reference(ref=references[response.list_of]))
        cursor = Schema(type=[OpenAPIType.STRING, OpenAPIType.NULL])
        page = Schema(
            type=OpenAPIType.OBJECT,
            properties={"items": items, "next_cursor": cursor},
            required=["items", "next_cursor"],
        )
        return OpenAPIMediaType(schema=page)
    return OpenAPIMediaType()


def _document_problems(
    operation: Operation, references: Mapping[type[Struct], str]
) -> dict[str, OpenAPIResponse | Reference]:
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for code, status in list_problem_codes(operation).items():
        codes[status].append(code)
    reference = Reference(ref=references[problems.ProblemBody])
    return {
        str(status): OpenAPIResponse(
            description=f"{problems.TITLES[status]}: {', '.join(f'`{code}`' for code in names)}.",
            content={problems.MEDIA_TYPE: OpenAPIMediaType(schema=reference)},
        )
        for status, names in codes.items()
    }
