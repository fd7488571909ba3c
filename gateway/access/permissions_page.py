"""The permission table of `docs/security.md`: `python -m gateway.access.permissions_page`."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from domain.project import Role
from gateway.access.permissions import ADMIN, ROLES, Permission
from gateway.catalog import OPERATIONS
from gateway.identity.scopes import PRIVILEGED
from gateway.operations.operation import Operation

PAGE: Final = Path(__file__).parents[2] / "docs" / "security.md"
TABLE: Final = re.compile(r"(<!-- permissions -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD: Final = (
    "| operation | scope | owner | editor | reviewer | viewer | `workspace:admin` |\n|---|---|---|---|---|---|---|\n"
)
SHOWN_ROLES: Final = (Role.OWNER, Role.EDITOR, Role.REVIEWER, Role.VIEWER)


def render_table(operations: Iterable[Operation]) -> str:
    """Return the permissions of every operation that needs a token, as Markdown."""
    rows = [row for operation in operations if operation.scope is not None for row in _render_rows(operation)]
    return HEAD + "".join(rows)


def _render_rows(operation: Operation) -> list[str]:
    scope = f"`{operation.scope}`" + (" (privileged)" if operation.scope in PRIVILEGED else "")
    name = f"`{operation.operation_id}`"
    if operation.permission is None:
        return [f"| {name} | {scope} | {' | '.join(['all'] * 5)} |\n"]
    rows = [f"| {name} | {scope} | {_render_cells(operation.permission)} |\n"]
    fields: dict[Permission, list[str]] = {permission: [] for permission in operation.field_permissions.values()}
    for field, permission in operation.field_permissions.items():
        fields[permission].append(f"`{field}`")
    rows += [
        f"| {name} with {' or '.join(names)} | {scope} | {_render_cells(permission)} |\n"
        for permission, names in fields.items()
    ]
    return rows


def _render_cells(permission: Permission) -> str:
    permitted = [*(role in ROLES[permission] for role in SHOWN_ROLES), permission in ADMIN]
    return " | ".join("yes" if is_permitted else "" for is_permitted in permitted)


def render_page(text: str) -> str:
    """Return the page with the table regenerated."""
    return TABLE.sub(lambda found: f"{found[1]}{render_table(OPERATIONS)}{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(render_page(PAGE.read_text()))
    sys.stdout.write(f"wrote {PAGE}\n")
