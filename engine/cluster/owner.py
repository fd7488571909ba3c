"""The owner of a run: the engine that may claim its steps."""

from msgspec import Struct


class Owner(Struct, frozen=True):
    """The engine that claims steps: its name, and its epoch, which grows each time an engine joins."""

    name: str
    epoch: int
