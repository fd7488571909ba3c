"""The permission table of the page on security is generated from the operations."""

from gateway.access.permissions_page import PAGE, render_page


def test_the_permission_table_is_up_to_date() -> None:
    assert PAGE.read_text() == render_page(PAGE.read_text()), "run: python -m gateway.access.permissions_page"
