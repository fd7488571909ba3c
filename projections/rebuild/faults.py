"""Exceptions that end a rebuild; each message says what the operator has to do."""


class RebuildRefused(Exception):  # noqa: N818  # an answer to the person who asked
    """The rebuild cannot begin or continue."""


class RebuildPoisoned(Exception):  # noqa: N818  # an answer to the person who asked
    """A fact cannot be folded that the live projection has folded or excluded since."""


class SwapPostponed(Exception):  # noqa: N818  # expected: retry
    """The live tables could not be locked in time, or the live projection was too far ahead."""
