"""`docs/routes.md` is generated from the operations."""

from gateway.catalog import OPERATIONS
from gateway.operations.routes_page import PAGE, write_page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == write_page(OPERATIONS), "run: python -m gateway.operations.routes_page"
