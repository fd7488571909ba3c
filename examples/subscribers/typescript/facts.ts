/** Compute what one event adds to the counts, from its CloudEvents envelope. */

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
const ATTO_DIGITS = 18;
const TAG_DIGITS = 12;

type Json = Readonly<Record<string, unknown>>;

/** The message is not an event that this program can count. */
export class Unreadable extends Error {}

/**
 * What one event adds. `subject` is the id of its stream: `run_…`, `wf_…`.
 *
 * `log` is the end of the log's id, and the tag of its first epoch. `epoch` is the tag of the epoch in the event's id,
 * which began after the position `epochAfter`.
 */
export interface EventCounts {
  readonly id: string;
  readonly log: string;
  readonly epoch: string;
  readonly epochAfter: number;
  readonly position: number;
  readonly workspace: string;
  readonly subject: string;
  readonly day: string;
  readonly workflow: string | null;
  readonly name: string | null;
  readonly counters: Readonly<Partial<Record<Counter, number>>>;
  readonly costAttoUsd: bigint;
}

/** Parse an envelope. A topic that is not counted has no counters; its position still counts as seen. */
export function readEnvelope(envelope: string): EventCounts {
  const event = requireObject("the envelope", parseJson(envelope));
  const topic = requireString(event, "type");
  const data = requireObject(`the data of ${topic}`, event["data"]);
  const usage = data["usage"] === undefined ? null : requireObject("usage", data["usage"]);
  const id = requireString(event, "id");
  return {
    id,
    log: requireString(event, "source").slice(-TAG_DIGITS),
    epoch: id.slice(0, id.lastIndexOf("-")),
    epochAfter: event["epochafter"] === undefined ? 0 : requireCount("epochafter", Number(requireString(event, "epochafter"))),
    position: requireCount("position", Number(requireString(event, "position"))),
    workspace: requireString(event, "workspace"),
    subject: requireString(event, "subject"),
    day: requireString(event, "time").slice(0, 10),
    workflow: topic === "run.started" ? requireString(data, "workflow_id") : null,
    name: NAMES_A_WORKFLOW.includes(topic) ? requireString(data, "name") : null,
    counters: countTopicAndUsage(topic, usage),
    costAttoUsd: usage?.["cost_usd"] === undefined ? 0n : parseAttoUsd(requireString(usage, "cost_usd")),
  };
}

/**
 * Count the start or end of a run, and one model call for each fact with `usage`.
 *
 * `took` of `step.items-settled` is ignored: the facts of the child runs report the same calls.
 */
function countTopicAndUsage(topic: string, usage: Json | null): Partial<Record<Counter, number>> {
  const counted = COUNTED_BY_TOPIC[topic];
  return {
    ...(counted === undefined ? {} : { [counted]: 1 }),
    ...(usage === null ? {} : {
      model_calls: 1,
      input_tokens: requireCount("input_tokens", usage["input_tokens"]),
      output_tokens: requireCount("output_tokens", usage["output_tokens"]),
    }),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (fault) {
    throw new Unreadable(String(fault));
  }
}

function requireObject(what: string, value: unknown): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Unreadable(`${what} is not a JSON object`);
  }
  return value as Json;
}

function requireString(object: Json, field: string): string {
  const value = object[field];
  if (typeof value !== "string") throw new Unreadable(`${field} is not a string`);
  return value;
}

function requireCount(what: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new Unreadable(`${what} is not a count`);
  }
  return value;
}

/** Parse a decimal string into an integer of 10^-18 USD, so that sums are exact. */
export function parseAttoUsd(decimal: string): bigint {
  if (!/^[0-9]+(\.[0-9]{1,18})?$/.test(decimal)) throw new Unreadable(`${decimal} is not a cost`);
  const [whole = "0", rest = ""] = decimal.split(".");
  return BigInt(whole + rest.padEnd(ATTO_DIGITS, "0"));
}

/** Format an integer of 10^-18 USD as a decimal string. */
export function formatUsd(atto: bigint): string {
  const digits = atto.toString().padStart(ATTO_DIGITS + 1, "0");
  return `${digits.slice(0, -ATTO_DIGITS)}.${digits.slice(-ATTO_DIGITS)}`.replace(/\.?0+$/, "");
}
