"""Messages of the command line for invalid arguments: the problem, and no traceback."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import jwt
import pytest
from click.testing import CliRunner

from callsheet.cli import main

WORKSPACE = "ws_01jbr00000e00800000000000a"
PROJECT = "prj_01jbr00000e00800000000000a"


def run_command(directory: Path, *arguments: str, **variables: str) -> str:
    """Run a command that has to refuse, and return its message."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("CALLSHEET_", "OPENAI_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "callsheet", *arguments],
        env={**ours, "CALLSHEET_DATA_DIRECTORY": str(directory), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("work",), ("project",)])
def test_processes_apart_need_a_database_that_they_share(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert "callsheet: DATABASE_URL: set it to the database" in run_command(tmp_path, *command, DATABASE_URL="")


@pytest.mark.parametrize("command", [("dev", "--port", "0"), ("work",), ("migrate",)])
def test_a_database_that_is_not_there_is_said(tmp_path: Path, command: tuple[str, ...]) -> None:
    nobody = "postgresql://nobody@127.0.0.1:1/nothing"
    assert "callsheet: the database cannot be reached: " in run_command(tmp_path, *command, DATABASE_URL=nobody)


def test_a_database_that_cannot_be_read_as_one_is_said_without_its_password(tmp_path: Path) -> None:
    message = run_command(tmp_path, "migrate", DATABASE_URL="postgres//ana:hunter2@host")
    assert "neither a URL nor a connection string" in message
    assert "hunter2" not in message


def test_a_token_for_a_new_workspace_comes_with_how_to_give_others_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_DATA_DIRECTORY", str(tmp_path))
    first = CliRunner().invoke(main, ["token", "--user", "usr_ana"])
    workspace = first.stderr.partition("--workspace ")[2].split()[0]
    second = CliRunner().invoke(main, ["token", "--user", "usr_ben", "--workspace", workspace])
    tokens = [jwt.decode(each.stdout.strip(), options={"verify_signature": False}) for each in (first, second)]  # pyright: ignore[reportUnknownMemberType]  # the library leaves a type open
    assert [each["workspace"] for each in tokens] == [workspace, workspace]
    assert second.stderr == ""


@pytest.mark.parametrize("workspace", ["mine", "prj_01m855rrkje5pa0yp9nfgp14ad", ""])
def test_a_workspace_that_is_none_is_said_with_the_option(tmp_path: Path, workspace: str) -> None:
    box = run_command(tmp_path, "token", "--workspace", workspace)
    message = " ".join(box.replace("│", " ").split())
    assert "'--workspace'" in message
    assert "is not an id of the form ws_" in message


def test_a_setting_says_what_it_expects(tmp_path: Path) -> None:
    assert (
        run_command(tmp_path, "dev", CALLSHEET_HTTP_PORT="http") == "callsheet: CALLSHEET_HTTP_PORT: Expected `int`\n"
    )


def test_help_names_the_command_as_it_is_typed(tmp_path: Path) -> None:
    assert "Usage: callsheet token" in run_command(tmp_path, "token", "--nothing")


def list_commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below a group, with its path."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from list_commands(command, *path, name)
        else:
            yield (*path, name), command


COMMANDS = list(list_commands(main))


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_help_shows_how_a_command_is_typed_and_its_exit_codes(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*path, "--help"], prog_name="callsheet").stdout
    assert f"$ callsheet {' '.join(path)}" in shown
    assert "Exit codes: 0 " in shown


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_what_help_shows_can_be_typed(path: tuple[str, ...], command: click.Command) -> None:
    shown = [line.removeprefix("$ callsheet ") for line in (command.epilog or "").splitlines() if line.startswith("$")]
    assert shown
    for example in shown:
        words = shlex.split(example.replace("ws_…", WORKSPACE).replace("prj_…", PROJECT).removesuffix("|| alarm"))
        assert tuple(words[: len(path)]) == path
        command.make_context(words[0], words[len(path) :])


def test_a_gateway_without_an_issuer_refuses_to_start(tmp_path: Path) -> None:
    message = run_command(tmp_path, "serve", "--port", "0", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert "No token could be accepted: set CALLSHEET_IDENTITY_ISSUERS_FILE" in message


def test_an_issuers_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    message = run_command(tmp_path, "serve", "--port", "0", CALLSHEET_IDENTITY_ISSUERS_FILE=str(tmp_path / "none.json"))
    assert "CALLSHEET_IDENTITY_ISSUERS_FILE: the issuers file" in message


def test_a_token_can_be_limited_to_scopes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_DATA_DIRECTORY", str(tmp_path))
    printed = CliRunner().invoke(main, ["token", "--scope", "runs:read", "--scope", "projects:read"])
    claims = jwt.decode(printed.stdout.strip(), options={"verify_signature": False})  # pyright: ignore[reportUnknownMemberType]  # the library leaves a type open
    assert claims["scope"] == "runs:read projects:read"
