"""How much work the queries and templates of one step may do, and how much of it while everybody else waits."""

from typing import Final, Self

from domain.expressions.common import ExpressionFault

MOST_QUERY_WORK: Final = 2_000_000
"""In parts of a query applied to a value, about half a microsecond each."""
MOST_TEMPLATE_WORK: Final = 10_000_000
"""Of one rendering, in characters and items handled; a few seconds at the very worst."""
QUICK_QUERY_WORK: Final = 4_000
QUICK_TEMPLATE_WORK: Final = 40_000
"""So much takes some milliseconds."""


class TooMuchWork(ExpressionFault):
    """The queries or a template would do more work than they may."""


class Budget:
    """What work is left to the queries of one step, together, and what each of its templates may do."""

    __slots__ = ("left", "template_work")

    def __init__(self, most: int = MOST_QUERY_WORK, template_work: int = MOST_TEMPLATE_WORK) -> None:
        """Begin with all of it."""
        self.left = most
        self.template_work = template_work

    @classmethod
    def quick(cls) -> Self:
        """Give a budget of what may be done while others wait."""
        return cls(QUICK_QUERY_WORK, QUICK_TEMPLATE_WORK)

    def charge(self, work: int) -> None:
        """Take work of queries off the budget. Raises TooMuchWork when none is left."""
        self.left -= work
        if self.left < 0:
            raise TooMuchWork("JMESPath: the query would do too much work with this data")
