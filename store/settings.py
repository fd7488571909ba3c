"""Settings of the event log: appending, reading, and how long command ids are kept."""

from pathlib import Path
from typing import Final

from msgspec import Struct

from domain.setting_types import Bytes, Count, Milliseconds, Seconds

STATEMENT_TIMEOUT_MS: Final = 10_000
MIB: Final = 1024 * 1024


class StoreSettings(Struct, frozen=True, kw_only=True):
    """The event log and its PostgreSQL connections."""

    append_queue_commands: Count = 10_000
    """Maximum number of commands that wait to be appended; further commands fail with 503."""
    append_batch_events: Count = 512
    """Target number of events per append; a command is never split, so that a batch may be larger."""
    append_batch_bytes: Bytes = 4 * 1024 * 1024
    """Target size of one append, in bytes; a command is never split."""
    append_answer_seconds: Seconds = 30
    """How long an append may wait for its answer, such as while a synchronous standby is away; then its outcome is
    unknown (503 `outcome_unknown`). Longer than the statement timeout."""
    statement_timeout_ms: Milliseconds = STATEMENT_TIMEOUT_MS
    """Timeout of one SQL statement; also the longest time that one append can block the others."""
    command_ids_hours: Count = 24
    """How long a request that is repeated with the same `Idempotency-Key` gets its first response."""
    readers: Count = 4
    """Number of connections that read the log."""
    readers_waiting: Count = 1_000
    """Maximum number of reads that wait for one of these connections; further reads fail with 503."""
    read_timeout_seconds: Seconds = 5
    """How long a read waits for one of these connections before it fails with 503."""
    probe_seconds: Seconds = 1
    """How often a process checks that the database is there and can be written."""
    silent_seconds: Seconds = 3
    """How long the database may leave this check unanswered; then requests fail with 503 at once until it answers."""
    aggregate_cache_streams: Count = 10_000
    """Number of folded streams cached in memory (least recently used first out)."""


class CacheSettings(Struct, frozen=True, kw_only=True):
    """Memory of one process's caches."""

    bytes: Bytes = 256 * MIB
    """Memory of the caches of a process together, estimated in bytes: a quarter each for folded streams, recent events
    and read models, an eighth each for compiled graphs and references of prompts. Compiled expressions take at most
    96 MB more, and encoded events what `CALLSHEET_STREAM_EVENTS_CACHED_BYTES` says."""

    @property
    def stream_bytes(self) -> int:
        """Memory of folded streams."""
        return self.bytes // 4

    @property
    def feed_bytes(self) -> int:
        """Memory of recent events."""
        return self.bytes // 4

    @property
    def graph_bytes(self) -> int:
        """Memory of compiled graphs."""
        return self.bytes // 8

    @property
    def prompt_bytes(self) -> int:
        """Memory of the references of prompts to their texts."""
        return self.bytes // 8

    @property
    def projection_bytes(self) -> int:
        """Memory of the streams that all projections together cache."""
        return self.bytes // 4


class RunSettings(Struct, frozen=True, kw_only=True):
    """Bounds on runs: of a workspace, and of the descendants of one run; a step that would exceed one fails."""

    descendants: Count = 10_000
    """Maximum number of descendants of one run in total."""
    descendants_under_way: Count = 1_000
    """Maximum number of descendants of one run under way at once; a step counts with its whole `concurrency`."""
    depth: Count = 8
    """Maximum number of levels of descendants."""
    workspace_under_way: Count = 100_000
    """Maximum number of runs of one workspace under way, waiting ones included; further starts get 429."""
    workspace_begun_a_minute: Count = 600_000
    """Maximum number of runs that one workspace begins a minute, over all processes; further starts get 429."""


class WorkSettings(Struct, frozen=True, kw_only=True):
    """Worker processes for expressions, forms and bodies that would hold the event loop."""

    processes: Count = 2
    """Maximum number of worker processes; they start when work arrives. One workspace never occupies all of several."""
    seconds_max: Seconds = 5
    """CPU time of one piece of work; then its worker is killed, and the step or request fails. It may wait for a
    processor for six times as long in total."""
    memory_bytes_max: Bytes = 1024 * 1024 * 1024
    """Address space of one worker, about 200 MB of which are libraries. Not enforced on macOS."""


class SealSettings(Struct, frozen=True, kw_only=True):
    """Seals of the log: a Merkle tree over every event, with a signed root, by which an auditor checks an export."""

    key_file: Path | None = None
    """File with the private keys that sign, one per line, as `callsheet audit key` prints them; several while keys are
    rotated. Nothing is sealed if not set."""
    page_events: Count = 1_000
    """Number of events that are sealed at a time."""
