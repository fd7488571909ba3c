"""The table of messages in `docs/streams.md`: `python -m gateway.streams.messages_page`."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from gateway.streams.channels.table import MESSAGES
from gateway.streams.messages import MessageKind

PAGE: Final = Path(__file__).parents[2] / "docs" / "streams.md"
TABLE: Final = re.compile(r"(<!-- messages -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD: Final = "| channel | sent by | event | payload | meaning |\n|---|---|---|---|---|\n"


def render_table(kinds: Iterable[MessageKind[Any]]) -> str:
    """Return the kinds of messages as Markdown; those that several channels share have one row."""
    channels: dict[tuple[str, str, type[Struct], str], list[str]] = {}
    for kind in kinds:
        key = (kind.sender, kind.event, kind.payload, kind.description)
        channels.setdefault(key, []).append(f"`{kind.channel}`")
    return HEAD + "".join(
        f"| {', '.join(names)} | {sender} | `{event}` | {_render_payload(payload)} | {description} |\n"
        for (sender, event, payload, description), names in channels.items()
    )


def _render_payload(payload: type[Struct]) -> str:
    return ", ".join(f"`{name}`" for name in payload.__struct_encode_fields__)


def render_page(text: str) -> str:
    """Return the page with the table generated anew."""
    return TABLE.sub(lambda found: f"{found[1]}{render_table(MESSAGES)}{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(render_page(PAGE.read_text()))
    sys.stdout.write(f"wrote {PAGE}\n")
