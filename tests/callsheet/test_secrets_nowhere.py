"""Secrets that are sent in every place, in calls that fail in every way: afterwards they are found nowhere."""

import json
from base64 import b64encode
from collections.abc import Generator
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import psycopg
import pytest
from psycopg import sql

from tests.support.callsheet.separate_processes import Started, apart, gateway
from tests.support.graphs import Json, edge, graph, node
from tests.support.servers.web import WebServer

SECRET: Final = 'sk_live/0123+"quoted"'  # noqa: S105  # of nobody
MARKER: Final = "found-by-the-search"
AUTHORIZATION: Final = "Basic {{ 'ana:' | append: secrets.token | base64_encode }}"
FORMS: Final = {
    SECRET,
    "sk_live",
    quote(SECRET, safe=""),
    quote(SECRET),
    quote_plus(SECRET),
    escape(SECRET),
    json.dumps(SECRET)[1:-1],
    b64encode(SECRET.encode()).decode(),
    b64encode(f"ana:{SECRET}".encode()).decode(),
}
BY_ANOTHER_WAY: Final = "{% assign s = 'secrets' %}"
COLUMNS: Final = """
select table_schema, table_name, column_name, data_type from information_schema.columns
 where table_schema not in ('pg_catalog', 'information_schema') order by 1, 2, ordinal_position
"""


def calls(name: str, url: str, **fields: Any) -> Json:  # noqa: ANN401  # JSON
    """Return a node that sends the secret in its query, its headers and its body, and may fail."""
    config = {
        "url": url + ("&" if "?" in url else "?") + "key={{ secrets.token | url_encode }}",
        "method": "POST",
        "headers": {"X-Token": "{{ secrets.token }}", "Authorization": AUTHORIZATION},
        "body": '{"token": {{ secrets.token | json }}, "of": "{{ inputs.marker }}"}',
        "most_response_bytes": 100_000,
        **fields.pop("config", {}),
    }
    return node(name, kind="http", config=config, on_error={"action": "continue", "output": None}, **fields)


def every_way(server: WebServer) -> list[Json]:
    url = server.url
    again = {"max_attempts": 2, "backoff": {"initial_seconds": 0}, "retry_on": ["unavailable", "timeout"]}
    return [
        calls("echo", url("/echo")),
        calls("echo_text", url("/echo-text")),
        calls("in_the_path", url("/{{ secrets.token | url_encode }}")),
        calls("refused", url("/status/400")),
        calls("unavailable", url("/status/500"), retry=again),
        calls("hangs_up", url("/hang-up"), retry=again),
        calls("not_json", url("/broken-json")),
        calls("endless", url("/endless")),
        calls("slow", url("/slow"), timeout_seconds=0.3, retry=again),
        calls("elsewhere", url("/redirect/307?http://169.254.169.254/{{ secrets.token | url_encode }}")),
        calls("nobody_there", "http://127.0.0.1:9/"),
        calls("other_host", "https://{{ secrets.token }}.example/"),
        calls("no_url", "http://[{{ secrets.token }}"),
        calls("not_public", "http://10.0.0.1/{{ secrets.token }}"),
        calls("no_header", url("/echo"), config={"headers": {"X-Token": "{{ secrets.token }}\n{{ secrets.token }}"}}),
        calls("no_length", url("/echo"), config={"headers": {"Content-Length": "{{ secrets.token }}"}}),
        calls("no_date", url("/echo"), config={"body": f"{BY_ANOTHER_WAY}{{{{ [s].token | date: '%Y' }}}}"}),
        calls("no_number", url("/echo"), config={"body": f"{BY_ANOTHER_WAY}{{{{ 1 | divided_by: [s].token }}}}"}),
        calls("no_field", url("/echo"), config={"body": f"{BY_ANOTHER_WAY}{{{{ [s].token.field.of.it }}}}"}),
        calls("no_part", url("/echo"), config={"body": "{{ secrets.token | append: inputs.nothing }}"}),
        calls("no_secret", url("/echo"), config={"body": "{{ secrets.token }}{{ secrets.nobody }}"}),
    ]


@pytest.fixture
def running(empty_database: str, tmp_path: Path) -> Generator[tuple[Started, str]]:
    """A server of its own that logs all that it can, and knows the secret."""
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"token": {"value": SECRET, "hosts": ["127.0.0.1"]}}))
    variables = {
        "CALLSHEET_SECRETS_FILE": str(secrets),
        "CALLSHEET_OUTGOING_ALLOWED": "127.0.0.1",
        "CALLSHEET_LOG_LEVEL": "debug",
    }
    with apart(empty_database, tmp_path, "dev", "--port", "0", **variables) as started:
        yield started, empty_database


def found_in(database: str) -> str:
    """Return the whole content of a database as text."""
    parts: list[str] = []
    with psycopg.connect(database) as connection:
        for schema, table, column, kind in connection.execute(COLUMNS).fetchall():
            name = sql.Identifier(column)
            picked = name if kind == "bytea" else sql.SQL("{}::text").format(name)
            rows = connection.execute(
                sql.SQL("select {} from {}").format(picked, sql.Identifier(schema, table))
            ).fetchall()
            parts += [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for (value,) in rows]
    return "\n".join(parts)


def leaks(text: str) -> list[str]:
    """Return each occurrence of a form of the secret in a text, with its surroundings."""
    places = ((form, text.lower().find(form.lower())) for form in FORMS)
    return [text[max(0, at - 100) : at + 100] for _, at in places if at >= 0]


def test_a_secret_that_fails_in_every_way_is_found_nowhere(running: tuple[Started, str], tmp_path: Path) -> None:
    started, database = running
    with WebServer() as server, gateway(started, tmp_path) as caller:
        nodes = every_way(server)
        last = {**calls("last", server.url("/status/403")), "on_error": {"action": "fail"}}
        raw = graph(*nodes, last, edges=[edge(raw_edge["id"], "last") for raw_edge in nodes])
        client = caller.client
        path = f"/v1/workflows/{caller.workflow(raw)}:run"
        run = client.post(path, json={"inputs": {"marker": MARKER}}, headers={"prefer": "wait=30"})
        assert (run.status_code, run.json()["status"]) == (200, "failed"), run.text
        position = {"callsheet-min-position": run.headers["callsheet-position"]}
        told = [
            run.text,
            client.get(f"/v1/runs/{run.json()['id']}", headers=position).text,
            client.get(f"/v1/runs/{run.json()['id']}/events?limit=200").text,
        ]
        sent = b"".join(
            request.body + repr((request.path, request.headers)).encode() for request in server.heard
        ).decode()
    started.end()
    failures = {name: step.get("error") for name, step in run.json()["steps"].items()}
    assert {name for name, error in failures.items() if error is None} == {
        "echo",
        "echo_text",
        "in_the_path",
        "elsewhere",
    }
    assert all(form in sent for form in (SECRET, quote(SECRET, safe=""), b64encode(f"ana:{SECRET}".encode()).decode()))
    stored, logged = found_in(database), "".join(started.said)
    assert MARKER in stored
    assert "projection.following" in logged
    assert leaks(stored) == []
    assert leaks(logged) == []
    assert [leaks(text) for text in told] == [[], [], []]
