"""Whether a project records what its steps ask and are answered: `record_calls` in its settings, pinned by each run."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

SETTING: Final = "record_calls"


class Recording(StrEnum):
    """Recorded parts of the calls of steps."""

    ON = "on"
    """What was asked and answered: small values in the event, others by the digest of their content."""
    PERSONAL = "personal"
    """The same, never in the event, and by a keyed digest, so that nobody can confirm a guess of the content."""
    OFF = "off"
    """Nothing but usage."""


def find_setting_fault(settings: Mapping[str, object]) -> str | None:
    """Return what is wrong with `record_calls` in a project's settings; None if nothing is."""
    value = settings.get(SETTING, Recording.ON.value)
    allowed = [recording.value for recording in Recording]
    return None if value in allowed else f"must be one of {', '.join(allowed)}"


def collect_flags(settings: Mapping[str, object]) -> dict[str, object]:
    """Return the flag that a run pins; none for the default."""
    recording = read_recording(settings)
    return {} if recording is Recording.ON else {SETTING: recording.value}


def read_recording(flags: Mapping[str, object]) -> Recording:
    """Return what a run records by its flags, or a project by its settings; what is not understood records nothing."""
    value = flags.get(SETTING, Recording.ON.value)
    return next((recording for recording in Recording if recording.value == value), Recording.OFF)
