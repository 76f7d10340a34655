/** Describes commands to machines. */
import type { MinerCommand, MinerDetails } from "@aitbc/client";

/** Describe a command: "Pause NVIDIA RTX 4090 (0)", "Download tiny.en". */
export function describe(
  command: Pick<MinerCommand, "command" | "gpu" | "model">,
  machine: MinerDetails,
): string {
  const gpu = machine.gpus.find((gpu) => gpu.uuid === command.gpu);
  const target = command.gpu ? (gpu ? `${gpu.name} (${gpu.index})` : command.gpu) : "the whole machine";
  const words = {
    pause: `Pause ${target}`,
    resume: `Resume ${target}`,
    fetch_model: `Download ${command.model}`,
    remove_model: `Remove ${command.model}`,
    change_settings: "Change settings",
  };
  return words[command.command];
}
