"""Settings of projections: following the log, reading the read models, and rebuilding them."""

from typing import Annotated

from msgspec import Meta, Struct

from domain.setting_types import Count, Milliseconds, Seconds

SecondsOrZero = Annotated[float, Meta(ge=0, le=31_536_000)]


class ProjectionSettings(Struct, frozen=True, kw_only=True):
    """Projection workers, which fold events into read models, and the connections that read these."""

    batch_events: Count = 2_000
    """Maximum number of events that a projection, or a retry of parked workspaces, folds in one transaction."""
    gather_seconds_min: SecondsOrZero = 0.03
    """Minimum pause between two batches of a projection that has caught up; events meanwhile are batched."""
    gather_seconds_max: SecondsOrZero = 0.15
    """Maximum pause between two batches."""
    gather_seconds_per_event: SecondsOrZero = 0.0002
    """Pause per event of the batch before it, within this minimum and maximum."""
    checkpoint_seconds: Seconds = 0.5
    """How often the checkpoint is written when new events do not concern the projection."""
    commit_seconds: Seconds = 60
    """Timeout of one batch; after it the connection is closed and the batch is retried over another one."""
    stalled_seconds: Seconds = 30
    """How long a projection may make no progress while events wait before `/readyz` reports it."""
    standby_seconds: Seconds = 1.0
    """How often a standby worker tries to become the active one."""
    hung_seconds: Seconds = 10.0
    """How long an unresponsive worker may leave events unfolded before a standby terminates its PostgreSQL session."""
    readers: Count = 4
    """Number of connections that read the read models."""
    readers_waiting: Count = 1_000
    """Maximum number of reads that wait for one of these connections; further reads fail with 503."""
    read_timeout_seconds: Seconds = 5
    """How long a read waits for one of these connections before it fails with 503."""


class RebuildSettings(Struct, frozen=True, kw_only=True):
    """`callsheet projections rebuild`, which rebuilds read models next to the live ones and swaps them in."""

    page_events: Count = 10_000
    """Number of events folded in one transaction."""
    swap_events_max: Count = 2_000
    """How many events a rebuild may be behind when it swaps; readers are blocked while it folds these."""
    swap_wait_ms: Milliseconds = 500
    """How long a swap waits for its locks before it lets others go first; less than PostgreSQL's `deadlock_timeout`."""
    swap_tries: Count = 40
    """Number of attempts to swap before the rebuild stops and has to be resumed with `--resume`."""
    swap_pause_seconds: Seconds = 0.5
    """Pause between two attempts."""
    statement_timeout_ms: Milliseconds = 3_600_000
    """Timeout of one SQL statement, such as creating an index or hashing a table."""
    sampled_differences: Count = 10
    """Number of different rows listed per table; all of them are counted."""

    @property
    def near_events(self) -> int:
        """Lag in events at which a rebuild begins to swap: at most one page."""
        return min(self.page_events, self.swap_events_max)
