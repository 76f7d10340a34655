/** Jobs, the queue, money and miners over time. */
import type { History, Metric, Period } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Card } from "../../components/card.tsx";
import { Segments } from "../../components/controls/segments.tsx";
import { Chart, type ChartProps, type Point } from "../../components/figures/chart.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { computed, money } from "../../format/money.ts";
import { count } from "../../format/size.ts";
import { usePolled } from "../../poll.ts";
import { api } from "../../session.ts";
import "../../styles/machine.css";

const SECONDS = 60;
const PERIODS: { value: Period; label: string }[] = [
  { value: "hour", label: "Hour" },
  { value: "day", label: "Day" },
  { value: "week", label: "Week" },
  { value: "month", label: "30 days" },
  { value: "year", label: "Year" },
];

/** A chart of a metric's figures, with their colours. */
type ChartOf = { metric: Metric; title: string } & Required<Pick<ChartProps, "kind" | "series" | "format">>;

const level = (value: number) => value.toLocaleString("en", { maximumFractionDigits: 1 });
const amount = (value: number) => money(computed(value));
const CHARTS: ChartOf[] = [
  {
    metric: "jobs",
    title: "Jobs that ended",
    kind: "bars",
    series: { completed: "accent", failed: "bad", cancelled: "line-strong" },
    format: count,
  },
  {
    metric: "queue",
    title: "Queue",
    kind: "line",
    series: { waiting: "wait", running: "busy" },
    format: level,
  },
  {
    metric: "money",
    title: "Money in and out",
    kind: "bars",
    series: { credited: "accent", debited: "wait", paid: "busy" },
    format: amount,
  },
  {
    metric: "miners",
    title: "Miners that accept jobs",
    kind: "line",
    series: { online: "accent" },
    format: level,
  },
];

export function Histories() {
  const [period, setPeriod] = useState<Period>("day");
  const all = usePolled(
    (signal) =>
      Promise.all(CHARTS.map(({ metric }) => api("admin").admin.history(metric, period, { signal }))),
    SECONDS,
    [period],
  );
  return (
    <Card
      title="Over time"
      action={
        <Segments
          label="Period"
          value={period}
          onInput={(value) => setPeriod(value as Period)}
          options={PERIODS}
        />
      }
    >
      <Loaded from={all} lines={4} height="7rem">
        {(histories) => (
          <div class="grid gpu-grid">
            {CHARTS.map((chart, index) => (
              <div key={chart.metric} class="stack">
                <h3>{chart.title}</h3>
                <Chart
                  label={chart.title}
                  kind={chart.kind}
                  points={points(histories[index] as History, Object.keys(chart.series))}
                  series={chart.series}
                  format={chart.format}
                />
              </div>
            ))}
          </div>
        )}
      </Loaded>
    </Card>
  );
}

/** Return the points of a chart. Days are named by their date, other times also by their hour. */
function points({ intervalSeconds, points }: History, names: string[]): Point[] {
  const format = intervalSeconds >= HALF_A_DAY ? days : moments;
  return points.map(({ time, figures }) => ({
    name: format.format(new Date(time)),
    value: names.map((name) => {
      const figure = figures[name] ?? null;
      return figure === null ? null : Number(figure);
    }),
  }));
}

const HALF_A_DAY = 43_200;
const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "2-digit" });
const moments = new Intl.DateTimeFormat("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });
