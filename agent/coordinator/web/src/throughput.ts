/** How many things happened when: counts for a chart. */
import type { Point } from "./components/figures/chart.tsx";

export type Span = "hour" | "day";

const MINUTE = 60_000;

/** How far back a chart looks, and how long each of its bars is, in milliseconds. */
export const SPANS: Record<Span, { label: string; step: number; steps: number }> = {
  hour: { label: "Hour", step: 2 * MINUTE, steps: 30 },
  day: { label: "Day", step: 60 * MINUTE, steps: 24 },
};

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** Counts of `times` by steps that begin at whole minutes or hours; the last one is the present. All in milliseconds. */
export function bucketed(times: number[], span: Span, now: number): Point[] {
  const { step, steps } = SPANS[span];
  const last = Math.floor(now / step);
  const counts = new Array<number>(steps).fill(0);
  for (const time of times) {
    const index = steps - 1 - (last - Math.floor(time / step));
    if (index >= 0 && index < steps) counts[index] = (counts[index] ?? 0) + 1;
  }
  return counts.map((value, index) => ({
    name: clock.format((last - steps + 1 + index) * step),
    value,
  }));
}
