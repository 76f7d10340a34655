/**
 * A chart of one series, as bars (amounts by day) or as a line (levels).
 *
 *   <Chart label="Earnings by day" kind="bars" points={days.map((day) => ({ name: shortDay(day.date), value: Number(day.amount) }))}
 *          format={(value) => value.toFixed(2)} />
 *
 * It is SVG in the page's colours, so it follows the theme, and takes 2 kB of script where a chart library takes 50. Screen
 * readers get the values as a table. Hovering shows a value.
 */
import { useState } from "preact/hooks";

export interface Point {
  name: string;
  value: number;
}

export interface ChartProps {
  label: string;
  points: Point[];
  kind?: "bars" | "line";
  format?: (value: number) => string;
}

const WIDTH = 1000;
const HEIGHT = 100;
const GAP = 0.28;

export function Chart({ label, points, kind = "bars", format = String }: ChartProps) {
  const [here, setHere] = useState<number | null>(null);
  const max = niceCeiling(Math.max(0, ...points.map((point) => point.value)));
  const point = (event: PointerEvent & { currentTarget: Element }) => {
    const box = event.currentTarget.getBoundingClientRect();
    const index = Math.floor(((event.clientX - box.left) / box.width) * points.length);
    setHere(Math.max(0, Math.min(points.length - 1, index)));
  };
  const pointed = here === null ? undefined : points[here];
  const across = here === null ? 0 : ((here + 0.5) / points.length) * 100;
  return (
    <figure class="chart">
      <div class="chart-top" aria-hidden="true">
        <span>{format(max)}</span>
      </div>
      <div class="chart-plot" onPointerMove={point} onPointerLeave={() => setHere(null)}>
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
          {[0, 0.5, 1].map((share) => (
            <line key={share} class="chart-grid" x1="0" x2={WIDTH} y1={share * HEIGHT} y2={share * HEIGHT} />
          ))}
          {kind === "bars" ? bars(points, max, here) : line(points, max)}
        </svg>
        {pointed && (
          <>
            {kind === "line" && <span class="chart-mark" style={{ left: `${across}%` }} />}
            <span class="chart-tip" style={{ left: `${across}%`, translate: `${-across}% -50%` }}>
              {pointed.name}: <strong>{format(pointed.value)}</strong>
            </span>
          </>
        )}
      </div>
      <div class="chart-axis" aria-hidden="true">
        <span>{points[0]?.name}</span>
        <span>{points.at(-1)?.name}</span>
      </div>
      <Values label={label} points={points} format={format} />
    </figure>
  );
}

function bars(points: Point[], max: number, here: number | null) {
  const step = WIDTH / points.length;
  return points.map((point, index) => {
    const height = (point.value / max) * HEIGHT;
    return (
      <rect
        key={point.name}
        class="chart-bar"
        data-here={index === here}
        x={index * step + (step * GAP) / 2}
        y={HEIGHT - height}
        width={step * (1 - GAP)}
        height={height}
      />
    );
  });
}

function line(points: Point[], max: number) {
  const step = WIDTH / points.length;
  const path = points.map(
    (point, index) => `${((index + 0.5) * step).toFixed(1)} ${((1 - point.value / max) * HEIGHT).toFixed(2)}`,
  );
  if (path.length === 0) return null;
  const edge = (index: number) => ((index + 0.5) * step).toFixed(1);
  return (
    <>
      <path
        class="chart-area"
        d={`M${edge(0)} ${HEIGHT} L${path.join(" L")} L${edge(points.length - 1)} ${HEIGHT} Z`}
      />
      <path class="chart-line" d={`M${path.join(" L")}`} />
    </>
  );
}

function Values({ label, points, format }: Required<Pick<ChartProps, "label" | "points" | "format">>) {
  return (
    <div class="visually-hidden">
      <table>
        <caption>{label}</caption>
        <tbody>
          {points.map((point) => (
            <tr key={point.name}>
              <th scope="row">{point.name}</th>
              <td>{format(point.value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Return the smallest 1, 2, 4 or 5 times a power of ten that is at least `value`: a readable top of the scale. */
export function niceCeiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 4, 5, 10].find((step) => step * power >= value) ?? 10;
  return step * power;
}
