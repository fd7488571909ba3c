/** Print the counts: as a table, or as one JSON object that report.schema.json describes. */

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

export function printReport(report: Report, asJson: boolean): void {
  console.log(asJson ? JSON.stringify(report) : table(report).join("\n"));
}

function table(report: Report): string[] {
  const columns = Object.keys(COLUMNS) as (keyof typeof COLUMNS)[];
  const rows = report.workflows.map((row) => [
    row.day, row.name ?? row.workflow ?? "(not known yet)", ...columns.map((column) => String(row[column])),
  ]);
  const lines = alignColumns([["day", "workflow", ...Object.values(COLUMNS)], ...rows]);
  for (const log of report.logs) {
    const counted = `${log.events} events from position ${log.first} to ${log.last}`;
    lines.push(`Log ${log.log}: ${counted}, each counted once.`);
  }
  const gaps = report.gaps ?? [];
  for (const gap of gaps) lines.push(`Positions ${gap.from} to ${gap.through} of log ${gap.log} are missing.`);
  if (gaps[0] !== undefined) lines.push(`Backfill from ${gaps[0].from}; see docs/subscribing.md.`);
  if (report.removed > 0) lines.push(`${report.removed} events were removed from the log by a restore, and are not counted.`);
  if (report.unreadable > 0) lines.push(`${report.unreadable} events could not be read, and are not counted.`);
  return lines;
}

/** Return rows as lines: text columns left-aligned, numbers right-aligned. */
function alignColumns(rows: readonly string[][]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) => row.map((cell, column) =>
    column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)).join("  "));
}
