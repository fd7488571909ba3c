/**
 * What the subscriber keeps: a SQLite file in which an event and what it adds move in one transaction.
 *
 * It is Node's own `node:sqlite`: nothing to compile or to install, and the very file that the Python subscriber keeps.
 */

import { existsSync, readFileSync } from "node:fs";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";

import { type Added, COUNTERS, type Counter, read, Unreadable, usd } from "./facts.ts";

export const EVERY_FACT = "callsheet.v1.>";
const SCHEMA = readFileSync(new URL("../schema.sql", import.meta.url), "utf8");
const GAPS_SHOWN = 100;

/** The positions between those that were counted. */
const GAPS = `
select log, position - missing as "from", position - 1 as through
  from (select log, position, position - 1 - lag(position, 1, 0) over (partition by log order by position) as missing
          from events)
 where missing > 0
 order by log, position
 limit ?
`;

/** The file counts something else. */
export class WrongFile extends Error {}

/** What came of a batch. */
export interface Taken {
  counted: number;
  seenBefore: number;
  unreadable: number;
  position: number;
}

type Row = Record<string, unknown>;

/** In the shape of report.schema.json. */
export interface Report {
  readonly subject: string;
  readonly logs: readonly { log: string; first: number; last: number; events: number }[];
  readonly gaps: readonly { log: string; from: number; through: number }[] | null;
  readonly seen_before: number;
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

/** The counts of one file. */
export class Counts {
  readonly subject: string;
  readonly #database: DatabaseSync;

  /** Open the file, or make it for the facts of a filter; without one it has to be there. Throws WrongFile. */
  constructor(path: string, subject: string | null) {
    if (subject === null && !existsSync(path)) throw new WrongFile(`there is no ${path}`);
    this.#database = new DatabaseSync(path, { timeout: 30_000 });
    this.#database.exec(`pragma journal_mode = wal; pragma synchronous = full; ${SCHEMA}`);
    // It is looked at first, so that opening a file that is there never waits for whoever writes to it.
    if (this.#scope() === null) {
      this.#run("insert into scope (one, subject) values (1, ?) on conflict do nothing", subject ?? EVERY_FACT);
    }
    this.subject = this.#scope() ?? EVERY_FACT;
    if (subject !== null && subject !== this.subject) {
      throw new WrongFile(`${path} counts ${this.subject}, and not ${subject}: name another file with --database`);
    }
  }

  #scope(): string | null {
    const row = this.#all("select subject from scope")[0];
    return row === undefined ? null : String(row["subject"]);
  }

  close(): void {
    this.#database.close();
  }

  /** Tell whether nothing was ever counted here. */
  isNew(): boolean {
    return this.#all("select 1 from events union all select 1 from unreadable limit 1").length === 0;
  }

  /** Count a batch of (id, envelope). When this returns, all of it is on disk, and may be acknowledged. */
  take(envelopes: readonly (readonly [id: string, envelope: string])[]): Taken {
    const taken: Taken = { counted: 0, seenBefore: 0, unreadable: 0, position: 0 };
    this.#database.exec("begin immediate");
    try {
      for (const [id, envelope] of envelopes) this.#takeOne(id, envelope, taken);
      this.#run("update scope set seen_before = seen_before + ?", taken.seenBefore);
      this.#database.exec("commit");
    } catch (fault) {
      this.#database.exec("rollback");
      throw fault;
    }
    return taken;
  }

