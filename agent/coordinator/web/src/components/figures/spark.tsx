/**
 * A line as small as a word: how a value went lately. The value itself stands beside it, so it says nothing to screen readers.
 *
 *   <Spark values={samples.map((sample) => sample.utilization)} most={100} />      null: not known then
 */

const WIDTH = 100;
const HEIGHT = 28;

export function Spark({ values, most }: { values: (number | null)[]; most: number }) {
  const known = values.map((value) =>
    value === null ? null : Math.max(0, Math.min(1, value / (most || 1))),
  );
  const step = WIDTH / Math.max(1, known.length - 1);
  const points = known.flatMap((share, index) =>
    share === null ? [] : [`${(index * step).toFixed(1)},${((1 - share) * HEIGHT).toFixed(1)}`],
  );
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      {points.length > 1 && <polyline points={points.join(" ")} />}
    </svg>
  );
}
