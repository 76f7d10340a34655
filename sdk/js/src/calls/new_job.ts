/** Creates jobs: in clear, with their files uploaded, or sealed. */

import { AITBCError } from "../errors.js";
import { blobOf, RESUMABLE, type Source, sourceOf, type Uploadable } from "../http/files.js";
import { type CreateOptions, creation } from "../http/jobs.js";
import { type CallOptions, fetchJson, part, type Session } from "../http/transport.js";
import type { CancelledJob, CreatedJob, Job } from "../models.js";
import type { SealOptions } from "../sealed/create.js";
import { type JsonObject, snakeCased } from "../verification/shape.js";

/** Options of any job. */
export interface JobOptions {
  /** The name that lists show. Derived from the file or the prompt by default. */
  name?: string | undefined;
  /** Keys and values by which lists can be filtered. */
  labels?: Record<string, string> | undefined;
  /** Kubernetes quantities: `"1000m"`, `"2Gi"`, `"1"`. */
  resources?: { cpu?: string | undefined; memory?: string | undefined; gpu?: string | undefined } | undefined;
  /** `maxCost` is held in escrow until the job ends: a decimal string. */
  pricing?: { maxCost?: string | undefined } | undefined;
  /** 0 to 9; 9 is the most urgent. */
  priority?: number | undefined;
  /** Time limit of one run. */
  timeoutSeconds?: number | undefined;
  /** Maximum number of runs, if machines fail. */
  maxAttempts?: number | undefined;
  /** The only miner that may run it. No other miner sees the job to audit it, unless `audited` is true. */
  minerId?: string | undefined;
  /** Receives a signed message when the job ends. */
  webhookUrl?: string | undefined;
  /** The offer to accept with this job. */
  offerId?: string | undefined;
  /** Accept the job even if no known miner can run it, and wait for one. Otherwise it is refused with `CannotRun`. */
  wait?: boolean | undefined;
  /** Only miners with at least this reputation may run it, or audit it, from 0 to 5. */
  minReputation?: number | undefined;
  /** Have the result checked by another miner, at the price of the audit in addition. */
  audited?: boolean | undefined;
  /** Seal input and answer: only the job's miner (`minerId`, or that of `offerId`) and this client can read them. */
  seal?: boolean | undefined;
}

/** A new job. The API's names (`timeout_seconds`) are accepted too. */
export interface NewJob extends JobOptions {
  /** A service's id; hyphens and underscores are equivalent. */
  type: string;
  /** The service's input, with the names of its schema in the registry. */
  parameters?: JsonObject | undefined;
  /** The program of a Python model. */
  model?: JsonObject | undefined;
  /** The input file of a Python model. */
  input?: JsonObject | undefined;
  /** The output format of a Python model. */
  output?: JsonObject | undefined;
  [name: string]: unknown;
}

/** Create a job and upload its files. */
export async function createJob(
  session: Session,
  body: object,
  options: { files?: Record<string, Uploadable> | undefined } & CreateOptions,
): Promise<CreatedJob> {
  const { files = {}, signal } = options;
  const { seal = false, ...clear } = snakeCased(body);
  if (seal) return sealedJob(session, clear, files, options);
  // Open the files first, so that a missing file creates no job.
  const sources = await Promise.all(
    Object.entries(files).map(async ([name, content]) => [name, await sourceOf(content)] as const),
  );
  const job = await fetchJson<CreatedJob>(session, creation("/v1/jobs", clear, options));
  try {
    for (const [name, source] of sources) await uploadFile(session, job.jobId, name, source, signal);
  } catch (error) {
    await abandon(session, job.jobId);
    throw error;
  }
  return job;
}

/** Create a sealed job. `body` has the API's names, and `files` are by their field's path or, for a Python model, by name. */
export async function sealedJob(
  session: Session,
  body: Record<string, unknown>,
  files: Record<string, Uploadable>,
  options: SealOptions,
): Promise<CreatedJob> {
  const { createSealed } = await import("../sealed/create.js");
  return createSealed(session, { type: String(body.type), body, files }, options);
}

/** Cancel a job. */
export function cancelJob(session: Session, jobId: string, { signal }: CallOptions): Promise<CancelledJob> {
  return fetchJson(session, { method: "DELETE", path: `/v1/jobs/${part(jobId)}`, signal });
}

/** Upload a file that a job waits for. */
export async function uploadFile(
  session: Session,
  jobId: string,
  name: string,
  source: Source,
  signal: AbortSignal | undefined,
): Promise<Job> {
  const path = `/v1/jobs/${part(jobId)}/files/${part(name)}`;
  if (source.content instanceof Blob && source.content.size > RESUMABLE) {
    const { uploadDirectly } = await import("../http/direct.js");
    const uploaded = await uploadDirectly(session, source, source.content, { signal });
    const query = { artifact_id: uploaded?.artifactId };
    if (uploaded) return fetchJson(session, { method: "PUT", path, query, repeatable: true, signal });
  }
  return fetchJson(session, {
    method: "PUT",
    path,
    headers: { "Content-Type": source.mediaType },
    body: await blobOf(source),
    repeatable: true,
    signal,
  });
}

async function abandon(session: Session, jobId: string): Promise<void> {
  try {
    await cancelJob(session, jobId, {});
  } catch (error) {
    // The caller throws the original error. A job whose files are missing ends after a time limit.
    if (!(error instanceof AITBCError)) throw error;
  }
}
