/** How the counts are printed: a table for people, or one JSON object in the shape of report.schema.json. */

import type { Report, WorkflowDay } from "./counts.ts";

const COLUMNS = {
  started: "started",
  completed: "completed",
  failed: "failed",
  cancelled: "cancelled",
  model_calls: "calls",
  input_tokens: "tokens in",
  output_tokens: "tokens out",
  cost_usd: "cost USD",
} as const satisfies Partial<Record<keyof WorkflowDay, string>>;

export function printed(report: Report, asJson: boolean): void {
  console.log(asJson ? JSON.stringify(report) : table(report).join("\n"));
}

function table(report: Report): string[] {
  const columns = Object.keys(COLUMNS) as (keyof typeof COLUMNS)[];
  const rows = report.workflows.map((one) => [
    one.day, one.name ?? one.workflow ?? "(not known yet)", ...columns.map((column) => String(one[column])),
  ]);
  const lines = aligned([["day", "workflow", ...Object.values(COLUMNS)], ...rows]);
  for (const log of report.logs) {
    const counted = `${log.events} events from position ${log.first} to ${log.last}`;
    lines.push(`Log ${log.log}: ${counted}, each counted once.`);
  }
  const gaps = report.gaps ?? [];
  for (const gap of gaps) lines.push(`Positions ${gap.from} to ${gap.through} of log ${gap.log} never came.`);
  if (gaps[0] !== undefined) lines.push(`Backfill from ${gaps[0].from}; docs/subscribing.md says how.`);
  if (report.unreadable > 0) lines.push(`${report.unreadable} events could not be read, and are not counted.`);
  return lines;
}

/** Align columns: words to the left, numbers to the right. */
function aligned(rows: readonly string[][]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) => row.map((cell, column) =>
    column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)).join("  "));
}
