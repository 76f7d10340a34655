/** The request of an earlier job, in the names of its form. */
import type { JobDetails } from "@aitbc/client";

/** What the coordinator shows instead of the query of an address, which may be a secret. */
const HIDDEN = "?hidden";

/** Return what fills in the form of the same job: its parameters and labels. Its name is derived again. */
export function requestFor({ parameters, inputs, labels }: JobDetails): Record<string, unknown> {
  const secret = inputs.filter(({ url }) => url?.endsWith(HIDDEN)).map(({ field }) => field.split("."));
  return { ...(without(parameters, secret) as Record<string, unknown>), labels };
}

/** Return a copy of an object without the values at some paths. */
function without(value: unknown, paths: string[][]): unknown {
  if (paths.length === 0 || typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, inner]) => {
      const inside = paths.filter(([first]) => first === name).map(([, ...rest]) => rest);
      return inside.some((rest) => rest.length === 0) ? [] : [[name, without(inner, inside)]];
    }),
  );
}

/** Return the parameters of a request that differ from those of an earlier job; null for those that are left out. */
export function changesOf(
  earlier: Record<string, unknown>,
  request: Record<string, unknown>,
): Record<string, unknown> {
  const names = new Set([...Object.keys(earlier), ...Object.keys(request)]);
  const changed = [...names].filter(
    (name) => JSON.stringify(earlier[name]) !== JSON.stringify(request[name]),
  );
  return Object.fromEntries(changed.map((name) => [name, request[name] ?? null]));
}
