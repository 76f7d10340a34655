/**
 * A chart: bars for amounts, stacked if there are several series, or lines for levels.
 *
 *   <Chart label="Earnings by day" points={days.map((day) => ({ name: shortDay(day.date), value: Number(day.amount) }))}
 *          format={(value) => value.toFixed(2)} />
 *   <Chart label="Queue" kind="line" points={[{ name: "12:00", value: [3, 1] }]} series={{ waiting: "wait", running: "accent" }} />
 *
 * `series` has a name and a colour (styles/tokens.css) for each of a point's values; null is an unknown value. The chart is SVG in the
 * page's colours, so it follows the theme, and takes 2 kB of script where a chart library takes 50. Screen readers get the values
 * as a table. Pointing at a point shows its values; so do the arrow keys.
 */
import { useState } from "preact/hooks";

import { indexOfKey } from "../tabs.tsx";

export interface Point {
  name: string;
  value: number | (number | null)[];
}

export interface ChartProps {
  label: string;
  points: Point[];
  kind?: "bars" | "line";
  series?: Record<string, string>;
  format?: (value: number) => string;
}

const WIDTH = 1000;
const HEIGHT = 100;
const GAP = 0.28;
const SINGLE = { "": "accent" };

type Row = (number | null)[];

export function Chart({ label, points, kind = "bars", series = SINGLE, format = String }: ChartProps) {
  const [here, setHere] = useState<number | null>(null);
  const names = Object.keys(series);
  const tones = Object.values(series);
  const rows = points.map(({ value }): Row => (Array.isArray(value) ? value : [value]));
  const values = (row: Row = []) =>
    names
      .map((name, index) => {
        const value = row[index] ?? null;
        return `${name} ${value === null ? "unknown" : format(value)}`.trim();
      })
      .join(", ");
  const max = niceCeiling(Math.max(0, ...rows.map((row) => (kind === "bars" ? sum(row) : largest(row)))));
  const point = (event: PointerEvent & { currentTarget: Element }) => {
    const box = event.currentTarget.getBoundingClientRect();
    const index = Math.floor(((event.clientX - box.left) / box.width) * points.length);
    setHere(Math.max(0, Math.min(points.length - 1, index)));
  };
  const press = (event: KeyboardEvent) => {
    const index = indexOfKey(event, here ?? points.length, points.length);
    if (index !== undefined) setHere(index);
  };
  const across = here === null ? 0 : ((here + 0.5) / points.length) * 100;
  const step = WIDTH / Math.max(1, rows.length);
  return (
    <figure class="chart">
      {names.length > 1 && (
        <div class="chart-top" aria-hidden="true">
          {names.map((name, index) => (
            <span key={name} class="chart-name" style={colour(tones[index])}>
              {name}
            </span>
          ))}
        </div>
      )}
      <div class="chart-scale" aria-hidden="true">
        {scale(max, rows).map((value) => (
          <span key={value}>{format(value)}</span>
        ))}
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: a group of form fields it is not */}
      <div
        class="chart-plot"
        role="group"
        aria-label={`${label}: arrow keys show the values`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the arrow keys show values
        tabIndex={0}
        onKeyDown={press}
        onBlur={() => setHere(null)}
        onPointerMove={point}
        onPointerLeave={() => setHere(null)}
      >
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
          {[0, 0.5, 1].map((share) => (
            <line key={share} class="chart-grid" x1="0" x2={WIDTH} y1={share * HEIGHT} y2={share * HEIGHT} />
          ))}
          {kind === "bars"
            ? rows.map((row, index) => bar(row, index, tones, max, step, index === here))
            : tones.map((tone, index) => (
                <path key={tone} class="chart-line" style={colour(tone)} d={line(rows, index, max, step)} />
              ))}
        </svg>
        {here !== null && (
          <>
            {kind === "line" && <span class="chart-mark" style={{ left: `${across}%` }} />}
            <span class="chart-tip" style={{ left: `${across}%`, translate: `${-across}% -50%` }}>
              {points[here]?.name}: <strong>{values(rows[here])}</strong>
            </span>
          </>
        )}
      </div>
      <div class="chart-axis" aria-hidden="true">
        {ticks(points).map(({ name }) => (
          <span key={name}>{name}</span>
        ))}
      </div>
      <div class="visually-hidden">
        <table>
          <caption>{label}</caption>
          <tbody>
            {points.map(({ name }, index) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>{values(rows[index])}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </figure>
  );
}

/** Return the labels of the scale, from the top. The middle of one job is none. */
function scale(max: number, rows: Row[]): number[] {
  const isCount = rows.every((row) => row.every((value) => Number.isInteger(value ?? 0)));
  return isCount && max % 2 ? [max, 0] : [max, max / 2, 0];
}

/** Return the first and the last point and, of enough points, the one in the middle. */
function ticks(points: Point[]): Point[] {
  const middle = points.length > 4 ? [points[Math.floor(points.length / 2)]] : [];
  return [points[0], ...middle, points.length > 1 ? points.at(-1) : undefined].filter(
    (point) => point !== undefined,
  );
}

function colour(tone: string | undefined) {
  return { "--series": `var(--${tone})` };
}

function bar(row: Row, index: number, tones: string[], max: number, step: number, here: boolean) {
  let below = 0;
  return row.map((value, series) => {
    const height = ((value ?? 0) / max) * HEIGHT;
    below += height;
    return (
      <rect
        key={`${index} ${tones[series]}`}
        class="chart-bar"
        style={colour(tones[series])}
        data-here={here}
        x={index * step + (step * GAP) / 2}
        y={HEIGHT - below}
        width={step * (1 - GAP)}
        height={height}
      />
    );
  });
}

/** Return the path of a series, which is interrupted where a value is unknown. A value between unknown ones is a dot. */
function line(rows: Row[], series: number, max: number, step: number): string {
  let pen = "M";
  return rows
    .map((row, index) => {
      const value = row[series] ?? null;
      const part =
        value === null
          ? ""
          : `${pen}${((index + 0.5) * step).toFixed(1)} ${((1 - value / max) * HEIGHT).toFixed(2)}${pen === "M" ? "h0" : ""}`;
      pen = value === null ? "M" : "L";
      return part;
    })
    .join(" ");
}

function sum(row: Row): number {
  return row.reduce<number>((total, value) => total + (value ?? 0), 0);
}

function largest(row: Row): number {
  return Math.max(...row.map((value) => value ?? 0));
}

/** Return the smallest 1, 2, 4 or 5 times a power of ten that is at least `value`: a readable top of the scale. */
export function niceCeiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 4, 5, 10].find((step) => step * power >= value) ?? 10;
  return step * power;
}
