"""A cache of compiled expressions, bounded by the memory that they take."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

BYTES_MAX: Final = 32 * 1024 * 1024
"""Memory of the compiled expressions of one language in a process, estimated in bytes."""


class CompiledSources(Generic[T]):
    """Compiles sources, and keeps what was used last.

    Not `functools.lru_cache`: 1,000 templates of 13,000 tags each took more than 1 GB.
    """

    def __init__(self, compile_source: Callable[[str], T], *, weigh: Callable[[str], int]) -> None:
        """Create it; `weigh` returns the memory that a compiled source takes."""
        self._compile = compile_source
        self._weigh = weigh
        self._kept: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._bytes = 0

    def __call__(self, source: str) -> T:
        """Return a compiled source. Raises what the compiler raises."""
        kept = self._kept.get(source)
        if kept is not None:
            self._kept.move_to_end(source)
            return kept[0]
        compiled, weight = self._compile(source), self._weigh(source)
        self._kept[source] = compiled, weight
        self._bytes += weight
        while self._bytes > BYTES_MAX:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed
        return compiled

    def __contains__(self, source: str) -> bool:
        """Return whether a source is compiled already."""
        return source in self._kept

    @property
    def bytes(self) -> int:
        """Return the memory of everything that is kept, estimated."""
        return self._bytes
