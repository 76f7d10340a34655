/** A machine as it is now, and commands for it. */
import type { MinerDetails } from "@aitbc/client";
import { notify } from "../../components/toast.tsx";
import { useGathered } from "../../jobs.ts";
import { useLive } from "../../live.ts";
import type { Loading } from "../../load.ts";
import { usePolled } from "../../poll.ts";
import { api, type Role } from "../../session.ts";
import { remember } from "./history.ts";

/** Seconds between readings: often while a command waits, which a connected machine executes within moments. */
const USUAL = 4;
const HURRY = 1;

export interface Watched extends Loading<MinerDetails | null> {
  /** Give a command; `said` is told when the coordinator has taken it. */
  command: (give: (minerId: string) => Promise<unknown>, said: string) => Promise<void>;
}

/** The machine with this id; the owner's own without one. Null if there is none. */
export function useMachine(role: Role, minerId?: string): Watched {
  const machine = usePolled(
    async (signal) => {
      const { miners } = api(role);
      const found = minerId
        ? await miners.get(minerId, { signal })
        : ((await miners.list({ limit: 1, signal })).miners[0] ?? null);
      if (found) remember(found);
      return found;
    },
    (data) => (data?.online && data.commands.length > 0 ? HURRY : USUAL),
    [role, minerId],
  );
  const reload = useGathered(machine.reload);
  useLive(role, (event) => {
    if (event.type !== "marketplace_update" && event.type !== "receipt_created") reload();
  });
  const command: Watched["command"] = async (give, said) => {
    if (!machine.data) return;
    await give(machine.data.minerId);
    notify(said);
    machine.reload();
  };
  return { ...machine, command };
}
