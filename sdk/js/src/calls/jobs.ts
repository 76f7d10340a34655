/** `client.jobs`: create, follow, repeat, cancel and delete jobs, and get their results and logs. */

import { AITBCError, JobFailed, JobNotCompleted, TimeoutError } from "../errors.js";
import { type FollowOptions, follow, isFinal } from "../http/events.js";
import { blobOf, RESUMABLE, type Source, sourceOf, type Uploadable } from "../http/files.js";
import { type Call, type CallOptions, fetchJson, part, pause, type Session } from "../http/transport.js";
import type {
  CancelledJob,
  CreatedJob,
  Job,
  JobDataDeleted,
  JobDetails,
  JobEvent,
  JobExplanation,
  JobList,
  JobLog,
  JobResults,
  JobState,
  LabelCounts,
} from "../models.js";
import { type JsonObject, snakeCased } from "../verification/shape.js";

/** Milliseconds between polls of a job: short at first, so that a short job is not delayed, then longer. */
const FIRST_POLL_MS = 100;
const SLOWEST_POLL_MS = 2000;
const POLL_GROWTH = 1.5;
/** Maximum seconds that the coordinator holds the response to a new job. */
const LONGEST_WAIT_SECONDS = 60;

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
  /** The only miner that may run it. */
  minerId?: string | undefined;
  /** Receives a signed message when the job ends. */
  webhookUrl?: string | undefined;
  /** The offer to accept with this job. */
  offerId?: string | undefined;
  /** Accept the job even if no known miner can run it, and wait for one. Otherwise it is refused with `CannotRun`. */
  wait?: boolean | undefined;
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

/** Options of creating a job. */
export interface CreateOptions extends CallOptions {
  /** Calls with the same key create one job. Without a key, the call is not retried if the coordinator may have received it. */
  idempotencyKey?: string | undefined;
}

/** Changes of a job that runs again; the job options replace those of the first job. */
export interface RerunOptions extends JobOptions, CreateOptions {
  /** New values of parameters by the API's names, with dots inside objects; null restores a default. */
  set?: JsonObject | undefined;
  /** Wait up to this many seconds (at most 60) for the end of the job; the response then has its `results`. */
  waitSeconds?: number | undefined;
}

