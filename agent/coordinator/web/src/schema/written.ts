/** The form of a service as its authors wrote it: the schema's `x-aitbc-form`. */
import type { FieldKind, FormField } from "./form_field.ts";

type Words = "name" | "label" | "help" | "empty" | "unit" | "suggestions" | "accept" | "instead" | "hidden";

interface WrittenField extends Pick<FormField, Words> {
  choices?: Record<string, string>;
  control?: FieldKind;
}

export interface WrittenForm {
  groups: { title: string | null; fields: WrittenField[] }[];
}

/** Return the fields in the form's order, with its words. Fields that it leaves out come last. */
export function written(form: WrittenForm, fields: FormField[]): FormField[] {
  const byName = new Map(fields.map((field) => [field.name, field]));
  const ordered = form.groups.flatMap(({ title, fields: words }) =>
    words.flatMap((word) => {
      const field = byName.get(word.name);
      byName.delete(word.name);
      return field ? [withWords(field, word, title)] : [];
    }),
  );
  return [...ordered, ...[...byName.values()].map((field) => ({ ...field, group: "Others" }))];
}

function withWords(
  field: FormField,
  { choices, control, ...words }: WrittenField,
  title: string | null,
): FormField {
  return {
    ...field,
    ...words,
    kind: control ?? (choices && field.kind === "text" ? "choice" : field.kind),
    options: choices ? Object.keys(choices) : field.options,
    names: choices,
    hidden: Boolean(words.hidden || words.instead),
    group: title ?? undefined,
    // The default of a time is the beginning, which an empty control says better than a zero.
    ...(control === "time" ? { default: undefined, preset: field.default } : {}),
  };
}

/** Return the seconds in "90", "1:30" or "1:02:03.5"; undefined for other texts. */
export function secondsIn(text: string): number | undefined {
  const match = /^(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)$/.exec(text.trim());
  if (!match) return undefined;
  const [, hours = "0", minutes = "0", seconds = "0"] = match;
  return Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds.replace(",", "."));
}

/** Format seconds as the form accepts them: "1:30", or "12.5" below a minute. */
export function clockText(seconds: number): string {
  if (seconds < 60) return String(seconds);
  const rest = String(Math.round((seconds % 60) * 1000) / 1000);
  const padded = /^\d(\.|$)/.test(rest) ? `0${rest}` : rest;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes}:${padded}`
    : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${padded}`;
}

/** Format numbers with ranges: [1, 2, 3, 7] as "1-3,7". */
export function rangesText(numbers: number[]): string {
  const spans: [number, number][] = [];
  for (const number of numbers) {
    const last = spans.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else spans.push([number, number]);
  }
  return spans.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}
