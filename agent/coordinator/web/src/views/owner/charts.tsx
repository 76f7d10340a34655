/** What a machine earned and ran by day, and how busy its GPUs were while this page was open. */
import type { MinerDetails, MinerEarnings } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Chart } from "../../components/figures/chart.tsx";
import { computed, money } from "../../format/money.ts";
import { plural } from "../../format/size.ts";
import { shortDay } from "../../format/time.ts";
import { history } from "./history.ts";

export const CHART_DAYS = 14;

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const PERCENT = 100;
/** Fewer measurements make no line. */
const LEAST = 3;

export function DayCharts({ earnings }: { earnings: MinerEarnings }) {
  const { days } = earnings;
  return (
    <div class="grid">
      <Card title="Earned by day" note={`${days.length} days, UTC`}>
        <Chart
          label="Earned by day"
          points={days.map((day) => ({ name: shortDay(day.date), value: Number(day.amount) }))}
          format={(value) => money(computed(value))}
        />
      </Card>
      <Card
        title="Jobs by day"
        note={plural(
          days.reduce((sum, day) => sum + day.jobs, 0),
          "job",
        )}
      >
        <Chart
          label="Jobs by day"
          points={days.map((day) => ({ name: shortDay(day.date), value: day.jobs }))}
        />
      </Card>
    </div>
  );
}

export function GpuChart({ machine: { gpus } }: { machine: MinerDetails }) {
  const first = gpus[0] && history(gpus[0].uuid);
  if (!first || first.length < LEAST) return null;
  const all = gpus.map((gpu) => ({ gpu, samples: history(gpu.uuid) }));
  const share = (value: number | null | undefined, whole: number | null) =>
    value === null || value === undefined || !whole ? null : Math.round((value / whole) * PERCENT);
  const chart = (label: string, measure: (index: number, position: number) => number | null) => (
    <Chart
      label={label}
      kind="line"
      points={first.map((sample, position) => ({
        name: clock.format(new Date(sample.at)),
        value: all.map((_, index) => measure(index, position)),
      }))}
      series={Object.fromEntries(
        all.map(({ gpu }, index) => [`${gpu.name} (${gpu.index})`, TONES[index % TONES.length] ?? "accent"]),
      )}
      format={(value) => `${value} %`}
    />
  );
  return (
    <div class="grid">
      <Card title="GPU load" note="since you opened the dashboard">
        {chart("GPU load", (index, position) =>
          share(all[index]?.samples.at(position - first.length)?.utilization, PERCENT),
        )}
      </Card>
      <Card title="GPU memory in use" note="since you opened the dashboard">
        {chart("GPU memory in use", (index, position) =>
          share(all[index]?.samples.at(position - first.length)?.used, all[index]?.gpu.memoryTotal ?? null),
        )}
      </Card>
    </div>
  );
}

const TONES = ["accent", "busy", "wait", "still"];