/** Create, follow, repeat, cancel and delete jobs, and get their results and logs. */
export class Jobs {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Create a job, and upload `files`, by the names in the body.
   *
   * The job waits for its files. If an upload fails, the job is cancelled and the error thrown.
   */
  async create(
    body: NewJob,
    options: { files?: Record<string, Uploadable> | undefined } & CreateOptions = {},
  ): Promise<CreatedJob> {
    return createJob(this.#session, body, options);
  }

  /** Upload a file that a job is waiting for. A stream is read into memory first. */
  async upload(
    jobId: string,
    name: string,
    content: Uploadable,
    options: { mediaType?: string | undefined } & CallOptions = {},
  ): Promise<Job> {
    return uploadFile(this.#session, jobId, name, await sourceOf(content, options.mediaType), options.signal);
  }

  /** Return a job, with its parameters and inputs. */
  get(jobId: string, options: CallOptions = {}): Promise<JobDetails> {
    return getJob(this.#session, jobId, options.signal);
  }

  /** Return why a job does not run: what and by how much, who can change it, and how. */
  explain(jobId: string, options: CallOptions = {}): Promise<JobExplanation> {
    return fetchJson(this.#session, { path: `/v1/jobs/${part(jobId)}/explain`, signal: options.signal });
  }

  /** Return the labels of the account's jobs, or those with a key, with the number of jobs that have each. */
  labels(
    options: { key?: string | undefined; limit?: number | undefined } & CallOptions = {},
  ): Promise<LabelCounts> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: "/v1/jobs/labels", query, signal });
  }

  /** Return a page of the account's jobs, newest first, to which all given filters apply. */
  list(
    options: {
      status?: JobState | undefined;
      type?: string | undefined;
      name?: string | undefined;
      /** Labels that the jobs have, perhaps among others. */
      labels?: Record<string, string> | undefined;
      /** The miner that runs a job, or ran it last. */
      minerId?: string | undefined;
      /** The offer that a job was given to. */
      offerId?: string | undefined;
      /** Only jobs of this account; for administrators, who otherwise see the jobs of all accounts. */
      accountId?: string | undefined;
      limit?: number | undefined;
      offset?: number | undefined;
    } & CallOptions = {},
  ): Promise<JobList> {
    const { signal, labels = {}, minerId, offerId, accountId, ...more } = options;
    const label = Object.entries(labels).map(([key, value]) => `${key}:${value}`);
    const query = { ...more, label, miner_id: minerId, offer_id: offerId, account_id: accountId };
    return fetchJson(this.#session, { path: "/v1/jobs", query, signal });
  }

  /**
   * Create a job like this one: same input, parameters and options, except for the changes.
   *
   * Throws `ValidationFailed` if an input file no longer exists.
   */
  rerun(jobId: string, options: RerunOptions = {}): Promise<CreatedJob> {
    const { idempotencyKey, waitSeconds, signal, ...changes } = options;
    const path = `/v1/jobs/${part(jobId)}/rerun`;
    const call = creation(path, snakeCased(changes), { idempotencyKey, waitSeconds, signal });
    return fetchJson(this.#session, call);
  }

  /** Return what the job's runs have written: the output of a Python model, warnings of ffmpeg and the like. */
  log(jobId: string, options: CallOptions = {}): Promise<JobLog> {
    return fetchJson(this.#session, { path: `/v1/jobs/${part(jobId)}/log`, signal: options.signal });
  }

  /**
   * Delete an ended job from lists, with its parameters, results, log, and files that no other job of the account uses.
   *
   * Its receipt and payment remain. Throws `Conflict` if the job has not ended.
   */
  deleteData(jobId: string, options: CallOptions = {}): Promise<JobDataDeleted> {
    const path = `/v1/jobs/${part(jobId)}/data`;
    return fetchJson(this.#session, { method: "DELETE", path, repeatable: true, signal: options.signal });
  }

  /** Cancel a submitted or running job. Throws `JobAlreadyCompleted` if it has ended. */
  cancel(jobId: string, options: CallOptions = {}): Promise<CancelledJob> {
    return cancelJob(this.#session, jobId, options.signal);
  }

  /**
   * Return the results of a job. Unless `wait` is false, wait for an unfinished job, however long it takes.
   *
   * Throws `JobNotCompleted` if the job failed or was cancelled or, without `wait`, has not ended.
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
      if (!(error instanceof JobFailed)) throw error; // the next call throws the cause
    }
    return getResults(this.#session, jobId, signal);
  }

  /**
   * Wait until a job has completed, and return it.
   *
   * Calls `onProgress` with every polled state. Throws `JobFailed` if the job failed or was cancelled, and `TimeoutError`
   * after `timeoutMs` (the job continues).
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
        throw new TimeoutError(
          `Job ${jobId} is still ${job.status} after ${options.timeoutMs} ms. It continues; wait again, or cancel it.`,
        );
      }
      await pause(wait, options.signal);
    }
  }

  /**
   * Follow a job until it ends: its current state, then all changes and all events of its runner.
   *
   * With `after`, the `seq` of an event, only later events. After a lost connection, it reconnects and resumes after the
   * last event. To stop early, leave the loop or abort the signal; the job continues.
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
  // Open the files first, so that a missing file creates no job.
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
export function getJob(
  session: Session,
  jobId: string,
  signal: AbortSignal | undefined,
): Promise<JobDetails> {
  return fetchJson(session, { path: `/v1/jobs/${part(jobId)}`, signal });
}

/** Return the results of a completed job. */
export function getResults(
  session: Session,
  jobId: string,
  signal: AbortSignal | undefined,
): Promise<JobResults> {
  return fetchJson(session, { path: `/v1/jobs/${part(jobId)}/results`, signal });
}

/** Return the error of a job that ended without a result. */
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
    await cancelJob(session, jobId, undefined);
  } catch (error) {
    // The caller throws the original error. A job whose files are missing ends after a time limit.
    if (!(error instanceof AITBCError)) throw error;
  }
}
