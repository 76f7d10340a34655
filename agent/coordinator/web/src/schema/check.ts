/** Checks a form's values in the browser, so that an error appears at once. The coordinator checks everything else. */

import { isMoney } from "../format/money.ts";
import { count, size } from "../format/size.ts";
import { type FormField, type FormValues, isEmpty, isObject, labelsIn } from "./fields.ts";
import { secondsIn } from "./written.ts";

/** Longer examples say no more than shorter ones. */
const LONGEST_EXAMPLE = 48;

/** Return one error for each wrong field, in words and with an example. */
export function checked(fields: FormField[], values: FormValues): Record<string, string> {
  const errors: Record<string, string> = {};
  for (const field of fields) {
    const error = errorOf(field, values, fields);
    if (error) errors[field.name] = error;
  }
  return errors;
}

function errorOf(field: FormField, values: FormValues, fields: FormField[]): string | undefined {
  const value = values[field.name];
  if (isEmpty(value)) {
    return field.required || isNeeded(field.neededIn, values, fields) ? missing(field) : undefined;
  }
  if (value instanceof File) return tooLarge(field, value);
  return CHECKS[field.kind]?.(field, value);
}

/** Whether a field of the same optional object is filled in. */
function isNeeded(prefix: string | undefined, values: FormValues, fields: FormField[]): boolean {
  if (prefix === undefined) return false;
  const inside = fields.filter(({ name }) => name.startsWith(prefix));
  return inside.some(({ name, default: preset }) => !isEmpty(values[name]) && values[name] !== preset);
}

function missing(field: FormField): string {
  if (field.kind === "file") return "Add a file.";
  if (field.kind === "choice" || field.kind === "model") return "Choose one.";
  return `Fill this in${exampleOf(field)}.`;
}

function tooLarge({ maxFile }: FormField, file: File): string | undefined {
  if (maxFile === undefined || file.size <= maxFile) return undefined;
  return `This file has ${size(file.size)}. The limit is ${size(maxFile)}.`;
}

function exampleOf({ example }: FormField): string {
  const text = typeof example === "string" || typeof example === "number" ? String(example) : "";
  return text && text.length <= LONGEST_EXAMPLE ? `, for example ${text}` : "";
}

const CHECKS: Partial<Record<FormField["kind"], (field: FormField, value: unknown) => string | undefined>> = {
  number,
  text: (field, value) => tooLong(field, String(value)),
  money: (field, value) =>
    isMoney(String(value)) ? undefined : `Enter an amount in credits${exampleOf(field)}.`,
  time: (_, value) =>
    typeof value === "string" && secondsIn(value) === undefined
      ? "Write seconds, or minutes and seconds, for example 90 or 1:30."
      : undefined,
  labels: (_, value) =>
    labelsIn(String(value)) ? undefined : "Write name:value, separated by commas, for example project:demo.",
  json: (_, value) =>
    typeof value === "string" ? "This is not JSON. Check the quotes, commas and brackets." : undefined,
  file: (field, value) =>
    isObject(value) || /^(https?:\/\/|(artifact:)?sha256:[0-9a-f]{64}$)/.test(String(value))
      ? undefined
      : `Enter an address, for example https://example.com/${fileExample(field)}, or the id of an uploaded file, which begins with sha256:.`,
};

function fileExample({ example }: FormField): string {
  return typeof example === "string" ? (example.split("/").at(-1) ?? "file") : "file";
}

function number(field: FormField, value: unknown): string | undefined {
  const { integer, min, max, above } = field;
  const given = Number(value);
  const fits =
    Number.isFinite(given) &&
    (!integer || Number.isInteger(given)) &&
    given >= (min ?? Number.NEGATIVE_INFINITY) &&
    given <= (max ?? Number.POSITIVE_INFINITY) &&
    given > (above ?? Number.NEGATIVE_INFINITY);
  if (fits) return undefined;
  const range = [
    min !== undefined && max !== undefined ? `from ${count(min)} to ${count(max)}` : undefined,
    min !== undefined && max === undefined ? `of at least ${count(min)}` : undefined,
    min === undefined && max !== undefined ? `of at most ${count(max)}` : undefined,
    above !== undefined ? `above ${count(above)}` : undefined,
  ].filter(Boolean);
  return `${[`Enter a ${integer ? "whole number" : "number"}`, ...range].join(" ")}${exampleOf(field)}.`;
}

function tooLong({ maxLength }: FormField, text: string): string | undefined {
  if (maxLength === undefined || text.length <= maxLength) return undefined;
  return `Use at most ${count(maxLength)} characters; these are ${count(text.length)}.`;
}
