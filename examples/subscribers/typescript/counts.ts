/**
 * The SQLite file with the counts: an event's id and what it adds are committed in one transaction.
 *
 * Uses Node's own `node:sqlite`, so nothing is compiled or installed. The Python subscriber can use the same file.
 */

import { existsSync, readFileSync } from "node:fs";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";

import { COUNTERS, type Counter, type EventCounts, formatUsd, readEnvelope, Unreadable } from "./facts.ts";

export const EVERY_FACT = "callsheet.v1.>";
const SCHEMA = readFileSync(new URL("../schema.sql", import.meta.url), "utf8");
const GAPS_SHOWN = 100;

/** Ranges of missing positions. */
const GAPS = `
select log, position - missing as "from", position - 1 as through
  from (select log, position, position - 1 - lag(position, 1, 0) over (partition by log order by position) as missing
          from events)
 where missing > 0
 order by log, position
 limit ?
`;

/** The file does not exist, or counts the events of another filter. */
export class WrongFile extends Error {}

/**
 * How many events of a batch were counted, and the highest position.
 *
 * `removed` are events that a restore has removed from the log: not counted, or no longer. `missing` is the number of
 * positions that were jumped over, and `missingFrom` the first of them; with a filter they mean nothing and are 0.
 */
export interface BatchResult {
  counted: number;
  seenBefore: number;
  removed: number;
  unreadable: number;
  position: number;
  missing: number;
  missingFrom: number;
}

type Row = Record<string, unknown>;

/** The counts, as report.schema.json describes them. */
export interface Report {
  readonly subject: string;
  readonly logs: readonly { log: string; first: number; last: number; events: number }[];
  readonly gaps: readonly { log: string; from: number; through: number }[] | null;
  readonly seen_before: number;
  readonly removed: number;
  readonly unreadable: number;
  readonly workflows: readonly WorkflowDay[];
}

export type WorkflowDay = Record<Counter, number> & {
  workspace: string;
  workflow: string | null;
  name: string | null;
  day: string;
  cost_usd: string;
};

/** The counts in one SQLite file. */
export class Counts {
  readonly subject: string;
  readonly #database: DatabaseSync;

  /** Open the file, or create it for a filter. With `subject` null it must exist. Throws WrongFile. */
  constructor(path: string, subject: string | null) {
    if (subject === null && !existsSync(path)) throw new WrongFile(`${path} does not exist`);
    this.#database = new DatabaseSync(path, { timeout: 30_000 });
    this.#database.exec(`pragma journal_mode = wal; pragma synchronous = full; ${SCHEMA}`);
    // Read before writing: opening an existing file must not wait for its writer.
    if (this.#scope() === null) {
      this.#run("insert into scope (one, subject) values (1, ?) on conflict do nothing", subject ?? EVERY_FACT);
    }
    this.subject = this.#scope() ?? EVERY_FACT;
    if (subject !== null && subject !== this.subject) {
      throw new WrongFile(`${path} counts ${this.subject}, not ${subject}: choose another file with --database`);
    }
  }

