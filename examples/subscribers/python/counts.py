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
    """Number of events of a batch that were counted, and the highest position.

    `removed` are events that a restore has removed from the log: not counted, or no longer. `missing` is the number of
    positions that were jumped over, and `missing_from` the first of them; with a filter they mean nothing and are 0.
    """

    counted: int = 0
    seen_before: int = 0
    removed: int = 0
    unreadable: int = 0
    position: int = 0
    missing: int = 0
    missing_from: int = 0


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
                self._note_gap(added, result)
                result.removed += self._learn_epoch(added.log, added.epoch, added.epoch_after)
                if self._is_removed(added):
                    result.removed += 1
                    self._run("update scope set removed = removed + 1")
                elif self._insert(added):
                    result.counted += 1
                    self._run("delete from unreadable where id = ?", added.id)
                else:
                    result.seen_before += 1
            self._run("update scope set seen_before = seen_before + ?", result.seen_before)
        return result

    def _note_gap(self, added: EventCounts, result: BatchResult) -> None:
        """Note the positions between the highest that was counted and a higher one: they may still be delivered."""
        if self.subject != EVERY_FACT:  # most positions belong to other subjects
            return
        highest = self._run("select max(position) from events where log = ?", added.log).fetchone()[0] or 0
        if added.position > highest + 1:
            result.missing += added.position - highest - 1
            result.missing_from = result.missing_from or highest + 1

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

    def _insert(self, added: EventCounts) -> bool:
        """Insert the event's id and what it adds; return whether it was new. This is the complete deduplication."""
        marks = ", ".join("?" * (10 + len(COUNTERS)))
        return self._run(
            f"insert into events values ({marks}) on conflict do nothing",  # noqa: S608  # only question marks
            *(added.id, added.log, added.epoch, added.position, added.subject, added.workspace, added.day),
            *(added.workflow, added.name),
            *(added.counters.get(name, 0) for name in COUNTERS),
            str(added.cost_atto_usd),
        ).rowcount == 1  # fmt: skip

    def learn_epochs(self, log: str, epochs: Iterable[tuple[str, int]]) -> int:
        """Learn the epochs of a log, and after which position each began; return how many events are removed."""
        known = {str(row[0]) for row in self._run("select epoch from epochs where log = ?", log)} | {log}
        new = [(epoch, after) for epoch, after in epochs if epoch not in known]
        if not new:  # read before writing: this must not wait for another process
            return 0
        with self._transaction():
            return sum(self._learn_epoch(log, epoch, after) for epoch, after in new)

    def _learn_epoch(self, log: str, epoch: str, after: int) -> int:
        """Undo what earlier epochs added after the beginning of a new one: a restore has removed it from the log.

        Tags of epochs grow, except that the first one is the end of the log's id.
        """
        insert = "insert into epochs values (?, ?, ?) on conflict do nothing"
        if epoch == log or self._run(insert, log, epoch, after).rowcount == 0:
            return 0
        removed = self._run(
            "delete from events where log = ? and position > ? and (epoch = log or epoch < ?)", log, after, epoch
        ).rowcount
        self._run("update scope set removed = removed + ?", removed)
        return removed

    def _is_removed(self, added: EventCounts) -> bool:
        """Return whether a later epoch began before an event: it is no longer in the log, only in the stream."""
        return self._run(
            """select 1 from epochs where log = ?1 and (?2 = log or epoch > ?2) and after < ?3""",
            *(added.log, added.epoch, added.position),
        ).fetchone() is not None  # fmt: skip

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
            "removed": self._run("select sum(removed) from scope").fetchone()[0] or 0,
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
