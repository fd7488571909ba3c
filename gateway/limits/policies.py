"""Policies of rate limits: how much a workspace and a credential may use, with exceptions for some workspaces."""

from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from domain.ids import to_uuid

FILE_BYTES_MAX: Final = 1024 * 1024
PerSecond = Annotated[float, Meta(gt=0, le=1_000_000)]
Burst = Annotated[int, Meta(ge=4, le=10_000_000)]


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token bucket: `burst` requests at once, and `per_second` come back."""

    per_second: PerSecond
    burst: Burst

    @property
    def window_seconds(self) -> int:
        """Return in how many seconds an empty bucket is full again, at least 1."""
        return max(1, round(self.burst / self.per_second))


class WorkspacePolicies(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policies of one workspace that differ from the defaults."""

    workspace: Policy | None = None
    credential: Policy | None = None


class OverridesFile:
    """Policies by workspace, read from a JSON file: `{"ws_…": {"workspace": {"per_second": 10, "burst": 100}}}`."""

    def __init__(self, path: str) -> None:
        """Read the file. Raises ValueError with what is wrong in it."""
        self._path = path
        try:
            if Path(path).stat().st_size > FILE_BYTES_MAX:
                raise ValueError(f"the file of rate limits {path} is too large. Limit: {FILE_BYTES_MAX} bytes")
            listed = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, WorkspacePolicies])
        except OSError as error:
            raise ValueError(f"the file of rate limits {path} cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ValueError(f"the file of rate limits {path} is invalid: {error}") from None
        self.policies: dict[UUID, WorkspacePolicies] = {}
        for name, policies in listed.items():
            try:
                self.policies[to_uuid("ws", name)] = policies
            except ValueError:
                raise ValueError(f"the file of rate limits {path} names `{name}`, which is not a workspace") from None

    def __repr__(self) -> str:
        return f"OverridesFile({self._path})"


NO_POLICIES: Final = WorkspacePolicies()


class Policies:
    """The policies of every workspace."""

    def __init__(self, workspace: Policy, credential: Policy, overrides: OverridesFile | None) -> None:
        """Create it from the defaults and the exceptions."""
        self._workspace = workspace
        self._credential = credential
        self._overrides = {} if overrides is None else overrides.policies

    def find_workspace_policy(self, workspace_id: UUID) -> Policy:
        """Return the policy of a workspace as a whole."""
        return self._overrides.get(workspace_id, NO_POLICIES).workspace or self._workspace

    def find_credential_policy(self, workspace_id: UUID) -> Policy:
        """Return the policy of each user and API key of a workspace."""
        return self._overrides.get(workspace_id, NO_POLICIES).credential or self._credential
