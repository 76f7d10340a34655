/** `client.jobs`: create, watch, cancel, fetch results. */

import { AITBCError, JobFailed, JobNotCompleted, TimeoutError } from "../errors.js";
import { type FollowOptions, follow, isFinal } from "../http/events.js";
import { blobOf, type Source, sourceOf, type Uploadable } from "../http/files.js";
import { type Call, type CallOptions, fetchJson, part, pause, type Session } from "../http/transport.js";
import type { CancelledJob, CreatedJob, Job, JobEvent, JobList, JobResults, JobState } from "../models.js";
import { type JsonObject, snakeCased } from "../verification/shape.js";

/** Milliseconds between two looks at a job: soon at first, so that a short job is not slowed down, then rarely. */
const FIRST_POLL_MS = 100;
const SLOWEST_POLL_MS = 2000;
const POLL_GROWTH = 1.5;
/** The longest that the coordinator holds the answer to a new job, in seconds. */
const LONGEST_WAIT_SECONDS = 60;

/** What any job may say beside its input. */
export interface JobOptions {
  /** How lists call it. */
  name?: string | undefined;
  /** Kubernetes quantities: `"1000m"`, `"2Gi"`, `"1"`. */
  resources?: { cpu?: string | undefined; memory?: string | undefined; gpu?: string | undefined } | undefined;
  /** What is held in escrow until the job ends: a decimal string. */
  pricing?: { maxCost?: string | undefined } | undefined;
  /** 0 to 9, the most urgent. */
  priority?: number | undefined;
  /** Longest time of one run. */
  timeoutSeconds?: number | undefined;
  /** Runs that machines' faults may cost. */
  maxAttempts?: number | undefined;
  /** The only miner that may run it. */
  minerId?: string | undefined;
  /** Where a signed message goes when the job has ended. */
  webhookUrl?: string | undefined;
  /** The offer that it is given to at once. */
  offerId?: string | undefined;
}

/** A new job. Its own names may also be written as the API has them (`timeout_seconds`). */
export interface NewJob extends JobOptions {
  /** A service's id; hyphens and underscores are the same. */
  type: string;
  /** The service's input, with the names of its schema in the registry. */
  parameters?: JsonObject | undefined;
  /** Of a Python model: its program. */
  model?: JsonObject | undefined;
  /** Of a Python model: its input file. */
  input?: JsonObject | undefined;
  /** Of a Python model: how it answers. */
  output?: JsonObject | undefined;
  [name: string]: unknown;
}

/** What new jobs take. */
export interface CreateOptions extends CallOptions {
  /** Calls with the same key create one job; without it the call is not repeated once the coordinator may have got it. */
  idempotencyKey?: string | undefined;
}

/** Jobs: create, watch, cancel, fetch results. */
export class Jobs {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Create a job; upload `files` (by the names that the body uses) to it.
   *
   * A job waits for its files. When one cannot be uploaded, the job is cancelled and the error thrown.
   */
  async create(
    body: NewJob,
    options: { files?: Record<string, Uploadable> | undefined } & CreateOptions = {},
  ): Promise<CreatedJob> {
    return createJob(this.#session, body, options);
  }

  /** Upload a file that a job waits for. A stream is read into memory first. */
  async upload(
    jobId: string,
    name: string,
    content: Uploadable,
    options: { mediaType?: string | undefined } & CallOptions = {},
  ): Promise<Job> {
    return uploadFile(this.#session, jobId, name, await sourceOf(content, options.mediaType), options.signal);
  }

  /** The state of a job. */
  get(jobId: string, options: CallOptions = {}): Promise<Job> {
    return getJob(this.#session, jobId, options.signal);
  }

  /** One page of the account's jobs, newest first; only those of a `status` or `type` where given. */
  list(
    options: {
      status?: JobState | undefined;
      type?: string | undefined;
      limit?: number | undefined;
      offset?: number | undefined;
    } & CallOptions = {},
  ): Promise<JobList> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: "/v1/jobs", query, signal });
  }

