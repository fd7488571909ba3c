"""How large a JSON Schema grows when its references are followed, which bounds what judging a value can cost.

Thirty definitions that each refer twice to the next made the validator use all of a machine's memory.
"""

from typing import Any, cast

from domain.expressions.common import ExpressionFault, shorten

MOST_EXPANDED = 2_000
LONGEST_CHAIN = 20
DEFINITIONS = frozenset({"$defs", "definitions"})
REFUSED = frozenset({"$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor"})
REFUSED_BELOW = REFUSED | {"$id"}
QUOTED = frozenset({"const", "enum", "required"})
"""Keywords whose value an error may quote."""
DRAFTS = frozenset({"https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"})
"""Older drafts name and resolve identifiers in other ways, which would lead past what is measured here."""


def expanded_size(schema: dict[str, Any]) -> int:
    """Give the number of objects in a schema with every local reference written out.

    Raises ExpressionFault for a schema over 2,000, for references that lead in a circle or elsewhere, and for the
    keywords whose target depends on the way that led there.
    """
    draft: object = schema.get("$schema", min(DRAFTS))
    if not isinstance(draft, str) or draft not in DRAFTS:
        raise ExpressionFault(f"JSON Schema: $schema is none of {', '.join(sorted(DRAFTS))}")
    return _Expansion(schema).size(schema, ())


def longest_part(schema: dict[str, Any]) -> int:
    """Give how many characters the longest part of a schema has, less the parts within it: an `enum`, most of all."""
    longest = 1
    pending: list[object] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            fields = cast("dict[str, object]", part)
            flat = {key: value for key, value in fields.items() if key in QUOTED or not isinstance(value, (dict, list))}
            longest = max(longest, len(str(flat)))
            pending.extend(fields.values())
        elif isinstance(part, list):
            pending.extend(cast("list[object]", part))
    return longest


class _Expansion:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._sizes: dict[str, int] = {}

    def size(self, value: object, chain: tuple[str, ...]) -> int:
        if isinstance(value, list):
            return self._bounded(sum(self.size(item, chain) for item in cast("list[object]", value)))
        if not isinstance(value, dict):
            return 0
        sent = cast("dict[str, object]", value)
        is_root = sent is self._root
        for keyword in REFUSED.intersection(sent) if is_root else REFUSED_BELOW.intersection(sent):
            raise ExpressionFault(f"JSON Schema: {keyword} cannot be used here")
        left_out = DEFINITIONS if is_root else frozenset[str]()
        inner = sum(self.size(item, chain) for key, item in sent.items() if key not in left_out)
        reference = sent.get("$ref")
        return self._bounded(1 + inner + (self._referred(reference, chain) if isinstance(reference, str) else 0))

    def _referred(self, reference: str, chain: tuple[str, ...]) -> int:
        if reference in self._sizes:
            return self._sizes[reference]
        if not reference.startswith("#") or "%" in reference:
            raise ExpressionFault(f"JSON Schema: $ref leads elsewhere: {shorten(reference)}")
        if reference in chain or reference == "#":
            raise ExpressionFault(f"JSON Schema: $ref leads in a circle: {shorten(reference)}")
        if len(chain) == LONGEST_CHAIN:
            raise ExpressionFault(f"JSON Schema: more than {LONGEST_CHAIN} references follow each other")
        self._sizes[reference] = self.size(self._target(reference), (*chain, reference))
        return self._sizes[reference]

    def _target(self, reference: str) -> object:
        """Follow a JSON pointer; one that leads nowhere is the validator's to report."""
        value: object = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict):
                value = cast("dict[str, object]", value).get(key)
            elif isinstance(value, list) and key.isdecimal():
                items = cast("list[object]", value)
                value = items[int(key)] if len(key) < len(str(len(items))) + 1 and int(key) < len(items) else None
            else:
                return None
        return value

    def _bounded(self, size: int) -> int:
        if size > MOST_EXPANDED:
            raise ExpressionFault(f"JSON Schema: has more than {MOST_EXPANDED} parts with its references written out")
        return size
