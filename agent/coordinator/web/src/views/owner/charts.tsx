/** What a machine earned and ran by day, and how busy its GPUs were in the last 24 hours. */
import type { MinerDetails, MinerEarnings, MinerGpu } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Chart } from "../../components/figures/chart.tsx";
import { computed, money } from "../../format/money.ts";
import { plural } from "../../format/size.ts";
import { shortDay, timeOfDay } from "../../format/time.ts";
import { usePolled } from "../../poll.ts";
import { api, type Role } from "../../session.ts";
import { type GpuSample, lastDay } from "./gpu_day.ts";
import { used } from "./history.ts";

export const CHART_DAYS = 14;

const PERCENT = 100;
/** Seconds between questions for stored samples. The newest measurement comes with the machine. */
const SAMPLES_SECONDS = 300;

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

export interface GpuChartProps {
  machine: MinerDetails;
  /** The role that the page acts in. */
  by: Role;
}

/** The load and the memory of each GPU in the last 24 hours: what the coordinator has stored, and the newest measurement. */
export function GpuChart({ machine, by }: GpuChartProps) {
  const { gpus, minerId } = machine;
  const stored = usePolled((signal) => api(by).miners.gpuHistory(minerId, { signal }), SAMPLES_SECONDS, [
    by,
    minerId,
  ]).data;
  const day = lastDay(machine, stored, Date.now());
  const chart = (label: string, measure: (gpu: MinerGpu, sample: GpuSample) => number | null) => {
    const points = day.map(({ at, samples }) => ({
      name: timeOfDay(new Date(at).toISOString()),
      value: gpus.map((gpu) => {
        const sample = samples.get(gpu.uuid);
        return sample ? measure(gpu, sample) : null;
      }),
    }));
    if (points.every(({ value }) => value.every((share) => share === null))) return null;
    return (
      <Card title={label} note="last 24 hours">
        <Chart
          label={label}
          kind="line"
          points={points}
          series={Object.fromEntries(
            gpus.map((gpu, index) => [`${gpu.name} (${gpu.index})`, TONES[index % TONES.length] ?? "accent"]),
          )}
          format={(value) => `${value} %`}
        />
      </Card>
    );
  };
  return (
    <div class="grid">
      {chart("GPU load", (_, { utilization }) => share(utilization, PERCENT))}
      {chart("GPU memory in use", ({ memoryTotal }, { memoryFree }) =>
        share(used({ memoryTotal, memoryFree }), memoryTotal),
      )}
    </div>
  );
}

function share(value: number | null, whole: number | null): number | null {
  return value === null || !whole ? null : Math.round((value / whole) * PERCENT);
}

const TONES = ["accent", "busy", "wait", "still"];
