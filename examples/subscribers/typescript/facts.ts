/** What one event adds to the counts: a CloudEvents envelope in, a few numbers out. */

export const COUNTERS = [
  "started", "completed", "failed", "cancelled", "model_calls", "input_tokens", "output_tokens",
] as const;

export type Counter = (typeof COUNTERS)[number];

const COUNTED_BY_TOPIC: Readonly<Record<string, Counter>> = {
  "run.started": "started",
  "run.completed": "completed",
  "run.failed": "failed",
  "run.cancelled": "cancelled",
};
const NAMES_A_WORKFLOW: readonly string[] = ["workflow.created", "workflow.renamed"];
const CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz";
const ATTO_DIGITS = 18;

type Json = Readonly<Record<string, unknown>>;

/** It is not an event that this program can count. */
export class Unreadable extends Error {}

/** What one event adds. `thing` is what it is about: `run_…`, `wf_…`. */
export interface Added {
  readonly id: string;
  readonly log: string;
  readonly position: number;
  readonly workspace: string;
  readonly thing: string;
  readonly day: string;
  readonly workflow: string | null;
  readonly name: string | null;
  readonly counters: Readonly<Partial<Record<Counter, number>>>;
  readonly costAttoUsd: bigint;
}

/** Read an envelope. A topic that nothing is counted of adds nothing, and is still an event that was seen. */
export function read(envelope: string): Added {
  const event = objectOf("the envelope", parsed(envelope));
  const topic = textOf(event, "type");
  const data = objectOf(`the data of ${topic}`, event["data"]);
  const usage = data["usage"] === undefined ? null : objectOf("usage", data["usage"]);
  const id = textOf(event, "id");
  return {
    id,
    log: id.slice(0, id.lastIndexOf("-")),
    position: countOf("position", Number(textOf(event, "position"))),
    workspace: textOf(event, "workspace"),
    thing: textOf(event, "subject"),
    day: textOf(event, "time").slice(0, 10),
    workflow: topic === "run.started" ? typeId("wf", textOf(data, "workflow_id")) : null,
    name: NAMES_A_WORKFLOW.includes(topic) ? textOf(data, "name") : null,
    counters: counters(topic, usage),
    costAttoUsd: usage?.["cost_usd"] === undefined ? 0n : attoUsd(textOf(usage, "cost_usd")),
  };
}

/**
 * Count a run's start or end, and a call of a model wherever a fact tells what one took.
 *
 * `took` of `step.items-settled` is left out: those calls are told of by the facts of the child runs themselves.
 */
function counters(topic: string, usage: Json | null): Partial<Record<Counter, number>> {
  const counted = COUNTED_BY_TOPIC[topic];
  return {
    ...(counted === undefined ? {} : { [counted]: 1 }),
    ...(usage === null ? {} : {
      model_calls: 1,
      input_tokens: countOf("input_tokens", usage["input_tokens"]),
      output_tokens: countOf("output_tokens", usage["output_tokens"]),
    }),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (fault) {
    throw new Unreadable(String(fault));
  }
}

function objectOf(what: string, value: unknown): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Unreadable(`${what} is no JSON object`);
  }
  return value as Json;
}

function textOf(object: Json, field: string): string {
  const value = object[field];
  if (typeof value !== "string") throw new Unreadable(`${field} is no text`);
  return value;
}

function countOf(what: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new Unreadable(`${what} is no count`);
  }
  return value;
}

/** Give a decimal string as an integer of 10^-18, so that money adds up exactly. */
export function attoUsd(decimal: string): bigint {
  if (!/^[0-9]+(\.[0-9]{1,18})?$/.test(decimal)) throw new Unreadable(`${decimal} is no cost`);
  const [whole = "0", rest = ""] = decimal.split(".");
  return BigInt(whole + rest.padEnd(ATTO_DIGITS, "0"));
}

/** Give it back as a decimal string. */
export function usd(atto: bigint): string {
  const digits = atto.toString().padStart(ATTO_DIGITS + 1, "0");
  return `${digits.slice(0, -ATTO_DIGITS)}.${digits.slice(-ATTO_DIGITS)}`.replace(/\.?0+$/, "");
}

/** Write a UUID of a fact as the HTTP API writes it: `wf_…`, 26 digits of Crockford's base 32 (TypeID 0.3). */
export function typeId(prefix: string, uuid: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid)) throw new Unreadable(`${uuid} is no UUID`);
  let number = BigInt(`0x${uuid.replaceAll("-", "")}`);
  let digits = "";
  for (let place = 0; place < 26; place += 1, number >>= 5n) digits = CROCKFORD.charAt(Number(number & 31n)) + digits;
  return `${prefix}_${digits}`;
}
