"""The page of problems is generated from the operations."""

from gateway.catalog import OPERATIONS
from gateway.operations.problems_page import PAGE, write_page


def test_the_page_of_problems_is_up_to_date() -> None:
    assert PAGE.read_text() == write_page(OPERATIONS), "run: python -m gateway.operations.problems_page"
