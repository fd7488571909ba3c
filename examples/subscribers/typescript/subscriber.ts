/**
 * Count runs and model cost by workflow and day, from the events that Callsheet publishes on NATS.
 *
 * Each event is counted once, across restarts and redeliveries: the event's id and what it adds are committed together
 * in a SQLite file, and only then is the event acknowledged. docs/subscribing.md explains it step by step.
 */

import { once } from "node:events";
import { createReadStream, existsSync, type ReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import {
  AckPolicy, type Consumer, type ConsumerInfo, DeliverPolicy, JetStreamApiCodes, JetStreamApiError, type JetStreamManager,
  jetstreamManager, type JsMsg, type StreamInfo,
} from "@nats-io/jetstream";
import { connect, type NatsConnection, NoRespondersError } from "@nats-io/transport-node";

import { Counts, EVERY_FACT, type BatchResult, WrongFile } from "./counts.ts";
import { type Options, parseOptions } from "./options.ts";
import { printReport } from "./printing.ts";

const BATCH = 200;
const FETCH_MS = 1_000;
const BACK_OFF_MS_MAX = 10_000;
const LOOK_MS = 5_000;
const EXIT_CANNOT_START = 2;

/** Something is missing or wrong, and retrying does not help. */
class CannotStart extends Error {}

/** The connection, the stream or the consumer is gone; retry. */
class Unavailable extends Error {}

/** Print to stderr; stdout is for the counts. */
function printStatus(text: string): void {
  console.error(text);
}

/** Count events until `stop` fires, or with --once until none is left. Reconnect when NATS goes away. */
async function subscribe(options: Options, counts: Counts, stop: AbortSignal): Promise<void> {
  let failures = 0;
  let hasStarted = false;
  while (!stop.aborted) {
    let connection: NatsConnection | null = null;
    try {
      connection = await openConnection(options);
      const manager = await jetstreamManager(connection, { checkAPI: false });
      await ensureConsumer(manager, options, counts);
      if (!hasStarted) printStatus(`following ${counts.subject} as ${options.durable}`);
      failures = 0;
      hasStarted = true;
      return await consumeMessages(connection, manager, options, counts, stop);
    } catch (fault) {
      if (fault instanceof CannotStart || !(fault instanceof Error) || isBug(fault)) throw fault;
      if (!hasStarted) throw new CannotStart(`NATS at ${hidePassword(options.natsUrl)}: ${fault.message}`, { cause: fault });
      failures += 1;
      const ms = Math.min(BACK_OFF_MS_MAX, 100 * 2 ** failures) * (0.5 + Math.random() / 2);
      printStatus(`${fault.message}; trying again in ${(ms / 1_000).toFixed(1)} s`);
      await sleep(ms, undefined, { signal: stop }).catch(() => undefined);
    } finally {
      await connection?.close();
    }
  }
}

/** Return whether an error comes from this program or its file, not from NATS. */
function isBug(fault: Error): boolean {
  return fault instanceof TypeError || fault instanceof RangeError || ("code" in fault && fault.code === "ERR_SQLITE_ERROR");
}

/** Open a connection. A lost one is replaced, not repaired, so that the consumer is checked after every loss. */
async function openConnection(options: Options): Promise<NatsConnection> {
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

/** Find or create the durable consumer, in which JetStream remembers what was acknowledged. */
async function ensureConsumer(manager: JetStreamManager, options: Options, counts: Counts): Promise<void> {
  const stream = await streamInfo(manager, options);
  learnEpochs(stream, counts);
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
    throw new CannotStart(
      `the consumer ${options.durable} is for ${info.config.filter_subject}: choose another --durable`,
    );
  }
  if (counts.isNew() && info.ack_floor.consumer_seq > 0) {
    throw new CannotStart(
      `${options.database} is new, and the consumer ${options.durable} has already received events that are not sent ` +
        "again: choose another --durable, or use --replay to receive everything in the stream again",
    );
  }
  const lost = stream.state.first_seq - 1 - info.ack_floor.stream_seq;
  if (lost > 0) printStatus(`the stream no longer keeps ${lost} messages that this consumer did not receive: see --backfill`);
}

/** Read the epochs of the log from the stream: with a filter there may be no event of a new one for long. */
function learnEpochs(stream: StreamInfo, counts: Counts): void {
  const metadata = stream.config.metadata ?? {};
  const log = metadata["callsheet-log"] ?? "";
  const pairs = (metadata["callsheet-epochs"] ?? "").split(" ").filter((pair) => pair !== "").map((pair) => pair.split(":"));
  const removed = counts.learnEpochs(log.slice(-12), pairs.map(([epoch = "", after = "0"]) => [epoch, Number(after)] as const));
  if (removed > 0) printStatus(`the log was restored: ${removed} events are no longer in it, and no longer counted`);
}

async function streamInfo(manager: JetStreamManager, options: Options): Promise<StreamInfo> {
  try {
    return await manager.streams.info(options.stream);
  } catch (fault) {
    if (isAbsent(fault)) {
      throw new Unavailable(`there is no stream ${options.stream}: \`callsheet dev\` or \`project\` makes it, with NATS_URL`);
    }
    if (fault instanceof NoRespondersError) throw new CannotStart("JetStream is not enabled on this server");
    throw fault;
  }
}

/** Return the consumer, or null if it does not exist. */
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

/** Fetch, commit, acknowledge, in this order: a crash in between costs a redelivery, never a count. */
async function consumeMessages(
  connection: NatsConnection,
  manager: JetStreamManager,
  options: Options,
  counts: Counts,
  stop: AbortSignal,
): Promise<void> {
  const messages = await manager.jetstream().consumers.get(options.stream, options.durable);
  let pending = 0;
  let lookedAt = performance.now();
  while (!stop.aborted) {
    // A fetch ends when it has everything it asked for, or after a second: ask for what is pending, or for the next message.
    const batch = await fetchBatch(messages, Math.max(1, Math.min(BATCH, pending)));
    if (batch.length > 0) {
      printResult(counts.applyBatch(batch.map((message) => [message.headers?.get("Nats-Msg-Id") ?? "", message.string()])));
      for (const message of batch) message.ack();
      pending = batch.at(-1)?.info.pending ?? 0;
      if (!options.once) continue;
    }
    if (performance.now() - lookedAt > LOOK_MS) {
      lookedAt = performance.now();
      learnEpochs(await streamInfo(manager, options), counts);
    }
    if (connection.isClosed()) throw new Unavailable("the connection was lost");
    const info = await consumerInfo(manager, options);
    if (info === null) throw new Unavailable(`the consumer ${options.durable} is gone`);
    pending = info.num_pending;
    if (options.once && info.num_pending === 0 && info.num_ack_pending === 0) return;
  }
}

/** Fetch a batch. Return what has arrived, even if the connection is lost before the rest. */
async function fetchBatch(messages: Consumer, atMost: number): Promise<JsMsg[]> {
  const batch: JsMsg[] = [];
  try {
    for await (const message of await messages.fetch({ max_messages: atMost, expires: FETCH_MS })) batch.push(message);
  } catch (fault) {
    if (batch.length === 0) throw fault;
  }
  return batch;
}

/** Print the result of a batch. */
function printResult(result: BatchResult): void {
  const again = result.seenBefore > 0 ? `, ${result.seenBefore} seen before` : "";
  const removed = result.removed > 0 ? `, ${result.removed} removed by a restore` : "";
  const unreadable = result.unreadable > 0 ? `, ${result.unreadable} unreadable` : "";
  printStatus(`position ${result.position}: ${result.counted} counted${again}${removed}${unreadable}`);
  if (result.missing > 0) {
    printStatus(
      `${result.missing} positions from ${result.missingFrom} on have not been delivered: unless they come later, ` +
      `\`callsheet events tail --from ${result.missingFrom} --json\` shows them, and --backfill counts them`,
    );
  }
}

/** Count envelopes, one per line, as `callsheet events tail --json` prints them. Duplicates add nothing. */
async function backfill(path: string, counts: Counts): Promise<void> {
  const input = path === "-" ? process.stdin : await openFile(path);
  let batch: [string, string][] = [];
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    if (!inScope(line, counts.subject)) continue;
    batch.push([`line ${line.slice(0, 60)}`, line]);
    if (batch.length < BATCH) continue;
    printResult(counts.applyBatch(batch));
    batch = [];
  }
  if (batch.length > 0) printResult(counts.applyBatch(batch));
}

