"""Filters of templates that the library has otherwise or not at all, and what filters cost: times, and JSON."""

import re
from collections.abc import Sized
from datetime import UTC, datetime
from typing import cast

import msgspec

from domain.expressions.common import ExpressionFault

LONGEST_NUMBER_BITS = 256

DATE_FORMAT = re.compile(r"(?:[^%]|%-?[A-Za-z%]){0,100}")


def as_json(value: object) -> str:
    """Write a value as JSON; what is none as a text."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def as_date(value: object, form: object) -> str:
    """Write a time in UTC; unlike the library's filter it knows no `now` and fills no gaps from today's date."""
    if not isinstance(form, str) or not DATE_FORMAT.fullmatch(form):
        raise ExpressionFault("Liquid: date needs a format such as '%Y-%m-%d'")
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        else:
            moment = datetime.fromtimestamp(float(str(value)), UTC)
    except (ValueError, OverflowError, OSError) as fault:
        raise ExpressionFault("Liquid: date needs an RFC 3339 time or seconds since 1970") from fault
    return moment.strftime(form)


def size_of(value: object) -> int:
    """Give how much work it is to go through a value: characters, elements, bytes of a number."""
    if isinstance(value, range):
        return max(0, value.stop - value.start)
    if isinstance(value, int):
        return value.bit_length() // 8
    return len(cast("Sized", value)) if isinstance(value, (str, list, tuple, dict)) else 1


def multiplied_work(name: str, values: tuple[object, ...], sizes: list[int]) -> int:
    """Give the work of the filters whose cost is a product of sizes, before they are applied."""
    match name:
        case "replace" if len(values) > 1:
            occurrences = str(values[0]).count(str(values[1]))
            return occurrences * (sizes[2] if len(sizes) > 2 else 0)  # noqa: PLR2004  # value, old, new
        case "join":
            return sizes[0] * (sizes[1] if len(sizes) > 1 else 1)
        case "uniq":
            return sizes[0] * sizes[0] // 100
        case "times" if max(sizes) > LONGEST_NUMBER_BITS // 8:
            raise ExpressionFault("Liquid: a number grew too large")
        case _:
            return 0
