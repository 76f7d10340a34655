/** JSON as people read it: a list of numbers or words is on one line. */

/** The longest list or object on one line, in characters. */
const LINE = 72;

export interface JsonFormat {
  /** Longer lists are cut, with the number of values that are left out. */
  most?: number;
}

/** Format a value of JSON, as indented lines. */
export function compactJson(
  value: unknown,
  { most = Number.POSITIVE_INFINITY }: JsonFormat = {},
  indent = "",
): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const inner = `${indent}  `;
  const isList = Array.isArray(value);
  const [start, end] = isList ? "[]" : "{}";
  const entries = isList
    ? value.slice(0, most).map((item) => compactJson(item, { most }, inner))
    : Object.entries(value).map(
        ([name, item]) => `${JSON.stringify(name)}: ${compactJson(item, { most }, inner)}`,
      );
  if (isList && value.length > most) entries.push(`\u2026 ${value.length - most} more`);
  if (entries.length === 0) return `${start}${end}`;
  const line = `${start}${entries.join(", ")}${end}`;
  if (isList && line.length <= LINE && !line.includes("\n")) return line;
  return `${start}\n${entries.map((entry) => inner + entry).join(",\n")}\n${indent}${end}`;
}

/** Shorten each run of three or more whole numbers: [1, 2, 3, 7] is "1 to 3, 7". */
export function withRanges(values: unknown[]): unknown[] {
  const runs: unknown[][] = [];
  for (const value of values) {
    const run = runs.at(-1);
    const before = run?.at(-1);
    if (run && Number.isInteger(value) && typeof before === "number" && value === before + 1) run.push(value);
    else runs.push([value]);
  }
  return runs.flatMap((run) => (run.length > 2 ? [`${run[0]} to ${run.at(-1)}`] : run));
}