async function openFile(path: string): Promise<ReadStream> {
  const stream = createReadStream(path);
  await once(stream, "open");
  return stream;
}

/** Return whether a line belongs to the file's workspace. Unreadable lines count as belonging. */
function inScope(line: string, subject: string): boolean {
  if (line.trim() === "" || subject === EVERY_FACT) return line.trim() !== "";
  try {
    return (JSON.parse(line) as { workspace?: unknown }).workspace === subject.split(".")[2];
  } catch {
    return true;
  }
}

/** Return a URL without its user and password. */
function hidePassword(url: string): string {
  return url.slice(url.lastIndexOf("@") + 1);
}

/** Subscribe until Ctrl-C or SIGTERM. The current batch is committed and acknowledged first. */
async function run(options: Options, counts: Counts): Promise<void> {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => stop.abort());
  await subscribe(options, counts, stop.signal);
}

/** Run the command and print the counts. Return 0, or 2 if it cannot start. */
async function main(): Promise<number> {
  try {
    const options = parseOptions();
    const keepScope = options.report || (options.backfill !== null && existsSync(options.database));
    const counts = new Counts(options.database, keepScope ? null : options.subject);
    if (options.backfill !== null) await backfill(options.backfill, counts);
    else if (!options.report) await run(options, counts);
    printReport(counts.report(), options.json);
    counts.close();
    return 0;
  } catch (fault) {
    if (!isUserError(fault)) throw fault;
    printStatus(`subscriber: ${fault.message}`);
    return EXIT_CANNOT_START;
  }
}

/** Return whether the user can fix the error. Others are bugs, reported with their stack. */
function isUserError(fault: unknown): fault is Error {
  if (fault instanceof CannotStart || fault instanceof WrongFile) return true;
  const code = fault instanceof Error && "code" in fault ? String(fault.code) : "";
  return code.startsWith("ERR_PARSE_ARGS") || code === "ENOENT" || code === "ERR_SQLITE_ERROR" || code === "ERR_INVALID_URL";
}

process.exitCode = await main();
