/** Calls about one job, until the SDK has them. */
import { api, csrf } from "../../session.ts";
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

export interface LogEntry {
  time: string;
  attempt: number;
  source: string;
  text: string;
}

export interface JobLog {
  entries: LogEntry[];
  truncated: boolean;
}

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetch(path, {
    method,
    headers: {
      "X-Session-Role": "client",
      "X-CSRF-Token": csrf() ?? "",
      ...(body ? { "Content-Type": "application/json" } : {}),
    },
    body: body ? JSON.stringify(body) : null,
  });
  const parsed = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) throw Object.assign(new Error(parsed.error.message), parsed.error);
  return parsed as T;
}

export async function explainJob(jobId: string): Promise<Explanation> {
  const raw = await call<Record<string, unknown>>("GET", `/v1/jobs/${jobId}/explain`);
  return { ...raw, canRun: raw.can_run, estimatedStart: raw.estimated_start } as unknown as Explanation;
}

export function jobLog(jobId: string): Promise<JobLog> {
  return call("GET", `/v1/jobs/${jobId}/log`);
}

export async function rerunJob(jobId: string, wait: boolean): Promise<string> {
  const made = await call<{ job_id: string }>("POST", `/v1/jobs/${jobId}/rerun`, wait ? { wait } : {});
  return made.job_id;
}

export function deleteJob(jobId: string): Promise<unknown> {
  void api;
  return call("DELETE", `/v1/jobs/${jobId}/data`);
}
