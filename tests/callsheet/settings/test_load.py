"""Settings: what is read, and how bad variables are named."""

from pathlib import Path

import pytest

from callsheet.development_secret import development_secret
from callsheet.settings.load import Settings, SettingsUnusable, load_settings
from domain.setting_types import SigningSecret


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load_settings({}) == Settings()


def test_a_field_of_a_group_is_a_variable_of_its_name() -> None:
    settings = load_settings({"CALLSHEET_HTTP_PORT": "9000", "CALLSHEET_DATA_DIRECTORY": "/srv/callsheet"})
    assert settings.http.port == 9000
    assert settings.data.directory == Path("/srv/callsheet")


def test_names_that_others_gave_are_kept() -> None:
    settings = load_settings({"DATABASE_URL": "postgresql:///studio", "OPENAI_MODEL": "small"})
    assert settings.data.database_url == "postgresql:///studio"
    assert settings.model.model == "small"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"OPENAI_API_KEY": "", "CALLSHEET_HTTP_PORT": ""}) == Settings()


def test_every_bad_variable_is_named_at_once() -> None:
    environ = {
        "CALLSHEET_HTTP_PORT": "70000",
        "CALLSHEET_LOG_LEVEL": "loud",
        "CALLSHEET_IDENTITY_JWT_SECRET": "short",
        "CALLSHEET_STORE_APPEND_BATCH_EVENT": "512",
        "PATH": "/usr/bin",
    }
    with pytest.raises(SettingsUnusable) as refused:
        load_settings(environ)
    assert set(refused.value.problems) == set(environ) - {"PATH"}
    assert all(variable in str(refused.value) for variable in refused.value.problems)
    assert refused.value.problems["CALLSHEET_LOG_LEVEL"] == "must be one of debug, info, warning, error"
    said = "unknown setting; did you mean CALLSHEET_STORE_APPEND_BATCH_EVENTS?"
    assert refused.value.problems["CALLSHEET_STORE_APPEND_BATCH_EVENT"] == said


def test_a_secret_does_not_show_itself() -> None:
    settings = load_settings({"OPENAI_API_KEY": "sk-very-secret", "CALLSHEET_IDENTITY_JWT_SECRET": "x" * 32})
    assert settings.model.api_key is not None
    assert settings.model.api_key.reveal() == "sk-very-secret"
    assert "sk-very-secret" not in repr(settings)
    assert "x" * 32 not in repr(settings)


def test_a_bad_secret_is_not_repeated_in_the_message() -> None:
    with pytest.raises(SettingsUnusable) as refused:
        load_settings({"CALLSHEET_IDENTITY_JWT_SECRET": "hunter2"})
    assert "hunter2" not in str(refused.value)


def test_the_development_secret_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    first = development_secret(tmp_path / "data")
    assert development_secret(tmp_path / "data").reveal() == first.reveal()
    assert len(first.reveal()) >= SigningSecret.characters_min
    (file,) = (tmp_path / "data").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_infinity_is_no_time_to_wait() -> None:
    with pytest.raises(SettingsUnusable, match="CALLSHEET_HTTP_SHUTDOWN_SECONDS_MAX"):
        load_settings({"CALLSHEET_HTTP_SHUTDOWN_SECONDS_MAX": "inf"})