  #takeOne(id: string, envelope: string, taken: Taken): void {
    let added: Added;
    try {
      added = read(envelope);
    } catch (fault) {
      if (!(fault instanceof Unreadable)) throw fault;
      taken.unreadable += 1;
      this.#run("insert into unreadable values (?, ?) on conflict do nothing", id, fault.message);
      return;
    }
    taken.position = Math.max(taken.position, added.position);
    if (this.#isFirst(added)) {
      taken.counted += 1;
      this.#add(added);
    } else {
      taken.seenBefore += 1;
    }
  }

  /** Write down the event's id. This is the whole of the dedupe: a second time there is no row to insert. */
  #isFirst(added: Added): boolean {
    const statement = "insert into events (id, log, position) values (?, ?, ?) on conflict do nothing";
    return this.#run(statement, added.id, added.log, added.position) === 1;
  }

  #add(added: Added): void {
    this.#run("delete from unreadable where id = ?", added.id);
    if (added.workflow !== null) {
      this.#run("insert into runs values (?, ?) on conflict do nothing", added.thing, added.workflow);
    }
    if (added.name !== null) {
      this.#run(
        `insert into workflows values (?, ?, ?) on conflict (workflow) do update
         set name = excluded.name, position = excluded.position where excluded.position > position`,
        added.thing, added.name, added.position,
      );
    }
    if (Object.keys(added.counters).length > 0) this.#addToCounts(added);
  }

  #addToCounts(added: Added): void {
    const found = this.#all("select cost_atto_usd from counts where run = ? and day = ?", added.thing, added.day)[0];
    const cost = added.costAttoUsd + (found === undefined ? 0n : BigInt(String(found["cost_atto_usd"])));
    this.#run(
      `insert into counts values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (run, day) do update set
           started = started + excluded.started, completed = completed + excluded.completed,
           failed = failed + excluded.failed, cancelled = cancelled + excluded.cancelled,
           model_calls = model_calls + excluded.model_calls,
           input_tokens = input_tokens + excluded.input_tokens,
           output_tokens = output_tokens + excluded.output_tokens, cost_atto_usd = excluded.cost_atto_usd`,
      added.thing, added.day, added.workspace,
      ...COUNTERS.map((name) => added.counters[name] ?? 0),
      cost.toString(),
    );
  }

  #run(statement: string, ...values: SQLInputValue[]): number {
    return Number(this.#database.prepare(statement).run(...values).changes);
  }

  #all(statement: string, ...values: SQLInputValue[]): Row[] {
    return this.#database.prepare(statement).all(...values);
  }

  /** Give all that is counted. */
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
      // With a filter most positions are those of others, and nothing can be told from what lies between.
      gaps: filtered ? null : this.#all(GAPS, GAPS_SHOWN).map((row) => ({
        log: String(row["log"]), from: Number(row["from"]), through: Number(row["through"]),
      })),
      seen_before: Number(this.#all("select coalesce(sum(seen_before), 0) as n from scope")[0]?.["n"]),
      unreadable: Number(this.#all("select count(*) as n from unreadable")[0]?.["n"]),
      workflows: this.#workflows(),
    };
  }

  /** Sum the runs up by workspace, workflow and day; the workflow is null while `run.started` has not come. */
  #workflows(): WorkflowDay[] {
    const sums = new Map<string, { row: WorkflowDay; cost: bigint }>();
    for (const one of this.#database.prepare(
      `select workspace, runs.workflow, workflows.name, day,
              started, completed, failed, cancelled, model_calls, input_tokens, output_tokens, cost_atto_usd
         from counts left join runs using (run) left join workflows using (workflow)
        order by workspace, coalesce(runs.workflow, ''), day`,
    ).iterate() as Iterable<Row>) {
      const key = [one["workspace"], one["workflow"], one["day"]].join(" ");
      let sum = sums.get(key);
      if (sum === undefined) sums.set(key, (sum = { row: emptyRow(one), cost: 0n }));
      for (const name of COUNTERS) sum.row[name] += Number(one[name]);
      sum.cost += BigInt(String(one["cost_atto_usd"]));
    }
    return [...sums.values()].map(({ row, cost }) => ({ ...row, cost_usd: usd(cost) }));
  }
}

function emptyRow(one: Row): WorkflowDay {
  return {
    workspace: String(one["workspace"]),
    workflow: one["workflow"] === null ? null : String(one["workflow"]),
    name: one["name"] === null ? null : String(one["name"]),
    day: String(one["day"]),
    started: 0, completed: 0, failed: 0, cancelled: 0, model_calls: 0, input_tokens: 0, output_tokens: 0,
    cost_usd: "0",
  };
}
