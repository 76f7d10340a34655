/** The last 24 hours of a machine's GPUs, in steps of equal length. */
import type { MinerDetails, MinerGpuHistory } from "@aitbc/client";

export type GpuSample = MinerGpuHistory["samples"][number]["gpus"][number];

export interface Step {
  /** When it begins, in milliseconds. */
  at: number;
  /** By uuid. A step in which the machine was offline has none. */
  samples: Map<string, GpuSample>;
}

const DAY = 86_400_000;
/** Milliseconds; more steps than these would be narrower than a pixel. */
const STEP = 300_000;

/** Return the steps until `now` (milliseconds), oldest first: what is stored, and what the machine reported last. */
export function lastDay(machine: MinerDetails, stored: MinerGpuHistory | undefined, now: number): Step[] {
  // Coordinators may sample less often, and a line needs a sample in each step.
  const length = Math.max(STEP, (stored?.intervalSeconds ?? 0) * 1000);
  const last = Math.floor(now / length);
  const first = last - Math.floor(DAY / length) + 1;
  const steps = Array.from({ length: last - first + 1 }, (_, index) => ({
    at: (first + index) * length,
    samples: new Map<string, GpuSample>(),
  }));
  const newest = { time: machine.seenAt, gpus: machine.gpus };
  for (const { time, gpus } of [...(stored?.samples ?? []), newest]) {
    const step = steps[Math.floor(Date.parse(time) / length) - first];
    for (const gpu of gpus) step?.samples.set(gpu.uuid, gpu);
  }
  return steps;
}
