/** The filters of a list, in the address: they survive a reload and can be bookmarked and sent to others. */
import { useLocation } from "preact-iso";

export type Filters = Record<string, string | undefined>;

/** Return the filters, and a function that changes some of them. Empty ones are left out of the address. */
export function useFilters(): [Filters, (change: Filters) => void] {
  const { path, query, route } = useLocation();
  const change = (change: Filters) => {
    const entries = Object.entries({ ...query, ...change }).filter(([, value]) => value);
    const text = new URLSearchParams(entries as [string, string][]).toString();
    route(text ? `${path}?${text}` : path, true);
  };
  return [query, change];
}
