"""The query of a request: which parameters a route takes, what they may say, and what is told of others."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar
from uuid import UUID

from litestar import Request

from domain.ids import Prefix
from domain.suggestions import listed, meant
from gateway.http.ids import parsed_id
from gateway.http.rejections import Malformed, ParameterProblem

E = TypeVar("E", bound=StrEnum)
Query = Mapping[str, str]

NO_QUERY: Final[Query] = {}
NOT_BEGUN: Final[str] = "absent"
"""The status that every noun has before its first fact; there is nothing to ask for."""
LONGEST_NAME: Final = 100
PROBLEMS_MAX: Final = 50


def query_of(request: Request[Any, Any, Any], known: tuple[str, ...]) -> Query:
    """Give the query; each parameter once. Raises Malformed with every parameter that the route does not take.

    Those that hold NUL or come twice are faults too. A parameter that did nothing would be taken for one that did.
    """
    about: Any = request.scope
    if not about["query_string"]:
        return NO_QUERY
    query: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            problems[name] = f"is no parameter here, {_those(known)}{meant(name, known)}"
        elif name in query or "\0" in value:
            problems[name] = "can be sent once, as text"
        query[name] = value
    if problems:
        raise _unusable(problems)
    return query


def _those(known: tuple[str, ...]) -> str:
    return f"known are {listed(sorted(known))}" if known else "this takes none"


def unusable(name: str, said: str) -> Malformed:
    """Say what is wrong with one parameter: `said` goes on after its name."""
    return _unusable({name: said})


def _unusable(problems: Mapping[str, str]) -> Malformed:
    told = tuple(
        ParameterProblem(_shown(name), f"{_shown(name)} {said}")
        for name, said in sorted(problems.items())[:PROBLEMS_MAX]
    )
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    message = told[0].message
    return Malformed(f"{message}{'' if message.endswith('?') else '.'}{more}", problems=told)


def _shown(name: str) -> str:
    """Give a name as it can be sent back: bounded, and without what JSON in UTF-8 cannot hold."""
    return name[:LONGEST_NAME].encode(errors="replace").decode()


def choice_of(query: Query, name: str, kind: type[E]) -> E | None:
    """Read a parameter that is one of a few words. Raises Malformed."""
    text = query.get(name)
    if text is None:
        return None
    words = [one for one in kind if one.value != NOT_BEGUN]
    if text not in words:
        raise unusable(name, f"is one of {listed(words)}{meant(text, words)}")
    return kind(text)


def id_of(query: Query, name: str, prefix: Prefix) -> UUID | None:
    """Read a parameter that is an id. Raises Malformed."""
    text = query.get(name)
    if text is None:
        return None
    try:
        return parsed_id(prefix, text)
    except ValueError:
        raise unusable(name, f"is an id that begins with {prefix}_") from None
