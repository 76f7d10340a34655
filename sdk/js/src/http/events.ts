/** Follows a job: reads its server-sent events, and resumes after a lost connection. */

import { TimeoutError, TransportError, VerificationError } from "../errors.js";
import type { Job, JobEvent, JobState } from "../models.js";
import { camelCased, type JsonObject } from "../verification/shape.js";
import {
  type Answer,
  type Call,
  type CallOptions,
  open,
  part,
  pause,
  retryDelay,
  type Session,
} from "./transport.js";

/** The coordinator sends something at least this often. */
const KEEP_ALIVE_MS = 15_000;
/** Maximum characters of a line and of an event's data. */
const LONGEST_EVENT = 2 ** 20;
const MEDIA_TYPE = "text/event-stream";
/** The fields of every event of a job. */
const OF_ALL: ReadonlySet<string> = new Set(["job_id", "jobId", "kind"]);
/** The longest delay of a timer, about 24 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const FINAL: ReadonlySet<JobState> = new Set<JobState>(["completed", "failed", "cancelled"]);

/** Options for following a job. */
export interface FollowOptions extends CallOptions {
  /** Resume after the event with this `seq`. */
  after?: number | undefined;
  /** Maximum milliseconds to follow the job. */
  timeoutMs?: number | undefined;
}

/**
 * Follow a job until it ends. `onOpen` is called for each connection, with whether it resumes after an event.
 *
 * Throws `TimeoutError` when the time is up, `APIError`, and `TransportError` when it cannot reconnect.
 */
export async function* follow(
  session: Session,
  jobId: string,
  options: FollowOptions,
  onOpen?: (resumes: boolean) => void,
): AsyncGenerator<JobEvent, void, undefined> {
  const deadline = performance.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
  const reader = new Reader(session, jobId, options.after, deadline);
  for (let attempt = 0; ; attempt++) {
    const call = reader.call(options.signal);
    onOpen?.(reader.last !== undefined);
    const before = reader.received;
    const failure = yield* reader.read(call);
    if (failure === undefined) return;
    if (reader.received > before) attempt = 0;
    requireTime(jobId, deadline, 0);
    const delay = retryDelay(call, failure, attempt);
    if (delay === undefined || attempt >= session.retries) throw failure;
    requireTime(jobId, deadline, delay);
    await pause(delay, options.signal);
  }
}

/** Reads the events of a job over any number of connections. */
class Reader {
  /** The id of the last event. */
  last: string | undefined;
  /** The number of events received. */
  received = 0;

  constructor(
    readonly session: Session,
    readonly jobId: string,
    after: number | undefined,
    readonly deadline: number,
  ) {
    this.last = after === undefined ? undefined : String(after);
  }

  /** Return the request for the events after the last one. */
  call(signal: AbortSignal | undefined): Call {
    return {
      path: `/v1/jobs/${part(this.jobId)}/events`,
      headers: { Accept: MEDIA_TYPE, ...(this.last === undefined ? {} : { "Last-Event-ID": this.last }) },
      patienceMs: KEEP_ALIVE_MS,
      limitMs: Math.min(LONGEST_TIMER_MS, Math.max(1, this.deadline - performance.now())),
      signal,
    };
  }

  /** Yield the events of one connection. Returns its error, or undefined when the job has ended. */
  async *read(call: Call): AsyncGenerator<JobEvent, unknown, undefined> {
    try {
      for await (const { name, data, id } of eventsOf(await open(this.session, call))) {
        this.received += 1;
        this.last = id || this.last;
        const event = parse(name, data, id);
        if (event === undefined) continue;
        yield event;
        if (event.job !== undefined && isFinal(event.job.status)) return undefined;
        requireTime(this.jobId, this.deadline, 0);
      }
    } catch (error) {
      return error;
    }
    return new TransportError(`The events of job ${this.jobId} ended before the job did.`);
  }
}

/** Return whether a status is final. */
export function isFinal(status: JobState): boolean {
  return FINAL.has(status);
}

/**
 * Throw `VerificationError` for an event in clear with content, of a job that this client sealed. Besides changes of state,
 * the coordinator sends the number of new lines in the log, and that events were lost.
 */
export function requireSealed(kind: string, data: JsonObject): void {
  const names = Object.keys(data).filter((name) => !OF_ALL.has(name));
  const isCount = kind === "log" && typeof data.lines === "number" && names.length === 1;
  const isGap = kind === "resync" && names.every((name) => name === "reason");
  if (isCount || isGap || kind === "sealed") return;
  throw new VerificationError(
    "The coordinator sent an event in clear of a job that was sealed. Do not trust it, nor what comes after it.",
  );
}

function requireTime(jobId: string, deadline: number, delay: number): void {
  if (performance.now() + delay >= deadline) {
    throw new TimeoutError(
      `Job ${jobId} did not end within the time limit. It continues; wait again, or cancel it.`,
    );
  }
}

/** Parse an event; undefined for an unknown kind, from a newer coordinator. */
function parse(name: string, data: string, id: string): JobEvent | undefined {
  let body: JsonObject;
  try {
    body = JSON.parse(data);
  } catch (error) {
    throw new TransportError("The coordinator sent an event that is not JSON.", { cause: error });
  }
  const seq = /^[0-9]+$/.test(id) ? { seq: Number(id) } : {};
  if (name === "job_update") return { kind: name, job: camelCased(body) as Job, data: body, ...seq };
  if (name === "resync") return { kind: name, data: body, ...seq };
  if (name === "job_event" && typeof body.kind === "string") return { kind: body.kind, data: body, ...seq };
  return undefined;
}

interface ServerSentEvent {
  name: string;
  data: string;
  id: string;
}

/**
 * Yield the events of a response, after section 9.2 of the HTML standard, without comments. Lines end with LF or CR LF.
 * The field `retry` is ignored.
 */
async function* eventsOf(answer: Answer): AsyncGenerator<ServerSentEvent, void, undefined> {
  let event: ServerSentEvent | undefined;
  for await (const line of linesOf(answer)) {
    if (line !== "") {
      event = withLine(event ?? { name: "message", data: "", id: "" }, line);
      requireLength(event.data);
      continue;
    }
    if (event?.data) yield { ...event, data: event.data.slice(0, -1) };
    event = undefined;
  }
}

async function* linesOf(answer: Answer): AsyncGenerator<string, void, undefined> {
  if (!(answer.headers.get("content-type") ?? "").startsWith(MEDIA_TYPE)) {
    answer.close();
    throw new TransportError("The response is not an event stream. Is this a coordinator's address?");
  }
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of answer.chunks()) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    requireLength(rest);
    for (const line of lines) yield line.endsWith("\r") ? line.slice(0, -1) : line;
  }
}

function requireLength(text: string): void {
  if (text.length > LONGEST_EVENT)
    throw new TransportError("The coordinator sent an event that is too long.");
}

/** Return the event with one more line. Its data ends with a line break. */
function withLine(event: ServerSentEvent, line: string): ServerSentEvent {
  const colon = line.indexOf(":");
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (field === "event") return { ...event, name: value };
  if (field === "data") return { ...event, data: `${event.data}${value}\n` };
  if (field === "id" && !value.includes("\0")) return { ...event, id: value };
  return event;
}
