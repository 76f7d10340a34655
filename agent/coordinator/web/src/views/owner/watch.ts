/** Polls a machine, and sends commands to it. */
import type { MinerDetails } from "@aitbc/client";
import { notify } from "../../components/toast.tsx";
import { useReload } from "../../jobs.ts";
import type { Loading } from "../../load.ts";
import { usePolled } from "../../poll.ts";
import { api, type Role } from "../../session.ts";
import { record } from "./history.ts";

/** Seconds between polls; shorter while a command waits, which a connected machine acknowledges within moments. */
const USUAL = 4;
const HURRY = 1;

export interface Watched extends Loading<MinerDetails | null> {
  /** Send a command, and show `message` once the coordinator has accepted it. */
  send: (request: (minerId: string) => Promise<unknown>, message: string) => Promise<void>;
}

/** Return the id of the machine to which the owner's key belongs. */
export async function ownMiner(signal: AbortSignal): Promise<string> {
  return (await api("miner").keys.me({ signal })).minerId ?? "";
}

/** The machine with this id or, without one, the owner's machine. Null if there is none. */
export function useMachine(role: Role, minerId?: string): Watched {
  const machine = usePolled(
    async (signal) => {
      const { miners } = api(role);
      const found = minerId
        ? await miners.get(minerId, { signal })
        : ((await miners.list({ limit: 1, signal })).miners[0] ?? null);
      if (found) record(found);
      return found;
    },
    (data) => (data?.online && data.commands.length > 0 ? HURRY : USUAL),
    [role, minerId],
  );
  useReload(
    role,
    machine.reload,
    (event) => event.type !== "marketplace_update" && event.type !== "receipt_created",
  );
  const send: Watched["send"] = async (request, message) => {
    if (!machine.data) return;
    await request(machine.data.minerId);
    notify(message);
    machine.reload();
  };
  return { ...machine, send };
}
