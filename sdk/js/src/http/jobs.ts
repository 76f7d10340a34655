/** The requests about jobs that several groups of calls share. */

import { JobFailed } from "../errors.js";
import type { Job, JobDetails, JobResults } from "../models.js";
import { type Call, type CallOptions, fetchJson, part, type Session } from "./transport.js";

/** Maximum seconds that the coordinator holds the response to a new job. */
const LONGEST_WAIT_SECONDS = 60;

/** Options of creating a job. */
export interface CreateOptions extends CallOptions {
  /** Calls with the same key create one job. Without a key, the call is not retried if the coordinator may have received it. */
  idempotencyKey?: string | undefined;
}

/** Return the request that creates a job. */
export function creation(
  path: string,
  json: unknown,
  options: CreateOptions & { waitSeconds?: number | undefined },
): Call {
  const { idempotencyKey, waitSeconds, signal } = options;
  const headers: Record<string, string> = {};
  if (idempotencyKey !== undefined) headers["Idempotency-Key"] = idempotencyKey;
  if (waitSeconds !== undefined) headers.Prefer = `wait=${waitSeconds}`;
  return {
    method: "POST",
    path,
    json,
    headers,
    repeatable: idempotencyKey !== undefined,
    patienceMs: Math.min(LONGEST_WAIT_SECONDS, waitSeconds ?? 0) * 1000,
    signal,
  };
}

/** Return a job. */
export function getJob(session: Session, jobId: string, { signal }: CallOptions): Promise<JobDetails> {
  return fetchJson(session, { path: `/v1/jobs/${part(jobId)}`, signal });
}

/** Return the results of a completed job. */
export function getResults(session: Session, jobId: string, { signal }: CallOptions): Promise<JobResults> {
  return fetchJson(session, { path: `/v1/jobs/${part(jobId)}/results`, signal });
}

/** Return the error of a job that ended without a result. */
export function jobFailure(job: Job): JobFailed {
  const reason = (job.error?.message || "no reason was given").replace(/\.$/, "");
  return new JobFailed(job.jobId, job.status, job.error?.code || job.status.toUpperCase(), reason);
}
