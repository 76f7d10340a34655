/** The names of the API (`job_id`) and those of JavaScript (`jobId`): turned into each other where they are the API's own. */

/** What JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A JSON object. */
export type JsonObject = { [key: string]: Json };

/**
 * Below these names stand other people's words: what a service made or takes, JSON Schemas, and maps whose keys are
 * data. They stay as they are.
 */
const OPAQUE: ReadonlySet<string> = new Set([
  "results",
  "parameters",
  "details",
  "output_schema",
  "unavailable",
  "extra",
]);

const SNAKE = /_([a-z0-9])/g;
const CAMEL = /[A-Z]/g;

/** `job_id` as `jobId`. */
export function camelName(name: string): string {
  return name.replace(SNAKE, (_, letter: string) => letter.toUpperCase());
}

/** `jobId` as `job_id`. */
export function snakeName(name: string): string {
  return name.replace(CAMEL, (letter) => `_${letter.toLowerCase()}`);
}

/** An answer with JavaScript's names. */
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

/** The groups of job options whose fields are the API's own too. */
const GROUPS: ReadonlySet<string> = new Set(["pricing", "resources", "requirements"]);

/**
 * A request's body with the API's names: those of the body itself, and of the groups `pricing`, `resources` and
 * `requirements`. What is undefined is left out; everything below other names stays as it is.
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
