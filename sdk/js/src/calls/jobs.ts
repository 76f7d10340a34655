/** `client.jobs`: create, follow, repeat, cancel and delete jobs, and get their results and logs. */

import { JobFailed, JobNotCompleted, TimeoutError, VerificationError } from "../errors.js";
import { downloadBlob } from "../http/download.js";
import { downloadTo, type Target } from "../http/download_to.js";
import { type FollowOptions, isFinal } from "../http/events.js";
import { sourceOf, type Uploadable } from "../http/files.js";
import { type CreateOptions, creation, getJob, getResults, jobFailure } from "../http/jobs.js";
import type { DownloadOptions } from "../http/receive.js";
import { type CallOptions, fetchJson, part, pause } from "../http/transport.js";
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
import type { SealOptions } from "../sealed/create.js";
import type { SealedRequest } from "../sealed/memory.js";
import { type JsonObject, snakeCased } from "../verification/shape.js";
import { Calls, type OffsetOptions } from "./calls.js";
import { cancelJob, createJob, type JobOptions, type NewJob, uploadFile } from "./new_job.js";
import { followOpened, openedLog, openedResults, requestOf } from "./reading.js";

/** Milliseconds between polls of a job: short at first, so that a short job is not delayed, then longer. */
const FIRST_POLL_MS = 100;
const SLOWEST_POLL_MS = 2000;
const POLL_GROWTH = 1.5;

/** Changes of a job that runs again; the job options replace those of the first job. */
export interface RerunOptions extends JobOptions, CreateOptions {
  /** New values of parameters by the API's names, with dots inside objects; null restores a default. */
  set?: JsonObject | undefined;
  /** Wait up to this many seconds (at most 60) for the end of the job; the response then has its `results`. */
  waitSeconds?: number | undefined;
}

/** Create, follow, repeat, cancel and delete jobs, and get their results and logs. */
export class Jobs extends Calls {
  /**
   * Create a job, and upload `files`, by the names in the body.
   *
   * The job waits for its files. If an upload fails, the job is cancelled and the error thrown. With `seal`, files are sealed
   * and stored first; except for Python models, `files` are then by the field that they fill, such as `audio_url`.
   */
  async create(
    body: NewJob,
    options: { files?: Record<string, Uploadable> | undefined } & SealOptions = {},
  ): Promise<CreatedJob> {
    return createJob(this.session, body, options);
  }

  /** Upload a file that a job is waiting for. A stream is read into memory first. */
  async upload(
    jobId: string,
    name: string,
    content: Uploadable,
    options: { mediaType?: string | undefined } & CallOptions = {},
  ): Promise<Job> {
    return uploadFile(this.session, jobId, name, await sourceOf(content, options.mediaType), options.signal);
  }

  /** Return a job, with its parameters and inputs. */
  get(jobId: string, options: CallOptions = {}): Promise<JobDetails> {
    return getJob(this.session, jobId, options);
  }

  /** Return why a job does not run: what and by how much, who can change it, and how. */
  explain(jobId: string, options: CallOptions = {}): Promise<JobExplanation> {
    return this.read(`/v1/jobs/${part(jobId)}/explain`, options);
  }

