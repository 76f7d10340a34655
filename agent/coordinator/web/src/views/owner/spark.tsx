/**
 * A sparkline of a value's recent history. The value itself is shown next to it, so screen readers ignore the line.
 *
 *   <Spark values={samples.map((sample) => sample.utilization)} max={100} />      null: unknown at that time
 */

const WIDTH = 100;
const HEIGHT = 28;

export function Spark({ values, max }: { values: (number | null)[]; max: number }) {
  const known = values.map((value) => (value === null ? null : Math.max(0, Math.min(1, value / (max || 1)))));
  const step = WIDTH / Math.max(1, known.length - 1);
  const points = known.flatMap((share, index) =>
    share === null ? [] : [`${(index * step).toFixed(1)},${((1 - share) * HEIGHT).toFixed(1)}`],
  );
  if (points.length < 2) return null;
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points.join(" ")} />
    </svg>
  );
}
