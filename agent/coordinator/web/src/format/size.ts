/** Formats byte sizes and counts. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Format bytes as "812 B", "3.4 MiB". */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : Number(value.toFixed(1))} ${UNITS[unit]}`;
}

/** Format a whole number with thousands separators. */
export function count(value: number): string {
  return value.toLocaleString("en");
}

/** Format a count with its noun: "1 job", "3 jobs". */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}
