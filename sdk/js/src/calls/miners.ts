/** `client.miners`: the state and statistics of miners, and commands to them. */

import { type CallOptions, fetchJson, part, type Session } from "../http/transport.js";
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

/** Miners. All calls but `stats` are for their owners and for administrators. */
export class Miners {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Return a miner's statistics, and its reputation from 0 to 5. */
  stats(minerId: string, options: CallOptions = {}): Promise<MinerStats> {
    return fetchJson(this.#session, { path: `${pathOf(minerId)}/stats`, ...options });
  }

  /** Return the miners of the owner's fleet or, for an administrator, all miners, newest first. */
  list(
    options: { limit?: number | undefined; offset?: number | undefined } & CallOptions = {},
  ): Promise<MinerList> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: "/v1/miners", query, signal });
  }

  /** Return a miner with its GPUs, services, jobs and commands. */
  get(minerId: string, options: CallOptions = {}): Promise<MinerDetails> {
    return fetchJson(this.#session, { path: pathOf(minerId), ...options });
  }

  /**
   * Return the miner's key for sealed jobs, verified to be the one that its identity signed.
   *
   * Throws `NotFound` if the miner accepts no sealed jobs, and `VerificationError` for a key that is not its own.
   */
  async encryptionKey(minerId: string, options: CallOptions = {}): Promise<EncryptionKey> {
    return (await import("../sealed/create.js")).encryptionKey(this.#session, minerId, options.signal);
  }

  /** Return why a miner does not get the jobs that wait, and what would change that. */
  explain(minerId: string, options: CallOptions = {}): Promise<MinerExplanation> {
    return fetchJson(this.#session, { path: `${pathOf(minerId)}/explain`, ...options });
  }

  /** Pause a miner or one of its GPUs, until it is resumed or for `seconds`. It accepts no jobs meanwhile. */
  pause(
    minerId: string,
    options: { gpu?: string | undefined; seconds?: number | undefined } & CallOptions = {},
  ): Promise<QueuedCommand> {
    const { signal, ...json } = options;
    return this.#command("POST", `${pathOf(minerId)}/pause`, json, signal);
  }

  /** Resume a miner or one of its GPUs. */
  resume(minerId: string, options: { gpu?: string | undefined } & CallOptions = {}): Promise<QueuedCommand> {
    const { signal, ...json } = options;
    return this.#command("POST", `${pathOf(minerId)}/resume`, json, signal);
  }

  /** Have a miner download a model. */
  fetchModel(minerId: string, model: string, options: CallOptions = {}): Promise<QueuedCommand> {
    return this.#command("POST", `${pathOf(minerId)}/models`, { model }, options.signal);
  }

  /** Have a miner delete a model from its disk. */
  removeModel(minerId: string, model: string, options: CallOptions = {}): Promise<QueuedCommand> {
    return this.#command("DELETE", `${pathOf(minerId)}/models/${part(model)}`, undefined, options.signal);
  }

  /** Return a miner's prices, schedule and engines, and its newest commands: who gave them, and what they changed. */
  settings(minerId: string, options: CallOptions = {}): Promise<MinerSettings> {
    return fetchJson(this.#session, { path: `${pathOf(minerId)}/settings`, ...options });
  }

  /** Change a miner's prices by service (null: the default), its schedule or its preferred engines. Others stay as they are. */
  changeSettings(
    minerId: string,
    change: MinerSettingsChange,
    options: CallOptions = {},
  ): Promise<QueuedCommand> {
    return this.#command("PATCH", `${pathOf(minerId)}/settings`, change, options.signal);
  }

  /** Return all machines of the caller's owner, with their sums and their earnings together on each of the last `days` (30). */
  fleet(options: { days?: number | undefined } & CallOptions = {}): Promise<MinerFleet> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: "/v1/miners/fleet", query, signal });
  }

  /** Return a miner's earnings on each of the last `days` (30). */
  earnings(
    minerId: string,
    options: { days?: number | undefined } & CallOptions = {},
  ): Promise<MinerEarnings> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: `${pathOf(minerId)}/earnings`, query, signal });
  }

  /** Return what machines with the same cards earn for each hour online, before electricity. */
  outlook(minerId: string, { signal }: CallOptions = {}): Promise<MinerOutlook> {
    return fetchJson(this.#session, { path: `${pathOf(minerId)}/outlook`, signal });
  }

  /** Return a miner's GPUs in the last 24 hours: utilization, memory, temperature and power. */
  gpuHistory(minerId: string, { signal }: CallOptions = {}): Promise<MinerGpuHistory> {
    return fetchJson(this.#session, { path: `${pathOf(minerId)}/gpu-history`, signal });
  }

  #command(
    method: "POST" | "PATCH" | "DELETE",
    path: string,
    json: object | undefined,
    signal: AbortSignal | undefined,
  ): Promise<QueuedCommand> {
    return fetchJson(this.#session, { method, path, json, signal });
  }
}

function pathOf(minerId: string): string {
  return `/v1/miners/${part(minerId)}`;
}
