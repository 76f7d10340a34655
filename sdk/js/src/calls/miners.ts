/** `client.miners`: the state and statistics of miners, and commands to them. */

import { type CallOptions, fetchJson, part } from "../http/transport.js";
import type {
  MinerDetails,
  MinerEarnings,
  MinerExplanation,
  MinerFleet,
  MinerGpuHistory,
  MinerList,
  MinerOutlook,
  MinerSettings,
  MinerSettingsChange,
  MinerStats,
  QueuedCommand,
} from "../models.js";
import type { EncryptionKey } from "../sealed/keys.js";
import { Calls, type OffsetOptions } from "./calls.js";

/** Miners. All calls but `stats` are for their owners and for administrators. */
export class Miners extends Calls {
  /** Return a miner's statistics, and its reputation from 0 to 5. */
  stats(minerId: string, options: CallOptions = {}): Promise<MinerStats> {
    return this.read(`${pathOf(minerId)}/stats`, options);
  }

  /** Return the miners of the owner's fleet or, for an administrator, all miners, newest first. */
  list(options: OffsetOptions = {}): Promise<MinerList> {
    return this.read("/v1/miners", options);
  }

  /** Return a miner with its GPUs, services, jobs and commands. */
  get(minerId: string, options: CallOptions = {}): Promise<MinerDetails> {
    return this.read(pathOf(minerId), options);
  }

  /**
   * Return the miner's key for sealed jobs, verified to be the one that its identity signed.
   *
   * Throws `NotFound` if the miner accepts no sealed jobs, and `VerificationError` for a key that is not its own.
   */
  async encryptionKey(minerId: string, options: CallOptions = {}): Promise<EncryptionKey> {
    return (await import("../sealed/create.js")).encryptionKey(this.session, minerId, options);
  }

  /** Return why a miner does not get the jobs that wait, and what would change that. */
  explain(minerId: string, options: CallOptions = {}): Promise<MinerExplanation> {
    return this.read(`${pathOf(minerId)}/explain`, options);
  }

  /** Pause a miner or one of its GPUs, until it is resumed or for `seconds`. It accepts no jobs meanwhile. */
  pause(
    minerId: string,
    options: { gpu?: string | undefined; seconds?: number | undefined } & CallOptions = {},
  ): Promise<QueuedCommand> {
    const { signal, ...pause } = options;
    return this.post(`${pathOf(minerId)}/pause`, pause, { signal });
  }

  /** Resume a miner or one of its GPUs. */
  resume(minerId: string, options: { gpu?: string | undefined } & CallOptions = {}): Promise<QueuedCommand> {
    const { signal, ...target } = options;
    return this.post(`${pathOf(minerId)}/resume`, target, { signal });
  }

  /** Have a miner download a model. */
  fetchModel(minerId: string, model: string, options: CallOptions = {}): Promise<QueuedCommand> {
    return this.post(`${pathOf(minerId)}/models`, { model }, options);
  }

  /** Have a miner delete a model from its disk. */
  removeModel(minerId: string, model: string, options: CallOptions = {}): Promise<QueuedCommand> {
    const path = `${pathOf(minerId)}/models/${part(model)}`;
    return fetchJson(this.session, { method: "DELETE", path, ...options });
  }

  /** Return a miner's prices, schedule and engines, and its newest commands: who gave them, and what they changed. */
  settings(minerId: string, options: CallOptions = {}): Promise<MinerSettings> {
    return this.read(`${pathOf(minerId)}/settings`, options);
  }

  /** Change a miner's prices by service (null: the default), its schedule or its preferred engines. Others stay as they are. */
  changeSettings(
    minerId: string,
    change: MinerSettingsChange,
    options: CallOptions = {},
  ): Promise<QueuedCommand> {
    const path = `${pathOf(minerId)}/settings`;
    return fetchJson(this.session, { method: "PATCH", path, json: change, ...options });
  }

  /** Return all machines of the caller's owner, with their sums and their earnings together on each of the last `days` (30). */
  fleet(options: { days?: number | undefined } & CallOptions = {}): Promise<MinerFleet> {
    return this.read("/v1/miners/fleet", options);
  }

  /** Return a miner's earnings on each of the last `days` (30). */
  earnings(
    minerId: string,
    options: { days?: number | undefined } & CallOptions = {},
  ): Promise<MinerEarnings> {
    return this.read(`${pathOf(minerId)}/earnings`, options);
  }

  /** Return what machines with the same cards earn for each hour online, before electricity. */
  outlook(minerId: string, options: CallOptions = {}): Promise<MinerOutlook> {
    return this.read(`${pathOf(minerId)}/outlook`, options);
  }

  /** Return a miner's GPUs in the last 24 hours: utilization, memory, temperature and power. */
  gpuHistory(minerId: string, options: CallOptions = {}): Promise<MinerGpuHistory> {
    return this.read(`${pathOf(minerId)}/gpu-history`, options);
  }
}

function pathOf(minerId: string): string {
  return `/v1/miners/${part(minerId)}`;
}
