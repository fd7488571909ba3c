/**
 * Counts runs, and what models cost, by workflow and day, from the facts that Callsheet publishes on NATS.
 *
 * Every event is counted once, across restarts and redeliveries: the event's id and what it adds are committed together
 * in a SQLite file, and only then is the event acknowledged. docs/subscribing.md explains it step by step.
 */

import { once } from "node:events";
import { createReadStream, existsSync, type ReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as passed } from "node:timers/promises";

import {
  AckPolicy, type Consumer, type ConsumerInfo, DeliverPolicy, JetStreamApiCodes, JetStreamApiError, type JetStreamManager,
  jetstreamManager, type JsMsg, type StreamInfo,
} from "@nats-io/jetstream";
import { connect, type NatsConnection, NoRespondersError } from "@nats-io/transport-node";

import { Counts, EVERY_FACT, type Taken, WrongFile } from "./counts.ts";
import { type Options, optionsOf } from "./options.ts";
import { printed } from "./printing.ts";

const BATCH = 200;
const FETCH_MS = 1_000;
const BACK_OFF_MS_MAX = 10_000;
const CANNOT_BEGIN = 2;

/** Something is missing or wrong, and waiting would not mend it. */
class CannotBegin extends Error {}

/** The connection, the stream or the consumer is gone; it may come back. */
class Away extends Error {}

/** Tell people, on stderr: stdout is for the counts. */
function say(text: string): void {
  console.error(text);
}

/** Count what comes until told to stop (or, with --once, until nothing is left), however often NATS goes away. */
async function subscribe(options: Options, counts: Counts, stop: AbortSignal): Promise<void> {
  let failures = 0;
  let begun = false;
  while (!stop.aborted) {
    let connection: NatsConnection | null = null;
    try {
      connection = await connected(options);
      const manager = await jetstreamManager(connection, { checkAPI: false });
      await consumer(manager, options, counts);
      if (!begun) say(`following ${counts.subject} as ${options.durable}`);
      failures = 0;
      begun = true;
      return await follow(connection, manager, options, counts, stop);
    } catch (fault) {
      if (fault instanceof CannotBegin || !(fault instanceof Error) || isBug(fault)) throw fault;
      if (!begun) throw new CannotBegin(`NATS at ${shown(options.natsUrl)}: ${fault.message}`, { cause: fault });
      failures += 1;
      const ms = Math.min(BACK_OFF_MS_MAX, 100 * 2 ** failures) * (0.5 + Math.random() / 2);
      say(`${fault.message}; trying again in ${(ms / 1_000).toFixed(1)} s`);
      await passed(ms, undefined, { signal: stop }).catch(() => undefined);
    } finally {
      await connection?.close();
    }
  }
}

/** Tell what is wrong with this program, or with its file, from what is wrong with NATS. */
function isBug(fault: Error): boolean {
  return fault instanceof TypeError || fault instanceof RangeError || ("code" in fault && fault.code === "ERR_SQLITE_ERROR");
}

/** Open one connection. It is not mended but replaced, so that the consumer is looked at after every loss. */
async function connected(options: Options): Promise<NatsConnection> {
  const url = new URL(options.natsUrl);
  return await connect({
    servers: url.host,
    ...(url.username ? { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) } : {}),
    ...(url.protocol === "tls:" ? { tls: {} } : {}),
    name: options.durable,
    inboxPrefix: options.inboxPrefix,
    reconnect: false,
    timeout: 5_000,
  });
}

/** Find the durable consumer, or make it: JetStream remembers in it what was acknowledged. */
async function consumer(manager: JetStreamManager, options: Options, counts: Counts): Promise<void> {
  const stream = await streamInfo(manager, options);
  let info = await consumerInfo(manager, options);
  if (info !== null && options.replay) {
    await manager.consumers.delete(options.stream, options.durable);
    options.replay = false;
    info = null;
  }
  info ??= await manager.consumers.add(options.stream, {
    name: options.durable,
    durable_name: options.durable,
    filter_subject: counts.subject,
    deliver_policy: DeliverPolicy.All,
    ack_policy: AckPolicy.Explicit,
    ack_wait: options.ackWaitSeconds * 1e9,
  });
  if (info.config.filter_subject !== counts.subject) {
    throw new CannotBegin(
      `the consumer ${options.durable} is for ${info.config.filter_subject}: choose another --durable`,
    );
  }
  if (counts.isNew() && info.ack_floor.consumer_seq > 0) {
    throw new CannotBegin(
      `${options.database} is new, and the consumer ${options.durable} has been given events that would not come ` +
        "again: choose another --durable, or have all that the stream keeps delivered again with --replay",
    );
  }
  const lost = stream.state.first_seq - 1 - info.ack_floor.stream_seq;
  if (lost > 0) say(`the stream no longer keeps ${lost} messages that this consumer was not given: see --backfill`);
}

async function streamInfo(manager: JetStreamManager, options: Options): Promise<StreamInfo> {
  try {
    return await manager.streams.info(options.stream);
  } catch (fault) {
    if (isAbsent(fault)) {
      throw new Away(`there is no stream ${options.stream}: \`callsheet dev\` or \`project\` makes it, with NATS_URL`);
    }
    if (fault instanceof NoRespondersError) throw new CannotBegin("this server has no JetStream");
    throw fault;
  }
}

