/** Converts between the API's names (`job_id`) and JavaScript's names (`jobId`). */

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A JSON object. */
export type JsonObject = { [key: string]: Json };

/** Fields whose content is not converted: services' inputs and outputs, JSON Schemas, and maps whose keys are data. */
const OPAQUE: ReadonlySet<string> = new Set([
  "results",
  "parameters",
  "details",
  "output_schema",
  "unavailable",
  "extra",
  "figures",
  "labels",
  "distances",
  "limits",
]);

const SNAKE = /_([a-z0-9])/g;
const CAMEL = /[A-Z]/g;

/** Convert `job_id` to `jobId`. */
export function camelName(name: string): string {
  return name.replace(SNAKE, (_, letter: string) => letter.toUpperCase());
}

/** Convert `jobId` to `job_id`. */
export function snakeName(name: string): string {
  return name.replace(CAMEL, (letter) => `_${letter.toLowerCase()}`);
}

/** Convert a response to JavaScript's names. */
export function camelCased(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelCased);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      camelName(name),
      OPAQUE.has(name) ? item : camelCased(item),
    ]),
  );
}

/** The nested objects of a request whose names are converted too. */
const GROUPS: ReadonlySet<string> = new Set(["pricing", "resources", "requirements"]);

/**
 * Convert a request's body to the API's names, including those in `pricing`, `resources` and `requirements`. Drops undefined
 * fields, and leaves the content of other fields unchanged.
 */
export function snakeCased(body: object): Record<string, unknown> {
  const result: [string, unknown][] = [];
  for (const [name, value] of Object.entries(body)) {
    if (value === undefined) continue;
    const group = GROUPS.has(name) && typeof value === "object" && value !== null && !Array.isArray(value);
    result.push([snakeName(name), group ? snakeCased(value) : value]);
  }
  return Object.fromEntries(result);
}
