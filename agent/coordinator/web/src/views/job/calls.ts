/** The explanation of a waiting job, until the SDK has the call. */
import { csrf } from "../../session.ts";
import type { Reason } from "./reasons.tsx";

export interface Explanation {
  summary: string;
  canRun: "now" | "later" | "never";
  reasons: Reason[];
  position: number | null;
  ahead: number | null;
  estimatedStart: string | null;
  miners: { minerId: string; name: string; reasons: string[] }[];
}

export async function explainJob(jobId: string): Promise<Explanation> {
  const answer = await fetch(`/v1/jobs/${jobId}/explain`, {
    headers: { "X-Session-Role": "client", "X-CSRF-Token": csrf() ?? "" },
  });
  const raw = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(raw.error.message), raw.error);
  const miners = raw.miners.map((m: Record<string, unknown>) => ({ ...m, minerId: m.miner_id }));
  return { ...raw, canRun: raw.can_run, estimatedStart: raw.estimated_start, miners };
}
