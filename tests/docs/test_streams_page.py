"""The table of messages of the page on streams is generated from their descriptions."""

from gateway.streams.messages_page import PAGE, render_page


def test_the_table_of_messages_is_up_to_date() -> None:
    assert PAGE.read_text() == render_page(PAGE.read_text()), "run: python -m gateway.streams.messages_page"
