/** Formats times and durations. Times are RFC 3339 strings; `now` is in milliseconds. */
import { plural } from "./size.ts";

const STEPS: [limit: number, seconds: number, unit: string][] = [
  [60, 1, "s"],
  [3600, 60, "min"],
  [86_400, 3600, "h"],
  [30 * 86_400, 86_400, "day"],
  [365 * 86_400, 30 * 86_400, "month"],
  [Number.POSITIVE_INFINITY, 365 * 86_400, "year"],
];

const absolute = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const minutes = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

/** Format a time relative to `now`: "12 s ago", "3 min ago", "in 2 h", "5 days ago", or "now" within a second. */
export function ago(at: string, now: number): string {
  const seconds = (Date.parse(at) - now) / 1000;
  const distance = Math.abs(seconds);
  if (distance < 1) return "now";
  const [, size, unit] = STEPS.find(([limit]) => distance < limit) as (typeof STEPS)[number];
  const number = Math.floor(distance / size);
  const words = distance < 86_400 ? `${number} ${unit}` : plural(number, unit);
  return seconds < 0 ? `${words} ago` : `in ${words}`;
}

/** Format the full local time. */
export function clock(at: string): string {
  return absolute.format(new Date(at));
}

/** Format the local time of day: "14:05". */
export function timeOfDay(at: string): string {
  return minutes.format(new Date(at));
}

/** Format a date like 2026-11-25, or a time, as "25 Nov". */
export function shortDay(at: string): string {
  return day.format(new Date(at));
}

/** Format seconds as "850 ms", "12.4 s", "3 min 5 s", "2 h 10 min". */
export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${Number(seconds.toFixed(seconds < 10 ? 2 : 1))} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return join(Math.floor(whole / 60), "min", whole % 60, "s");
  return join(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
}

/** Format a position in a recording: "1:02:03.4", "2:03.4". */
export function position(seconds: number): string {
  const tenths = Math.floor(seconds * 10);
  const clockSeconds = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  const minutes = Math.floor(tenths / 600);
  if (minutes < 60) return `${minutes}:${clockSeconds}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${clockSeconds}`;
}

function join(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small ? `${large} ${largeUnit} ${small} ${smallUnit}` : `${large} ${largeUnit}`;
}

/** Return options of a field for durations in hours, such as 0.5, 24 and 168. Their values are in seconds. */
export function spans(...hours: number[]): { value: string; label: string }[] {
  return hours.map((hours) => ({ value: String(hours * 3600), label: spanName(hours) }));
}

function spanName(hours: number): string {
  if (hours < 1) return `${hours * 60} minutes`;
  if (hours < 24) return plural(hours, "hour");
  return hours === 168 ? "1 week" : plural(hours / 24, "day");
}
