/** Streams the text of a language model. */

import { followOpened, openedResults } from "./calls/reading.js";
import { TransportError } from "./errors.js";
import { isFinal } from "./http/events.js";
import { getResults, jobFailure } from "./http/jobs.js";
import type { Session } from "./http/transport.js";
import type { CreatedJob, Job, JobEvent, JobResults } from "./models.js";

/**
 * An iterable of the pieces of a language model's text. Joined, they are the whole text.
 *
 * If pieces may have been lost (the reader was slow, the connection was lost for long) or the job restarts on another
 * miner, the iteration pauses until the job ends, and the last piece contains the rest. If the pieces so far are not the
 * beginning of the final text, it throws `TransportError` at the end, with `results` set. It throws `JobFailed` if the job
 * ends without results.
 *
 * To stop early, leave the loop or abort the signal. The job continues unless you cancel it.
 */
export class TextStream implements AsyncIterable<string> {
  /** The job's results; undefined until the iteration has finished. */
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
    const onOpen = (resumes: boolean) => {
      // A connection that resumes after an event misses none, or reports the loss.
      if (opened && !resumes) shown.complete = false;
      opened = true;
    };
    for await (const event of followOpened(this.#session, jobId, { signal }, onOpen)) {
      const piece = shown.add(event);
      if (piece) yield piece;
    }
    const answer = await getResults(this.#session, jobId, { signal });
    this.results = await openedResults(this.#session, jobId, answer, { signal });
    const rest = shown.rest(String(this.results.results.text ?? ""));
    if (rest) yield rest;
    if (rest === undefined) {
      throw new TransportError(
        `Pieces of the text of job ${jobId} were lost, or the job restarted. Read the whole text from the results.`,
      );
    }
  }

  /** Return the whole text when it is complete. */
  async text(): Promise<string> {
    let text = "";
    for await (const piece of this) text += piece;
    return text;
  }
}

/** The text that was yielded so far. */
class Shown {
  /** False once pieces may be missing; then no more are yielded. */
  complete = true;
  #text = "";
  #run: string | undefined;

  /** Return the piece of text to yield for an event. Throws `JobFailed` if the job ended without results. */
  add({ kind, job, data }: JobEvent): string {
    if (job !== undefined) {
      this.#state(job);
      return "";
    }
    if (kind === "resync") this.complete = false;
    if (kind !== "token" || typeof data.text !== "string") return "";
    // The runner's offset, which counts code points as Python does, reveals missing pieces.
    if (data.offset !== undefined && data.offset !== [...this.#text].length) this.complete = false;
    if (!this.complete) return "";
    this.#text += data.text;
    return data.text;
  }

  /** Return the rest of the final text, or undefined if the text so far is not its beginning. */
  rest(text: string): string | undefined {
    return text.startsWith(this.#text) ? text.slice(this.#text.length) : undefined;
  }

  #state(job: Job): void {
    if (isFinal(job.status) && job.status !== "completed") throw jobFailure(job);
    // Another run writes the text from the beginning.
    if (this.#text && job.startedAt !== this.#run) this.complete = false;
    this.#run = job.startedAt;
  }
}
