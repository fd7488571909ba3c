"""The ways in which the log does not do what it was asked, apart from bugs."""

from uuid import UUID


class Conflict(Exception):  # noqa: N818  # an expected answer: reload and decide again
    """The stream, or a stream that the command was decided against, has moved on."""

    def __init__(self, stream_id: UUID, expected_version: int) -> None:
        """Name the command that lost."""
        super().__init__(f"stream {stream_id} is no longer at version {expected_version}, or a guard has moved")
        self.stream_id = stream_id
        self.expected_version = expected_version


class Unavailable(Exception):  # noqa: N818  # the field's word for it
    """The log cannot take or give anything now. Nothing of the request took effect."""

    def __init__(self, reason: str, *, retry_after_seconds: float = 1.0) -> None:
        """Keep the reason and when a retry is worthwhile."""
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknown(Unavailable):
    """The connection was lost while an append was under way: it may or may not have committed."""


class QueueFull(Unavailable):
    """More appends are waiting than settings allow; this one was refused at once."""


class FactTooLarge(Exception):  # noqa: N818  # a limit of the log, named in design
    """A fact is over 256 KB; what is large belongs in the content store."""

    def __init__(self, topic: str, size: int, limit: int) -> None:
        """Name the fact and its size."""
        super().__init__(f"a {topic} fact of {size} bytes is over the limit of {limit}")


class UnstorableText(ValueError):  # noqa: N818  # names what is wrong with the value
    """A text holds what cannot be stored; the edge refuses such text before it comes here."""


class TooDeep(ValueError):  # noqa: N818  # names what is wrong with the value
    """A value is nested too deeply for everyone who has to read it."""

    def __init__(self, limit: int) -> None:
        """Name the limit."""
        super().__init__(f"the value is nested more than {limit} deep")


class ContentTooLarge(Exception):  # noqa: N818  # a limit of the content store, named in settings
    """A content is over the limit of the content store."""

    def __init__(self, size: int | None, limit: int) -> None:
        """Keep the size if it is known: a value far too large is not encoded only to be measured."""
        super().__init__(f"a content of {size or 'too many'} bytes is over the limit of {limit}")
        self.size = size
        self.limit = limit


class ContentMissing(Exception):  # noqa: N818  # the field's word for it
    """A reference to a content that the workspace does not have."""

    def __init__(self, reference: str) -> None:
        """Name the content."""
        super().__init__(f"there is no content {reference[:90]} in this workspace")
        self.reference = reference


class UnsafeDatabase(Exception):  # noqa: N818  # a refusal to start
    """The database is set so that an acknowledged append could be lost, or is of a schema this code does not know."""


class UnreadableEvent(Exception):  # noqa: N818  # poison: projections park on it
    """A stored event cannot be decoded by this version of the code."""

    def __init__(self, position: int, topic: str, reason: str) -> None:
        """Name the event and the reason."""
        super().__init__(f"event {position} ({topic}) cannot be read: {reason}")
        self.position = position
        self.topic = topic
        self.reason = reason
