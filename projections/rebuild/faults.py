"""The ways in which a rebuild does not go on; each message tells a person what to do."""


class RebuildRefused(Exception):  # noqa: N818  # an answer to the person who asked
    """It cannot begin, or go on, as things stand."""


class RebuildPoisoned(Exception):  # noqa: N818  # an answer to the person who asked
    """A fact cannot be folded that the live projection has folded, or left out since."""


class SwapPostponed(Exception):  # noqa: N818  # tells the rebuild to try again
    """The live tables could not be had in time, or the live projection was too far ahead."""
