"""Names that people read, and ids of users: text that can be seen, and that is equal when it looks equal."""

import re
import unicodedata
from typing import Final

_CONTROL: Final = "\\u0000-\\u001f\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069"
"""Control characters, line separators, and what reverses the text around it (UAX #9)."""
_INVISIBLE: Final = (
    " \\u00a0\\u00ad\\u034f\\u061c\\u115f\\u1160\\u1680\\u17b4\\u17b5\\u180b-\\u180f"
    "\\u2000-\\u200f\\u202f\\u205f-\\u2065"
    "\\u206a-\\u206f\\u2800\\u3000\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\U000e0000-\U000e0fff"
)
"""Spaces, and characters that are drawn as nothing; some are parts of emoji, so that they may be in a name."""

# Leading invisible characters, then a visible one: each character is looked at once, whatever the text is.
_VISIBLE_TEXT: Final = f"[{_INVISIBLE}]*[^{_CONTROL}{_INVISIBLE}][^{_CONTROL}]*"
NAME_PATTERN: Final = f"^{_VISIBLE_TEXT}$(?!\\n)"
"""Pattern of a name: it has a visible character, and none that controls a terminal or the direction of writing."""
OPTIONAL_NAME_PATTERN: Final = f"^(?:{_VISIBLE_TEXT})?$(?!\\n)"
"""Pattern of a name that may be empty."""
NAME_RULE: Final = "Must have a visible character, and no control characters"

_IS_NAME: Final = re.compile(NAME_PATTERN)
USER_ID_RULE: Final = "must have a visible character, and no control or invisible ones"


def normalize_user_id(text: str) -> str:
    """Return the id of a user in the Unicode normalization form NFC: `é` may be sent as one character or as two.

    Raises ValueError, whose message continues a sentence, for text in which characters cannot be seen.
    """
    if not text.isprintable() or _IS_NAME.match(text) is None:
        raise ValueError(USER_ID_RULE)
    return text if text.isascii() else unicodedata.normalize("NFC", text)
