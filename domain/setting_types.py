"""Types of settings: numbers with bounds, secrets, and variables with names of their own."""

from typing import Annotated, ClassVar

from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Milliseconds = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]  # a year: an infinite time is not a valid timeout
Bytes = Annotated[int, Meta(ge=1)]
Part = Annotated[float, Meta(ge=0, le=1)]


class Secret:
    """A text that is kept out of logs and tracebacks; `reveal` returns it."""

    characters_min: ClassVar[int] = 1

    def __init__(self, text: str) -> None:
        """Create the secret. Raises ValueError if the text is too short for its use."""
        if len(text) < self.characters_min:
            raise ValueError(f"must have at least {self.characters_min} characters")
        self._text = text

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text


class SigningSecret(Secret):
    """A secret that signs by HMAC with SHA-256: at least as long as the hash (RFC 7518, section 3.2)."""

    characters_min: ClassVar[int] = 32


def override_variable(variable: str) -> Meta:
    """Name the variable of a field that does not follow the rule, because other software has defined it."""
    return Meta(extra={"variable": variable})
