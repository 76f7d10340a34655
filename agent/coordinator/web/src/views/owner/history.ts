/** What was measured of GPUs since this window was opened, for the small charts. */
import type { MinerDetails, MinerGpu } from "@aitbc/client";

export interface Sample {
  at: string;
  utilization: number | null;
  used: number | null;
  temperature: number | null;
  power: number | null;
}

const MOST = 180;

const samples = new Map<string, Sample[]>();

/** Take what a machine said, unless it has said nothing new. */
export function remember(machine: MinerDetails): void {
  for (const gpu of machine.gpus) {
    const known = samples.get(gpu.uuid) ?? [];
    if (known.at(-1)?.at === machine.seenAt) continue;
    const { utilization, temperature, power } = gpu;
    const sample = { at: machine.seenAt, utilization, used: used(gpu), temperature, power };
    samples.set(gpu.uuid, [...known, sample].slice(-MOST));
  }
}

/** What is known of a GPU, the newest last. */
export function history(uuid: string): Sample[] {
  return samples.get(uuid) ?? [];
}

/** Bytes of a GPU's memory that are taken, by anybody. */
export function used(gpu: MinerGpu): number | null {
  return gpu.memoryTotal === null || gpu.memoryFree === null ? null : gpu.memoryTotal - gpu.memoryFree;
}
