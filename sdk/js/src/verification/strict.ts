/** Validates values strictly: signed data has exactly the named fields. */

import { FormatError } from "../errors.js";

export const HEX_SHA256 = /^[0-9a-f]{64}$/;
export const JOB_ID = /^job_[0-9A-Za-z_-]{1,64}$/;
export const MINER_ID = /^miner_[a-z2-7]{26}$/;
export const FENCE = /^[1-9][0-9]{0,15}$/;
const TIME = /^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,6})?Z$/;

/** Return `value` as an object with exactly these keys. Throws `FormatError`, which names `where`. */
export function exact<Key extends string>(
  value: unknown,
  keys: readonly Key[],
  where: string,
): Record<Key, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FormatError(`${where} is not an object.`);
  }
  const missing = keys.filter((key) => !Object.hasOwn(value, key)).sort();
  if (missing.length > 0) throw new FormatError(`${where} lacks ${missing.join(", ")}.`);
  const extra = Object.keys(value)
    .filter((key) => !(keys as readonly string[]).includes(key))
    .sort();
  if (extra.length > 0) {
    throw new FormatError(`${where} has fields that do not belong there: ${extra.join(", ")}.`);
  }
  return value as Record<Key, unknown>;
}

/** Return `value` as a list. Throws `FormatError`, which names `where`. */
export function items(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new FormatError(`${where} is not a list.`);
  return value;
}

/** Return `value` as a non-empty string that matches `pattern`. Throws `FormatError`, which names `where`. */
export function text(value: unknown, where: string, pattern?: RegExp): string {
  if (typeof value !== "string" || value === "") throw new FormatError(`${where} is not a non-empty string.`);
  if (pattern !== undefined && !pattern.test(value)) throw new FormatError(`${where} is malformed.`);
  return value;
}

/** Return `value` as an RFC 3339 time in UTC with `Z`. Throws `FormatError`, which names `where`. */
export function utcTime(value: unknown, where: string): string {
  const result = text(value, where, TIME);
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = (TIME.exec(result) ?? [])
    .slice(1, 7)
    .map(Number);
  const isTime = hour < 24 && minute < 60 && second < 60;
  const isDay = year > 0 && month >= 1 && month <= 12 && day >= 1 && day <= daysOf(year, month);
  if (!isTime || !isDay) throw new FormatError(`${where} is not a valid time.`);
  return result;
}

function daysOf(year: number, month: number): number {
  // Day 0 of the next month. The calendar repeats after 400 years; `Date` misinterprets years below 100.
  return new Date(Date.UTC(year + 400, month, 0)).getUTCDate();
}