  /** Cancel a submitted or running job. Throws `JobAlreadyCompleted` for one that has ended. */
  cancel(jobId: string, options: CallOptions = {}): Promise<CancelledJob> {
    return cancelJob(this.#session, jobId, options.signal);
  }

  /**
   * The results of a completed job. One that is under way is waited for, as long as it takes, unless `wait` is false.
   *
   * Throws `JobNotCompleted` for a job that failed or was cancelled, and without `wait` for one that is not done.
   */
  async getResults(
    jobId: string,
    options: { wait?: boolean | undefined } & CallOptions = {},
  ): Promise<JobResults> {
    const { wait = true, signal } = options;
    try {
      return await getResults(this.#session, jobId, signal);
    } catch (error) {
      if (!wait || !(error instanceof JobNotCompleted) || isFinal(error.details.status as JobState))
        throw error;
    }
    try {
      await this.wait(jobId, { signal });
    } catch (error) {
      if (!(error instanceof JobFailed)) throw error; // else the next answer says so, with its cause
    }
    return getResults(this.#session, jobId, signal);
  }

  /**
   * Wait until a job has completed; its last state.
   *
   * `onProgress` is called with every state that was seen. Throws `JobFailed` when the job failed or was cancelled,
   * `TimeoutError` when `timeoutMs` is over (the job goes on).
   */
  async wait(
    jobId: string,
    options: {
      timeoutMs?: number | undefined;
      onProgress?: ((job: Job) => void) | undefined;
    } & CallOptions = {},
  ): Promise<Job> {
    const deadline = performance.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
    for (let wait = FIRST_POLL_MS; ; wait = Math.min(SLOWEST_POLL_MS, wait * POLL_GROWTH)) {
      const job = await this.get(jobId, options);
      options.onProgress?.(job);
      if (job.status === "completed") return job;
      if (isFinal(job.status)) throw jobFailure(job);
      if (performance.now() + wait > deadline) {
        throw new TimeoutError(`Job ${jobId} is still ${job.status} after ${options.timeoutMs} ms.`);
      }
      await pause(wait, options.signal);
    }
  }

  /**
   * Follow a job until it ends: its state first, then every change and everything that its runner tells.
   *
   * With `after`, the `seq` of an event, only what came later. Where the connection breaks a new one is made, which goes
   * on after the last event. To stop before the job ends, leave the loop or abort the signal; the job goes on.
   */
  events(jobId: string, options: FollowOptions = {}): AsyncGenerator<JobEvent, void, undefined> {
    return follow(this.#session, jobId, options);
  }
}

/** Create a job and upload its files. */
export async function createJob(
  session: Session,
  body: object,
  options: { files?: Record<string, Uploadable> | undefined } & CreateOptions,
): Promise<CreatedJob> {
  const { files = {}, signal } = options;
  // First, so that a file that is not there costs no job.
  const sources = await Promise.all(
    Object.entries(files).map(async ([name, content]) => [name, await sourceOf(content)] as const),
  );
  const job = await fetchJson<CreatedJob>(session, creation("/v1/jobs", snakeCased(body), options));
  try {
    for (const [name, source] of sources) await uploadFile(session, job.jobId, name, source, signal);
  } catch (error) {
    await abandon(session, job.jobId);
    throw error;
  }
  return job;
}

/** The request that creates a job. */
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

/** The state of a job. */
export function getJob(session: Session, jobId: string, signal: AbortSignal | undefined): Promise<Job> {
  return fetchJson(session, { path: `/v1/jobs/${part(jobId)}`, signal });
}

/** The results of a completed job. */
export function getResults(
  session: Session,
  jobId: string,
  signal: AbortSignal | undefined,
): Promise<JobResults> {
  return fetchJson(session, { path: `/v1/jobs/${part(jobId)}/results`, signal });
}

/** The error for a job that ended without a result. */
export function jobFailure(job: Job): JobFailed {
  const reason = (job.error?.message || "no reason was given").replace(/\.$/, "");
  return new JobFailed(job.jobId, job.status, job.error?.code || job.status.toUpperCase(), reason);
}

function cancelJob(session: Session, jobId: string, signal: AbortSignal | undefined): Promise<CancelledJob> {
  return fetchJson(session, { method: "DELETE", path: `/v1/jobs/${part(jobId)}`, signal });
}

async function uploadFile(
  session: Session,
  jobId: string,
  name: string,
  source: Source,
  signal: AbortSignal | undefined,
): Promise<Job> {
  return fetchJson(session, {
    method: "PUT",
    path: `/v1/jobs/${part(jobId)}/files/${part(name)}`,
    headers: { "Content-Type": source.mediaType },
    body: await blobOf(source),
    repeatable: true,
    signal,
  });
}

async function abandon(session: Session, jobId: string): Promise<void> {
  try {
    await cancelJob(session, jobId, undefined);
  } catch (error) {
    // The error that led here is the one to throw; the job ends by itself when its files do not come.
    if (!(error instanceof AITBCError)) throw error;
  }
}