/** Look at the consumer; null when there is none. */
async function consumerInfo(manager: JetStreamManager, options: Options): Promise<ConsumerInfo | null> {
  try {
    return await manager.consumers.info(options.stream, options.durable);
  } catch (fault) {
    if (isAbsent(fault)) return null;
    throw fault;
  }
}

function isAbsent(fault: unknown): boolean {
  const { ConsumerNotFound, StreamNotFound } = JetStreamApiCodes;
  return fault instanceof JetStreamApiError && (fault.code === ConsumerNotFound || fault.code === StreamNotFound);
}

/** Fetch, commit, acknowledge, in this order: a crash between any two of them costs a delivery, and no count. */
async function follow(
  connection: NatsConnection,
  manager: JetStreamManager,
  options: Options,
  counts: Counts,
  stop: AbortSignal,
): Promise<void> {
  const messages = await manager.jetstream().consumers.get(options.stream, options.durable);
  let pending = 0;
  while (!stop.aborted) {
    // A fetch ends when it has all that it asked for, or after a second: so it asks for what is there, or for the next one.
    const batch = await fetched(messages, Math.max(1, Math.min(BATCH, pending)));
    if (batch.length > 0) {
      told(counts.take(batch.map((message) => [message.headers?.get("Nats-Msg-Id") ?? "", message.string()])));
      for (const message of batch) message.ack();
      pending = batch.at(-1)?.info.pending ?? 0;
      if (!options.once) continue;
    }
    if (connection.isClosed()) throw new Away("the connection was lost");
    const info = await consumerInfo(manager, options);
    if (info === null) throw new Away(`the consumer ${options.durable} is gone`);
    pending = info.num_pending;
    if (options.once && info.num_pending === 0 && info.num_ack_pending === 0) return;
  }
}

/** Fetch a batch. What has come is given, also when the connection is lost before the rest. */
async function fetched(messages: Consumer, atMost: number): Promise<JsMsg[]> {
  const batch: JsMsg[] = [];
  try {
    for await (const message of await messages.fetch({ max_messages: atMost, expires: FETCH_MS })) batch.push(message);
  } catch (fault) {
    if (batch.length === 0) throw fault;
  }
  return batch;
}

/** Say what came of a batch. */
function told(taken: Taken): void {
  const again = taken.seenBefore > 0 ? `, ${taken.seenBefore} seen before` : "";
  const unreadable = taken.unreadable > 0 ? `, ${taken.unreadable} that cannot be read` : "";
  say(`position ${taken.position}: ${taken.counted} counted${again}${unreadable}`);
}

/** Count envelopes, one a line, as `callsheet events tail --json` prints them; those counted before add nothing. */
async function backfill(path: string, counts: Counts): Promise<void> {
  const input = path === "-" ? process.stdin : await opened(path);
  let batch: [string, string][] = [];
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    if (!inScope(line, counts.subject)) continue;
    batch.push([`line ${line.slice(0, 60)}`, line]);
    if (batch.length < BATCH) continue;
    told(counts.take(batch));
    batch = [];
  }
  if (batch.length > 0) told(counts.take(batch));
}

async function opened(path: string): Promise<ReadStream> {
  const stream = createReadStream(path);
  await once(stream, "open");
  return stream;
}

/** Tell whether a line is of the workspace that the file counts; what cannot be read may be. */
function inScope(line: string, subject: string): boolean {
  if (line.trim() === "" || subject === EVERY_FACT) return line.trim() !== "";
  try {
    return (JSON.parse(line) as { workspace?: unknown }).workspace === subject.split(".")[2];
  } catch {
    return true;
  }
}

/** Give a URL without the password that it may hold. */
function shown(url: string): string {
  return url.slice(url.lastIndexOf("@") + 1);
}

/** Subscribe until Ctrl-C or SIGTERM; the batch under way is committed and acknowledged first. */
async function run(options: Options, counts: Counts): Promise<void> {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => stop.abort());
  await subscribe(options, counts, stop.signal);
}

/** Do what the options say, and print the counts. Exits with 2 when it cannot begin. */
async function main(): Promise<number> {
  try {
    const options = optionsOf();
    const keepScope = options.report || (options.backfill !== null && existsSync(options.database));
    const counts = new Counts(options.database, keepScope ? null : options.subject);
    if (options.backfill !== null) await backfill(options.backfill, counts);
    else if (!options.report) await run(options, counts);
    printed(counts.report(), options.json);
    counts.close();
    return 0;
  } catch (fault) {
    if (!cannotBegin(fault)) throw fault;
    say(`subscriber: ${fault.message}`);
    return CANNOT_BEGIN;
  }
}

/** Tell what a person can mend from a bug, which ends with its stack. */
function cannotBegin(fault: unknown): fault is Error {
  if (fault instanceof CannotBegin || fault instanceof WrongFile) return true;
  const code = fault instanceof Error && "code" in fault ? String(fault.code) : "";
  return code.startsWith("ERR_PARSE_ARGS") || code === "ENOENT" || code === "ERR_SQLITE_ERROR" || code === "ERR_INVALID_URL";
}

process.exitCode = await main();
