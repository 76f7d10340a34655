/** The text of a language model as it is written. */

import { getResults, jobFailure } from "./calls/jobs.js";
import { TransportError } from "./errors.js";
import { follow, isFinal } from "./http/events.js";
import type { Session } from "./http/transport.js";
import type { CreatedJob, Job, JobEvent, JobResults } from "./models.js";

/**
 * The text of a language model, piece by piece: iterate over it. Joined, the pieces are the whole text.
 *
 * When pieces may have been lost (the reader was slow, a connection was broken for long), or the job begins anew on
 * another miner, the text rests until the job ends and the last piece brings what is missing. `TransportError` is
 * thrown at the end when that cannot be, because what was shown is not how the final text begins; `results` are there
 * all the same. `JobFailed` is thrown when the job ends without results.
 *
 * Leave the loop, or abort the signal, to stop before the end; the job goes on, unless it is cancelled.
 */
export class TextStream implements AsyncIterable<string> {
  /** What the job made, once the iteration has come to its end; undefined before. */
  results: JobResults | undefined;
  readonly #session: Session;
  readonly #signal: AbortSignal | undefined;

  /** @param job - The job that was created. */
  constructor(
    session: Session,
    readonly job: CreatedJob,
    signal?: AbortSignal,
  ) {
    this.#session = session;
    this.#signal = signal;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    const { jobId } = this.job;
    const shown = new Shown();
    const signal = this.#signal;
    let opened = false;
    const onOpen = (goesOn: boolean) => {
      // A connection that goes on after an event misses nothing, or says so.
      if (opened && !goesOn) shown.complete = false;
      opened = true;
    };
    for await (const event of follow(this.#session, jobId, { signal }, onOpen)) {
      const piece = shown.take(event);
      if (piece) yield piece;
    }
    this.results = await getResults(this.#session, jobId, signal);
    const rest = shown.rest(String(this.results.results.text ?? ""));
    if (rest) yield rest;
    if (rest === undefined) {
      throw new TransportError(
        `Pieces of the text of job ${jobId} were lost, or it was written anew after some had been shown; ` +
          "its results hold the whole.",
      );
    }
  }

  /** The whole text, once it is written. */
  async text(): Promise<string> {
    let text = "";
    for await (const piece of this) text += piece;
    return text;
  }
}

/** The text that was passed on so far. */
class Shown {
  /** False once pieces may be missing: no more are passed on then. */
  complete = true;
  #text = "";
  #run: string | undefined;

  /** What to pass on of an event. Throws `JobFailed` for the end of a job without results. */
  take({ kind, job, data }: JobEvent): string {
    if (job !== undefined) {
      this.#state(job);
      return "";
    }
    if (kind === "resync") this.complete = false;
    if (kind !== "token" || typeof data.text !== "string") return "";
    // Where the runner says how much text stands before a piece, one that was missed is noticed at the next. It counts
    // characters as Python does.
    if (data.offset !== undefined && data.offset !== [...this.#text].length) this.complete = false;
    if (!this.complete) return "";
    this.#text += data.text;
    return data.text;
  }

  /** What of the final text has not been passed on; undefined when what was passed on is not how it begins. */
  rest(text: string): string | undefined {
    return text.startsWith(this.#text) ? text.slice(this.#text.length) : undefined;
  }

  #state(job: Job): void {
    if (isFinal(job.status) && job.status !== "completed") throw jobFailure(job);
    // Another run, perhaps on another machine: it writes the text from its beginning.
    if (this.#text && job.startedAt !== this.#run) this.complete = false;
    this.#run = job.startedAt;
  }
}
