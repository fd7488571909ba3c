"""`callsheet settings`: values, defaults and sources, without secrets."""

import json

from click.testing import CliRunner

from callsheet.cli import main
from callsheet.operate.settings import read_settings
from callsheet.settings.load import list_variables

ENVIRON = {
    "DATABASE_URL": "postgresql://ana:very-secret@db.example/studio",
    "NATS_URL": "nats://ana:very-secret@nats.example:4222",
    "OPENAI_API_KEY": "very-secret",
    "CALLSHEET_HTTP_PORT": "9000",
}


def test_every_setting_is_shown_with_its_value_and_source() -> None:
    shown = {setting.variable: setting for setting in read_settings(ENVIRON)}
    assert list(shown) == [variable.name for variable in list_variables()]
    port = shown["CALLSHEET_HTTP_PORT"]
    assert (port.value, port.default, port.source) == ("9000", "8000", "environment")
    assert shown["CALLSHEET_HTTP_HOST"].source == "default"
    assert {setting.variable for setting in shown.values() if setting.source != "default"} == set(ENVIRON)


def test_secrets_are_masked_and_hosts_are_not() -> None:
    shown = {setting.variable: setting.value for setting in read_settings(ENVIRON)}
    assert not [value for value in shown.values() if value and "very-secret" in value]
    assert "db.example" in (shown["DATABASE_URL"] or "")
    assert shown["NATS_URL"] == "nats://nats.example:4222"
    assert shown["OPENAI_API_KEY"] == "********"


def test_the_command_prints_json_alone() -> None:
    ran = CliRunner().invoke(main, ["settings", "--changed", "--json"], env=ENVIRON)
    assert ran.exit_code == 0
    assert "CALLSHEET_HTTP_PORT" in {setting["variable"] for setting in json.loads(ran.stdout)}


def test_an_invalid_value_is_a_message_and_not_a_traceback() -> None:
    ran = CliRunner().invoke(main, ["settings"], env={"CALLSHEET_HTTP_PORT": "many"})
    assert ran.exit_code == 2
    assert "CALLSHEET_HTTP_PORT" in ran.output
