"""Work limits of authors' expressions: one unit, one budget for all expressions of a step, one measure of a value.

The unit is one part of an expression applied to one value: about 0.5 µs of interpreted Python. Work in C or Rust code
is cheaper, and is converted with `ITEMS_PER_WORK` and `CHARACTERS_PER_WORK`. Queries and templates are charged while
they run. Conditions and JSON Schemas run in libraries that cannot be interrupted: their work is estimated
first. Why work is counted instead of bounded by a worker process: decision 31.
"""

from typing import Final, Self

from domain.expressions.common import ExpressionFault
from domain.json_bounds import child_values

WORK_MAX: Final = 2_000_000
"""Limit for all expressions of one step together; about a second."""
INLINE_WORK_MAX: Final = 4_000
"""Limit for work on the event loop; about 2 ms."""
ITEMS_PER_WORK: Final = 8
"""List items copied or compared, or characters processed by a template, per unit; 60 ns each."""
CHARACTERS_PER_WORK: Final = 64
"""Characters of a text that is scanned or copied as a whole, per unit."""


class TooMuchWork(ExpressionFault):
    """The expressions of a step would do more work than the limit."""


class Budget:
    """The remaining work budget of the expressions of one step."""

    __slots__ = ("left",)

    def __init__(self, work_max: int = WORK_MAX) -> None:
        """Create an unspent budget."""
        self.left = work_max

    @classmethod
    def inline(cls) -> Self:
        """Return a budget for work on the event loop."""
        return cls(INLINE_WORK_MAX)

    def charge(self, work: int) -> None:
        """Subtract work. Raises TooMuchWork when none is left."""
        self.left -= work
        if self.left < 0:
            raise TooMuchWork(
                f"The expressions of this step do too much work with this data. Limit: {WORK_MAX} units a step. "
                "Use shorter lists or texts, or fewer nested loops."
            )


def measure_work(value: object, most: int | None = None) -> int:
    """Return the work of walking through all of a JSON value; a part that occurs in many places counts each time.

    Each list or object in memory is measured once, so that measuring costs less than the walk. Iterative: the results
    of queries may be nested deeper than the stack. With `most` the measurement ends as soon as it exceeds that: it is
    then at most about as much work as `most` itself.
    """
    if isinstance(value, str):
        return len(value) // CHARACTERS_PER_WORK
    if most is not None and (quick := _measure_up_to(value, most)) > most:
        return quick
    works: dict[int, int] = {}
    pending: list[object] = [value]
    while pending:
        item = pending[-1]
        children = child_values(item)
        nested = [child for child in children if _is_nested(child)]
        unknown = [child for child in nested if id(child) not in works]
        if unknown:
            pending.extend(unknown)
            continue
        characters = sum(len(child) for child in children if isinstance(child, str))
        own = 1 + len(children) // ITEMS_PER_WORK + characters // CHARACTERS_PER_WORK
        works[id(item)] = own + sum(works[id(child)] for child in nested)
        pending.pop()
    return works[id(value)]


def _measure_up_to(value: object, most: int) -> int:
    """Return the work of a value, or a part of it that is more than `most`: 100,000 lists took half a second."""
    work = 0
    pending: list[object] = [value]
    while pending:
        children = child_values(pending.pop())
        work += 1 + len(children) // ITEMS_PER_WORK
        if work > most:
            return work
        for child in children:
            if isinstance(child, str):
                work += len(child) // CHARACTERS_PER_WORK
            elif _is_nested(child):
                pending.append(child)
    return work


def _is_nested(value: object) -> bool:
    return isinstance(value, (list, dict))
