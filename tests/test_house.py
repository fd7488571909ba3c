"""The rules of the house that no linter holds: sizes, empty package files, and locks that name no place."""

import ast
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

TOP = Path(__file__).parent.parent
PRODUCT = ("domain", "store", "bus", "commands", "projections", "engine", "gateway", "callsheet")
FOLDERS = (*PRODUCT, "bench", "tests", "examples")
LOCKS = tuple(sorted((TOP / "locks").glob("*.lock")))

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 40
FUNCTION_LINES_MEDIAN_MAX = 8
FOLDER_FILES_MAX = 17

# The one call of the log, and the ways to it: one command, the commands of a turn, and late costs of children, which
# have no decider yet.
APPENDING = ("commands/repository.py", "commands/handler.py", "commands/runs/turn.py", "engine/children/late_costs.py")


class Function(Struct, frozen=True, kw_only=True):
    where: str
    lines: int


def sources(folders: tuple[str, ...], *suffixes: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in sorted((TOP / folder).rglob("*")) if path.suffix in suffixes)


def functions(folders: tuple[str, ...]) -> Iterator[Function]:
    """Every function, nested ones and docstrings counted in, decorators left out."""
    for path in sources(folders, ".py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                yield Function(where=f"{path.relative_to(TOP)}:{node.lineno} {node.name}", lines=lines)


def test_no_file_is_longer_than_its_cap() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources(FOLDERS, ".py", ".sql")}
    long = [f"{path.relative_to(TOP)}: {n} lines" for path, n in lengths.items() if n > FILE_LINES_MAX]
    assert not long, f"longer than {FILE_LINES_MAX} lines: {long}"


def test_no_folder_has_more_files_than_its_cap() -> None:
    files = Counter(path.parent for path in sources(FOLDERS, ".py") if path.name != "__init__.py")
    full = [f"{folder.relative_to(TOP)}: {n} files" for folder, n in files.items() if n > FOLDER_FILES_MAX]
    assert not full, f"more than {FOLDER_FILES_MAX} Python files, divide these by concern: {full}"


def test_no_function_is_longer_than_its_cap() -> None:
    long = [f"{f.where}: {f.lines} lines" for f in functions(FOLDERS) if f.lines > FUNCTION_LINES_MAX]
    assert not long, f"longer than {FUNCTION_LINES_MAX} lines: {long}"


def test_half_of_the_functions_are_short() -> None:
    found = sorted(functions(PRODUCT), key=lambda f: f.lines, reverse=True)
    median = statistics.median([f.lines for f in found] or [0])
    assert median <= FUNCTION_LINES_MEDIAN_MAX, (
        f"the median function has {median} lines, the longest are {[f'{f.where}: {f.lines}' for f in found[:20]]}"
    )


def test_package_files_are_empty() -> None:
    full = [
        str(path.relative_to(TOP))
        for path in sources(FOLDERS, ".py")
        if path.name == "__init__.py" and path.read_text().strip()
    ]
    assert not full, f"an empty __init__.py has no re-exports to chase: {full}"


def test_modules_open_with_a_sentence() -> None:
    mute = [
        str(path.relative_to(TOP))
        for path in sources(FOLDERS, ".py")
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not mute, f"no docstring says what these are for: {mute}"


def test_only_the_store_has_statements_on_the_events_table() -> None:
    statement = re.compile(r"\b(from|join|into|update)\s+events\b|\bnotification_id\b", re.IGNORECASE)
    found: list[str] = []
    for path in sources(tuple(folder for folder in PRODUCT if folder != "store"), ".py", ".sql"):
        text = path.read_text()
        if path.suffix == ".py":
            constants = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
            text = "\n".join(value for value in constants if isinstance(value, str))
        found += [f"{path.relative_to(TOP)}: {match[0]}" for match in statement.finditer(text)]
    assert not found, f"these belong into store/log/queries.py: {found}"


def test_facts_are_appended_in_one_place() -> None:
    """Only an awaited `append` can reach the log (that of a list is not awaited), and only with an `Append`."""
    found: set[str] = set()
    for path in sources(tuple(folder for folder in PRODUCT if folder != "store"), ".py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case (
                    ast.Await(value=ast.Call(func=ast.Attribute(attr="append"))) | ast.Call(func=ast.Name(id="Append"))
                ):
                    found.add(str(path.relative_to(TOP)))
                case _:
                    pass
    assert found == set(APPENDING), f"facts go through a decider and `Streams.append`: {found ^ set(APPENDING)}"


def test_locks_name_versions_and_hashes_and_no_place() -> None:
    line = re.compile(r"[a-z0-9][a-z0-9._-]*==[^ ]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert LOCKS, "no lock files"
    odd = [
        f"{lock.name}: {text}"
        for lock in LOCKS
        for text in lock.read_text().splitlines()
        if "://" in text or not line.fullmatch(text)
    ]
    assert not odd, f"neither a pinned version nor a hash: {odd}"


def test_the_lock_of_node_names_hashes_and_no_place() -> None:
    lock = TOP / "examples" / "subscribers" / "typescript" / "package-lock.json"
    packages = {name: package for name, package in json.loads(lock.read_text())["packages"].items() if name}
    assert len(packages) >= 5
    assert [name for name, package in packages.items() if not package["integrity"].startswith("sha512-")] == []
    assert "://" not in lock.read_text()


def test_each_lock_holds_what_the_smaller_one_pins() -> None:
    def pins(name: str) -> set[str]:
        lines = (TOP / "locks" / f"{name}.lock").read_text().splitlines()
        return {text.split()[0] for text in lines if "==" in text}

    assert pins("runtime") <= pins("embedded") <= pins("dev")