  #scope(): string | null {
    const row = this.#all("select subject from scope")[0];
    return row === undefined ? null : String(row["subject"]);
  }

  close(): void {
    this.#database.close();
  }

  /** Return whether nothing was ever counted in this file. */
  isNew(): boolean {
    return this.#all("select 1 from events union all select 1 from unreadable limit 1").length === 0;
  }

  /** Count a batch of (id, envelope). On return it is on disk and may be acknowledged. */
  applyBatch(envelopes: readonly (readonly [id: string, envelope: string])[]): BatchResult {
    const result: BatchResult = {
      counted: 0, seenBefore: 0, removed: 0, unreadable: 0, position: 0, missing: 0, missingFrom: 0,
    };
    this.#transact(() => {
      for (const [id, envelope] of envelopes) this.#applyEvent(id, envelope, result);
      this.#run("update scope set seen_before = seen_before + ?", result.seenBefore);
    });
    return result;
  }

  #applyEvent(id: string, envelope: string, result: BatchResult): void {
    let added: EventCounts;
    try {
      added = readEnvelope(envelope);
    } catch (fault) {
      if (!(fault instanceof Unreadable)) throw fault;
      result.unreadable += 1;
      this.#run("insert into unreadable values (?, ?) on conflict do nothing", id, fault.message);
      return;
    }
    result.position = Math.max(result.position, added.position);
    this.#noteGap(added, result);
    result.removed += this.#learnEpoch(added.log, added.epoch, added.epochAfter);
    if (this.#isRemoved(added)) {
      result.removed += 1;
      this.#run("update scope set removed = removed + 1");
    } else if (this.#insert(added)) {
      result.counted += 1;
      this.#run("delete from unreadable where id = ?", added.id);
    } else {
      result.seenBefore += 1;
    }
  }

  /** Note the positions between the highest that was counted and a higher one: they may still be delivered. */
  #noteGap(added: EventCounts, result: BatchResult): void {
    if (this.subject !== EVERY_FACT) return; // most positions belong to other subjects
    const row = this.#all("select coalesce(max(position), 0) as highest from events where log = ?", added.log)[0];
    const highest = Number(row?.["highest"]);
    if (added.position <= highest + 1) return;
    result.missing += added.position - highest - 1;
    result.missingFrom ||= highest + 1;
  }

  /** Insert the event's id and what it adds; return whether it was new. This is the complete deduplication. */
  #insert(added: EventCounts): boolean {
    const marks = Array.from({ length: 10 + COUNTERS.length }, () => "?").join(", ");
    return this.#run(
      `insert into events values (${marks}) on conflict do nothing`,
      added.id, added.log, added.epoch, added.position, added.subject, added.workspace, added.day,
      added.workflow, added.name,
      ...COUNTERS.map((name) => added.counters[name] ?? 0),
      added.costAttoUsd.toString(),
    ) === 1;
  }

  /** Learn the epochs of a log, each with the position after which it began; return how many events are removed. */
  learnEpochs(log: string, epochs: readonly (readonly [epoch: string, after: number])[]): number {
    const known = new Set([log, ...this.#all("select epoch from epochs where log = ?", log).map((row) => String(row["epoch"]))]);
    const unknown = epochs.filter(([epoch]) => !known.has(epoch));
    if (unknown.length === 0) return 0; // read before writing: this must not wait for another process
    return this.#transact(() => unknown.reduce((sum, [epoch, after]) => sum + this.#learnEpoch(log, epoch, after), 0));
  }

  /**
   * Take back what earlier epochs added after the beginning of a new one: a restore has removed it from the log.
   *
   * Tags of epochs grow, except that the first one is the end of the log's id.
   */
  #learnEpoch(log: string, epoch: string, after: number): number {
    if (epoch === log) return 0;
    const inserted = this.#run("insert into epochs values (?, ?, ?) on conflict do nothing", log, epoch, after);
    if (inserted === 0) return 0;
    const removed = this.#run(
      "delete from events where log = ? and position > ? and (epoch = log or epoch < ?)", log, after, epoch,
    );
    this.#run("update scope set removed = removed + ?", removed);
    return removed;
  }

  /** Return whether a later epoch began before an event: it is no longer in the log, only in the stream. */
  #isRemoved(added: EventCounts): boolean {
    return this.#all(
      "select 1 from epochs where log = ?1 and (?2 = log or epoch > ?2) and after < ?3",
      added.log, added.epoch, added.position,
    ).length > 0;
  }

  #transact<T>(work: () => T): T {
    this.#database.exec("begin immediate");
    try {
      const result = work();
      this.#database.exec("commit");
      return result;
    } catch (fault) {
      this.#database.exec("rollback");
      throw fault;
    }
  }

  #run(statement: string, ...values: SQLInputValue[]): number {
    return Number(this.#database.prepare(statement).run(...values).changes);
  }

  #all(statement: string, ...values: SQLInputValue[]): Row[] {
    return this.#database.prepare(statement).all(...values);
  }

  /** Return the counts. */
  report(): Report {
    const logs = this.#all("select log, min(position), max(position), count(*) from events group by log order by log");
    const filtered = this.subject !== EVERY_FACT;
    return {
      subject: this.subject,
      logs: logs.map((row) => ({
        log: String(row["log"]),
        first: Number(row["min(position)"]),
        last: Number(row["max(position)"]),
        events: Number(row["count(*)"]),
      })),
      // With a filter most positions belong to other subjects, so gaps mean nothing.
      gaps: filtered ? null : this.#all(GAPS, GAPS_SHOWN).map((row) => ({
        log: String(row["log"]), from: Number(row["from"]), through: Number(row["through"]),
      })),
      seen_before: Number(this.#all("select coalesce(sum(seen_before), 0) as n from scope")[0]?.["n"]),
      removed: Number(this.#all("select coalesce(sum(removed), 0) as n from scope")[0]?.["n"]),
      unreadable: Number(this.#all("select count(*) as n from unreadable")[0]?.["n"]),
      workflows: this.#workflows(),
    };
  }

  /** Sum runs by workspace, workflow and day. The workflow is null until `run.started` has arrived. */
  #workflows(): WorkflowDay[] {
    const sums = new Map<string, { row: WorkflowDay; cost: bigint }>();
    for (const row of this.#database.prepare(
      `select workspace, runs.workflow, workflows.name, day,
              started, completed, failed, cancelled, model_calls, input_tokens, output_tokens, cost_atto_usd
         from counts left join runs using (run) left join workflows using (workflow)
        order by workspace, coalesce(runs.workflow, ''), day`,
    ).iterate() as Iterable<Row>) {
      const key = [row["workspace"], row["workflow"], row["day"]].join(" ");
      let sum = sums.get(key);
      if (sum === undefined) sums.set(key, (sum = { row: emptyRow(row), cost: 0n }));
      for (const name of COUNTERS) sum.row[name] += Number(row[name]);
      sum.cost += BigInt(String(row["cost_atto_usd"]));
    }
    return [...sums.values()].map(({ row, cost }) => ({ ...row, cost_usd: formatUsd(cost) }));
  }
}

function emptyRow(row: Row): WorkflowDay {
  return {
    workspace: String(row["workspace"]),
    workflow: row["workflow"] === null ? null : String(row["workflow"]),
    name: row["name"] === null ? null : String(row["name"]),
    day: String(row["day"]),
    started: 0, completed: 0, failed: 0, cancelled: 0, model_calls: 0, input_tokens: 0, output_tokens: 0,
    cost_usd: "0",
  };
}
