/** The subscriber's options, the same as those of the Python one. */

import { parseArgs } from "node:util";

import { EVERY_FACT } from "./counts.ts";

export interface Options {
  readonly natsUrl: string;
  readonly stream: string;
  readonly subject: string;
  readonly durable: string;
  readonly database: string;
  readonly inboxPrefix: string;
  readonly ackWaitSeconds: number;
  readonly once: boolean;
  readonly report: boolean;
  readonly backfill: string | null;
  readonly json: boolean;
  replay: boolean;
}

const USAGE = `usage: node subscriber.ts [options]

Count runs and model cost by workflow and day, from the events that Callsheet publishes on NATS.

  --nats-url URL             or NATS_URL; nats://127.0.0.1:4222 unless named
  --stream NAME              the JetStream stream; CALLSHEET unless named
  --workspace ID             only the facts of this workspace (ws_…)
  --durable NAME             the consumer's name; use one consumer per file
  --database FILE            the SQLite file with the counts; default <durable>.db
  --ack-wait-seconds N       time until unacknowledged messages are redelivered; 30
  --inbox-prefix SUBJECT     the subject prefix of replies; _INBOX
  --replay                   have everything in the stream delivered again
  --once                     end when everything has been counted
  --report                   only print the counts of the file
  --backfill FILE            count envelopes from a file, or from stdin (-), one per line
  --json                     print the counts as one JSON object`;

export function parseOptions(): Options {
  const { values } = parseArgs({
    options: {
      "nats-url": { type: "string", default: process.env["NATS_URL"] ?? "nats://127.0.0.1:4222" },
      stream: { type: "string", default: "CALLSHEET" },
      workspace: { type: "string" },
      durable: { type: "string" },
      database: { type: "string" },
      "inbox-prefix": { type: "string", default: "_INBOX" },
      "ack-wait-seconds": { type: "string", default: "30" },
      replay: { type: "boolean", default: false },
      once: { type: "boolean", default: false },
      report: { type: "boolean", default: false },
      backfill: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const durable = values.durable ?? `analytics-typescript${values.workspace ? `-${values.workspace}` : ""}`;
  return {
    natsUrl: values["nats-url"],
    stream: values.stream,
    subject: values.workspace ? `callsheet.v1.${values.workspace}.>` : EVERY_FACT,
    durable,
    database: values.database ?? `${durable}.db`,
    inboxPrefix: values["inbox-prefix"],
    ackWaitSeconds: Number(values["ack-wait-seconds"]),
    replay: values.replay,
    once: values.once,
    report: values.report,
    backfill: values.backfill ?? null,
    json: values.json,
  };
}
