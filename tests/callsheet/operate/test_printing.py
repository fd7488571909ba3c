"""Output of commands: stored text never controls the terminal, nor the direction of what stands around it."""

import json

import pytest

from callsheet.demo.story import escape
from callsheet.operate.printing import escape_controls, print_json, print_json_line, print_table

HOSTILE = {
    "escape": "\x1b[2J",
    "CSI in one byte": "\u009b2J",
    "an override": "invoice\u202egnp.exe",
    "an isolate": "a\u2066b",
    "a line separator": "a\u2028b",
    "a zero-width space": "a\u200bb",
    "a tag outside of the BMP": "a\U000e0041b",
    "a carriage return": "done\rfailed",
}


def is_harmless(printed: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in printed)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_that_is_printed_controls_a_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": text, "inner": [text]})
    indented = capsys.readouterr().out
    print_json_line({"name": text})
    line = capsys.readouterr().out
    print_table(["name"], [[text]])
    table = capsys.readouterr().out
    assert all(is_harmless(printed) for printed in (indented, line, table, escape(text)))
    assert json.loads(indented) == {"name": text, "inner": [text]}, "it is the same JSON"
    assert json.loads(line) == {"name": text}


def test_an_escaped_character_can_be_read() -> None:
    assert escape_controls("a\u009bb\u202ec\n") == "a\\u009bb\\u202ec\n"
    assert escape_controls("a\nb", kept="") == "a\\u000ab"
    assert escape_controls("\U000e0041") == "\\udb40\\udc41"


@pytest.mark.parametrize("text", ["Spring", "日本", "naïve März", "👩 family", ""])
def test_other_text_is_printed_as_it_is(text: str) -> None:
    assert escape_controls(text) == text
