/** Counts of events over time, for a chart. */

export type Span = "hour" | "day";

const MINUTE = 60_000;

/** The bars of a chart: length of each in milliseconds, and their number. */
export const SPANS: Record<Span, { label: string; step: number; steps: number }> = {
  hour: { label: "Hour", step: 2 * MINUTE, steps: 30 },
  day: { label: "Day", step: 60 * MINUTE, steps: 24 },
};

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** Return the counts of `times` by steps aligned to whole minutes or hours, the last one containing `now`. All in milliseconds. */
export function bucketed(times: number[], span: Span, now: number): { name: string; value: number }[] {
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
