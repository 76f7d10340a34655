/** GPU measurements since this window was opened, for the sparklines. */
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

/** Record a machine's measurements, unless they are recorded already. */
export function record(machine: MinerDetails): void {
  for (const gpu of machine.gpus) {
    const known = samples.get(gpu.uuid) ?? [];
    if (known.at(-1)?.at === machine.seenAt) continue;
    const { utilization, temperature, power } = gpu;
    const sample = { at: machine.seenAt, utilization, used: used(gpu), temperature, power };
    samples.set(gpu.uuid, [...known, sample].slice(-MOST));
  }
}

/** Return the measurements of a GPU, newest last. */
export function history(uuid: string): Sample[] {
  return samples.get(uuid) ?? [];
}

/** Return the used bytes of a GPU's memory, whichever program uses them. */
export function used(gpu: Pick<MinerGpu, "memoryTotal" | "memoryFree">): number | null {
  return gpu.memoryTotal === null || gpu.memoryFree === null ? null : gpu.memoryTotal - gpu.memoryFree;
}