  /** Return the labels of the account's jobs, or those with a key, with the number of jobs that have each. */
  labels(
    options: { key?: string | undefined; limit?: number | undefined } & CallOptions = {},
  ): Promise<LabelCounts> {
    return this.read("/v1/jobs/labels", options);
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
    } & OffsetOptions = {},
  ): Promise<JobList> {
    const { labels = {}, ...filters } = options;
    const label = Object.entries(labels).map(([key, value]) => `${key}:${value}`);
    return this.read("/v1/jobs", { ...filters, label });
  }

  /**
   * Create a job like this one: same input, parameters and options, except for the changes.
   *
   * Throws `ValidationFailed` if an input file no longer exists, and `Conflict` for a sealed job.
   */
  async rerun(jobId: string, options: RerunOptions = {}): Promise<CreatedJob> {
    const { idempotencyKey, waitSeconds, signal, ...changes } = options;
    const path = `/v1/jobs/${part(jobId)}/rerun`;
    const call = creation(path, snakeCased(changes), { idempotencyKey, waitSeconds, signal });
    const created = await fetchJson<CreatedJob>(this.session, call);
    if ((await requestOf(this.session, jobId)) === undefined) return created;
    throw new VerificationError(
      `The coordinator says that it runs job ${jobId} again, whose input only its miner can read. Do not trust ${created.jobId}.`,
    );
  }

  /** Return what the job's runs have written: the output of a Python model, warnings of ffmpeg and the like. */
  async log(jobId: string, options: { opened?: boolean | undefined } & CallOptions = {}): Promise<JobLog> {
    const path = `/v1/jobs/${part(jobId)}/log`;
    const log = await this.read<JobLog>(path, { signal: options.signal });
    return openedLog(this.session, jobId, log, options);
  }

  /** Return what this client sealed as this job, as it remembers it; undefined for any other job, or one that it has forgotten. */
  sealedRequest(jobId: string): Promise<SealedRequest | undefined> {
    return requestOf(this.session, jobId);
  }

  /**
   * Return an output file of a job as a `Blob` of its media type, and check its digest. That of a sealed job is opened.
   *
   * @param artifactId - The file's id in the job's results.
   */
  async blob(jobId: string, artifactId: string, options: DownloadOptions = {}): Promise<Blob> {
    if (!(await this.#isSealed(jobId, options))) return downloadBlob(this.session, artifactId, options);
    return (await import("../sealed/reading.js")).openBlob(this.session, jobId, artifactId, options);
  }

  /** Like `blob`, but into a file (in Node) or a stream. */
  async download(
    jobId: string,
    artifactId: string,
    to: Target,
    options: DownloadOptions = {},
  ): Promise<void> {
    if (!(await this.#isSealed(jobId, options))) return downloadTo(this.session, artifactId, to, options);
    return (await import("../sealed/download.js")).openTo(this.session, jobId, artifactId, to, options);
  }

  async #isSealed(jobId: string, options: CallOptions): Promise<boolean> {
    if (await requestOf(this.session, jobId)) return true;
    return Boolean((await getJob(this.session, jobId, options)).sealed);
  }

  /**
   * Delete an ended job from lists, with its parameters, results, log, and files that no other job of the account uses.
   *
   * Its receipt and payment remain. Throws `Conflict` if the job has not ended.
   */
  deleteData(jobId: string, options: CallOptions = {}): Promise<JobDataDeleted> {
    const path = `/v1/jobs/${part(jobId)}/data`;
    return fetchJson(this.session, { method: "DELETE", path, repeatable: true, signal: options.signal });
  }

  /** Cancel a submitted or running job. Throws `JobAlreadyCompleted` if it has ended. */
  cancel(jobId: string, options: CallOptions = {}): Promise<CancelledJob> {
    return cancelJob(this.session, jobId, options);
  }

  /**
   * Return the results of a job. Unless `wait` is false, wait for an unfinished job, however long it takes. Those of a sealed
   * job are opened, unless `opened` is false.
   *
   * Throws `JobNotCompleted` if the job failed or was cancelled or, without `wait`, has not ended; and `VerificationError`
   * for a sealed job whose answer this client cannot open, or for results that the miner of a job that it sealed has not sealed.
   */
  async getResults(
    jobId: string,
    options: { wait?: boolean | undefined; opened?: boolean | undefined } & CallOptions = {},
  ): Promise<JobResults> {
    return openedResults(this.session, jobId, await this.#results(jobId, options), options);
  }

  async #results(
    jobId: string,
    { wait = true, signal }: { wait?: boolean | undefined } & CallOptions,
  ): Promise<JobResults> {
    try {
      return await getResults(this.session, jobId, { signal });
    } catch (error) {
      if (!wait || !(error instanceof JobNotCompleted) || isFinal(error.details.status as JobState))
        throw error;
    }
    try {
      await this.wait(jobId, { signal });
    } catch (error) {
      if (!(error instanceof JobFailed)) throw error; // the next call throws the cause
    }
    return getResults(this.session, jobId, { signal });
  }

  /**
   * Wait until a job has completed, and return it.
   *
   * Calls `onProgress` with the first state, and whenever status, progress or attempts change. Throws `JobFailed` if the job
   * failed or was cancelled, and `TimeoutError` after `timeoutMs` (the job continues).
   */
  async wait(
    jobId: string,
    options: {
      timeoutMs?: number | undefined;
      onProgress?: ((job: Job) => void) | undefined;
    } & CallOptions = {},
  ): Promise<Job> {
    const deadline = performance.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
    let reported = "";
    for (let wait = FIRST_POLL_MS; ; wait = Math.min(SLOWEST_POLL_MS, wait * POLL_GROWTH)) {
      const job = await this.get(jobId, options);
      const state = `${job.status} ${job.progress} ${job.attempts}`;
      if (state !== reported) options.onProgress?.(job);
      reported = state;
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
   * last event. To stop early, leave the loop or abort the signal; the job continues. Events of sealed jobs are opened.
   */
  events(jobId: string, options: FollowOptions = {}): AsyncGenerator<JobEvent, void, undefined> {
    return followOpened(this.session, jobId, options);
  }
}
