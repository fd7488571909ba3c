"""The rules for names and docstrings that a test can hold; no linter has them."""

import ast
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from msgspec import Struct

TOP = Path(__file__).parent.parent
FOLDERS = (
    "domain",
    "store",
    "bus",
    "commands",
    "projections",
    "engine",
    "gateway",
    "callsheet",
    "bench",
    "tests",
    "examples",
)

FIRST_VERBS = frozenset({"give", "gives", "make", "makes", "say", "says", "take", "takes", "tell", "tells"})
# Words that do not name the subject: a reader who searches for a term does not find it behind them.
VAGUE_WORDS = frozenset(
    {"what", "who", "whom", "whose", "which", "why", "where", "when", "how", "somebody", "something", "someone"}
    | {"nobody", "nothing", "some", "it", "its", "these", "those"}
    | {"do", "does", "handle", "handles", "manage", "manages", "have", "has", "be", "let", "go"}
)
IRREGULAR_PARTICIPLES = frozenset(
    """
    beaten begun bent bought bound broken brought built came caught chosen come done drawn driven fallen felt
    forgotten found gave given gone grown held hidden kept known laid led left lost made marked meant met paid
    risen said sat saw seen sent shown sold spent spoken stolen stood stuck taken thought thrown told torn
    took went woken won worn written
    """.split()  # noqa: SIM905  (65 quoted words would fill a screen)
)
NOT_PARTICIPLES = frozenset({"embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed", "succeed"})
ALLOWED = frozenset({"given"})  # given(facts).when(command).then(facts): the usual form of a decider's test
NODES = frozenset({ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.arg, ast.Name})


class Found(Struct, frozen=True):
    """A place in the code, and the word that a rule is about."""

    where: str
    word: str


class Words(Struct, frozen=True):
    openings: list[Found]
    """The first word of each docstring, in lower case."""
    functions: list[Found]
    """The name of each function without leading underscores; tests are sentences, and properties are no functions."""
    variables: list[Found]
    """Each name that is assigned or is a parameter."""


@lru_cache(maxsize=1)
def read_words() -> Words:
    words = Words(openings=[], functions=[], variables=[])
    for folder in FOLDERS:
        for path in sorted((TOP / folder).rglob("*.py")):
            add_words(words, str(path.relative_to(TOP)), ast.parse(path.read_text()))
    return words


def add_words(words: Words, path: str, tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if type(node) not in NODES:  # a set look-up, because half a million nodes pass here
            continue
        match node:
            case ast.Module():
                add_opening(words, f"{path}:1", node)
            case ast.ClassDef():
                add_opening(words, f"{path}:{node.lineno}", node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                add_opening(words, f"{path}:{node.lineno}", node)
                if not (node.name.startswith("test_") or is_property(node)):
                    words.functions.append(Found(f"{path}:{node.lineno}", node.name.strip("_")))
            case ast.arg():
                words.variables.append(Found(f"{path}:{node.lineno}", node.arg))
            case ast.Name(ctx=ast.Store()):
                words.variables.append(Found(f"{path}:{node.lineno}", node.id))
            case _:
                pass


def add_opening(
    words: Words, where: str, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
) -> None:
    if text := ast.get_docstring(node, clean=False):
        words.openings.append(Found(where, text.split(maxsplit=1)[0].lower().strip(".,:;'\"")))


def is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(name, ast.Name) and name.id.endswith("property") for name in node.decorator_list)


def is_participle(name: str) -> bool:
    regular = name.endswith("ed") and name not in NOT_PARTICIPLES
    return "_" not in name and name not in ALLOWED and (regular or name in IRREGULAR_PARTICIPLES)


def list_places(found: list[Found], is_odd: Callable[[str], bool]) -> list[str]:
    return [f"{place.where} {place.word}" for place in found if is_odd(place.word)]


def test_docstrings_open_with_a_usual_verb() -> None:
    odd = list_places(read_words().openings, FIRST_VERBS.__contains__)
    assert not odd, f"open these with Return, Raise, Create, Read, Write, Wait, Yield, …: {odd}"


def test_docstrings_name_their_subject() -> None:
    odd = list_places(read_words().openings, VAGUE_WORDS.__contains__)
    assert not odd, f"open these with the term for the subject, or with a verb that says what happens: {odd}"


def test_functions_are_not_named_by_a_bare_participle() -> None:
    odd = list_places(read_words().functions, is_participle)
    assert not odd, f"name these verb + object (`mark_event`), and booleans `is_…` or `has_…`: {odd}"


def test_function_names_do_not_end_in_of() -> None:
    odd = list_places(
        read_words().functions, lambda name: name.endswith("_of") and not name.startswith(("is_", "has_"))
    )
    assert not odd, f"name these verb + object (`find_children`, not `children_of`): {odd}"


def test_no_variable_is_named_one() -> None:
    odd = list_places(read_words().variables, lambda name: name == "one")
    assert not odd, f"name the thing (`run`, `event`, `row`): {odd}"


@pytest.mark.parametrize("name", ["told", "marked", "opened", "recorded"])
def test_a_bare_participle_is_recognised(name: str) -> None:
    assert is_participle(name)


@pytest.mark.parametrize("name", ["feed", "open", "read", "mark_event", "is_open", "refused_rows"])
def test_verbs_and_longer_names_are_no_bare_participles(name: str) -> None:
    assert not is_participle(name)
