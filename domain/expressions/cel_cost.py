"""How much work a condition can come to with the data that it is given, told before it is evaluated.

The CEL library has no budget and clones: a variable whenever it is named, and the result of `map` or `filter` at every
element. `inputs.a.map(x, inputs.a)` took 66 ms over 100 elements and a minute over 1,000, and stopped the process for
everybody; so what such a condition may be given is bounded by what it names where, and not by lengths alone.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple, cast

from domain.expressions.common import ExpressionFault

Path = tuple[str, ...]

MOST_WORK: Final = 4_000_000
"""In items cloned, each about 60 ns."""
CHARACTERS: Final = 64
"""So many characters of a text count as one more item."""
MENTIONS_UNWEIGHED: Final = 4
GATHERING: Final = frozenset({"map", "filter"})


class Shape(NamedTuple):
    """What the source of a condition says about its work.

    `outer` and `inner` are the paths named before and within its comprehension, each as often as it is named; `macro`
    is that comprehension, `tokens` the number of tokens after its name, `bound` how many of them name its element;
    `sums` counts the marks `+`, each of which may clone all that has been added up before.
    """

    outer: tuple[Path, ...]
    inner: tuple[Path, ...]
    macro: str | None
    tokens: int
    bound: int
    sums: int

    @property
    def is_light(self) -> bool:
        """Tell whether the other caps on data are enough."""
        return self.macro is None and self.sums == 0 and len(self.outer) <= MENTIONS_UNWEIGHED


class Weight(NamedTuple):
    """A value as evaluation feels it: what it takes to clone it, and how many elements any one part of it has."""

    items: int
    longest: int


def check_work(shape: Shape, seen: Mapping[str, object]) -> None:
    """Raise ExpressionFault when a condition could do too much work with the data that it sees."""
    if not shape.is_light and _work(shape, seen) > MOST_WORK:
        raise ExpressionFault("CEL: the condition would do too much work with this data")


def _work(shape: Shape, seen: Mapping[str, object]) -> int:
    weights = {path: weight_of(_at(seen, path)) for path in {*shape.outer, *shape.inner}}
    outer = sum(weights[path].items for path in shape.outer)
    inner = sum(weights[path].items for path in shape.inner)
    once = 1 + shape.sums
    if shape.macro is None:
        return once * outer
    longest = max((weight.longest for weight in weights.values()), default=0)
    rounds = longest * max(1, len(shape.outer)) if longest else shape.tokens
    elements = outer * max(1, shape.bound)
    each = shape.tokens + inner
    if shape.macro in GATHERING:  # what has been gathered is cloned in every round
        return once * rounds * (rounds * each + elements)
    return once * (rounds * each + elements)


def weight_of(value: object) -> Weight:
    """Weigh a JSON value whose size and depth have been bounded before."""
    items = 0
    longest = 0
    pending = [value]
    while pending:
        item = pending.pop()
        items += 1
        if isinstance(item, str):
            items += len(item) // CHARACTERS
        elif isinstance(item, (dict, list)):
            inner = cast("Collection[object]", item.values() if isinstance(item, dict) else item)
            longest = max(longest, len(inner))
            pending.extend(inner)
    return Weight(items, longest)


def _at(seen: Mapping[str, object], path: Path) -> object:
    """Give what a path leads to, as far as it exists."""
    value: Any = seen
    for key in path:
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, object]", value).get(key)
    return value
