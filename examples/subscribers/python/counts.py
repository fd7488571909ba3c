"""The SQLite file with the counts: an event's id and what it adds are committed in one transaction."""

import sqlite3
from collections import defaultdict
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facts import COUNTERS, EventCounts, Unreadable, format_usd, read_envelope

SCHEMA = Path(__file__).parents[1] / "schema.sql"
EVERY_FACT = "callsheet.v1.>"
GAPS_SHOWN = 100

GAPS = """
select log, position - missing as "from", position - 1 as through
  from (select log, position, position - 1 - lag(position, 1, 0) over (partition by log order by position) as missing
          from events)
 where missing > 0
 order by log, position
 limit ?
"""
"""Ranges of missing positions."""


class WrongFile(Exception):
    """The file does not exist, or counts the events of another filter."""


@dataclass
class BatchResult:
    """How many events of a batch were counted, and the highest position."""

    counted: int = 0
    seen_before: int = 0
    unreadable: int = 0
    position: int = 0


class Counts:
    """The counts in one SQLite file."""

    def __init__(self, path: Path, subject: str | None) -> None:
        """Open the file, or create it for a filter. With `subject=None` it must exist. Raises WrongFile."""
        if subject is None and not path.exists():
            raise WrongFile(f"{path} does not exist")
        self._database = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._database.executescript(f"pragma journal_mode = wal; pragma synchronous = full; {SCHEMA.read_text()}")
        # Read before writing: opening an existing file must not wait for its writer.
        if self._scope() is None:
            self._run("insert into scope (one, subject) values (1, ?) on conflict do nothing", subject or EVERY_FACT)
        self.subject = self._scope() or EVERY_FACT
        if subject not in (None, self.subject):
            raise WrongFile(f"{path} counts {self.subject}, not {subject}: choose another file with --database")

    def _scope(self) -> str | None:
        row = self._run("select subject from scope").fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def is_new(self) -> bool:
        """Return whether nothing was ever counted in this file."""
        return self._database.execute("select 1 from events union all select 1 from unreadable").fetchone() is None

    def apply_batch(self, envelopes: Iterable[tuple[str, bytes]]) -> BatchResult:
        """Count a batch of (id, envelope). On return it is on disk and may be acknowledged."""
        result = BatchResult()
        with self._transaction():
            for message_id, envelope in envelopes:
                try:
                    added = read_envelope(envelope)
                except Unreadable as fault:
                    result.unreadable += 1
                    self._run("insert into unreadable values (?, ?) on conflict do nothing", message_id, str(fault))
                    continue
                result.position = max(result.position, added.position)
                if self._insert_id(added):
                    result.counted += 1
                    self._add(added)
                else:
                    result.seen_before += 1
            self._run("update scope set seen_before = seen_before + ?", result.seen_before)
        return result

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._run("begin immediate")
        try:
            yield
        except BaseException:
            self._run("rollback")
            raise
        self._run("commit")

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._database.execute(statement, values)

    def _insert_id(self, added: EventCounts) -> bool:
        """Insert the event's id; return whether it was new. This is the complete deduplication."""
        statement = "insert into events (id, log, position) values (?, ?, ?) on conflict do nothing"
        return self._run(statement, added.id, added.log, added.position).rowcount == 1

    def _add(self, added: EventCounts) -> None:
        self._run("delete from unreadable where id = ?", added.id)
        if added.workflow is not None:
            self._run("insert into runs values (?, ?) on conflict do nothing", added.subject, added.workflow)
        if added.name is not None:
            self._run(
                """insert into workflows values (?, ?, ?) on conflict (workflow) do update
                   set name = excluded.name, position = excluded.position where excluded.position > position""",
                *(added.subject, added.name, added.position),
            )
        if added.counters:
            self._add_to_counts(added)

    def _add_to_counts(self, added: EventCounts) -> None:
        found = self._run(
            "select cost_atto_usd from counts where run = ? and day = ?", added.subject, added.day
        ).fetchone()
        cost = added.cost_atto_usd + (int(found[0]) if found else 0)
        self._run(
            """insert into counts values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (run, day) do update set
                   started = started + excluded.started, completed = completed + excluded.completed,
                   failed = failed + excluded.failed, cancelled = cancelled + excluded.cancelled,
                   model_calls = model_calls + excluded.model_calls,
                   input_tokens = input_tokens + excluded.input_tokens,
                   output_tokens = output_tokens + excluded.output_tokens, cost_atto_usd = excluded.cost_atto_usd""",
            *(added.subject, added.day, added.workspace),
            *(added.counters.get(name, 0) for name in COUNTERS),
            str(cost),
        )

    def report(self) -> dict[str, Any]:
        """Return the counts as report.schema.json describes them."""
        filtered = self.subject != EVERY_FACT
        logs = self._run("select log, min(position), max(position), count(*) from events group by log order by log")
        return {
            "subject": self.subject,
            "logs": [
                {"log": log, "first": first, "last": last, "events": events} for log, first, last, events in logs
            ],
            # With a filter most positions belong to other subjects, so gaps mean nothing.
            "gaps": None if filtered else [
                {"log": log, "from": begin, "through": through}
                for log, begin, through in self._run(GAPS, GAPS_SHOWN)
            ],
            "seen_before": self._run("select sum(seen_before) from scope").fetchone()[0] or 0,
            "unreadable": self._run("select count(*) from unreadable").fetchone()[0],
            "workflows": self._workflows(),
        }  # fmt: skip

    def _workflows(self) -> list[dict[str, Any]]:
        """Sum runs by workspace, workflow and day. The workflow is null until `run.started` has arrived."""
        sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * (len(COUNTERS) + 1))
        names: dict[str, str | None] = {}
        for workspace, workflow, name, day, *numbers in self._run(
            """select workspace, coalesce(runs.workflow, ''), workflows.name, day,
                      started, completed, failed, cancelled, model_calls, input_tokens, output_tokens, cost_atto_usd
                 from counts left join runs using (run) left join workflows using (workflow)"""
        ):
            names[workflow] = name
            row = sums[workspace, workflow, day]
            row[:] = [total + int(number) for total, number in zip(row, numbers, strict=True)]
        return [
            {
                "workspace": workspace,
                "workflow": workflow or None,
                "name": names[workflow],
                "day": day,
                **dict(zip(COUNTERS, numbers[:-1], strict=True)),
                "cost_usd": format_usd(numbers[-1]),
            }
            for (workspace, workflow, day), numbers in sorted(sums.items())
        ]
