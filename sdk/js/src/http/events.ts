/** Follows a job: reads its server-sent events, and goes on where a connection breaks. */

import { TimeoutError, TransportError } from "../errors.js";
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

/** After so long the coordinator says that it is still there, when there is nothing else to say. */
const KEEP_ALIVE_MS = 15_000;
/** Characters. */
const LONGEST_EVENT = 2 ** 20;
const MEDIA_TYPE = "text/event-stream";
const FINAL: ReadonlySet<JobState> = new Set<JobState>(["completed", "failed", "cancelled"]);

/** What following a job takes. */
export interface FollowOptions extends CallOptions {
  /** Go on after the event with this `seq`. */
  after?: number | undefined;
  /** The longest that it is followed. */
  timeoutMs?: number | undefined;
}

/**
 * Follow a job until it ends. `onOpen` is called for each connection, with whether it goes on after an event.
 *
 * Throws `TimeoutError` when the time is over, `APIError`, and `TransportError` when no connection can be made again.
 */
export async function* follow(
  session: Session,
  jobId: string,
  options: FollowOptions,
  onOpen?: (goesOn: boolean) => void,
): AsyncGenerator<JobEvent, void, undefined> {
  const deadline = performance.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
  let last = options.after === undefined ? undefined : String(options.after);
  for (let attempt = 0; ; attempt++) {
    const call = callOf(jobId, options.signal, deadline, last);
    let failure: unknown;
    try {
      onOpen?.(last !== undefined);
      const answer = await open(session, call);
      for await (const { name, data, id } of eventsOf(answer)) {
        attempt = 0;
        last = id || last;
        const event = read(name, data, id);
        if (event === undefined) continue;
        yield event;
        if (event.job !== undefined && isFinal(event.job.status)) return;
        requireTime(jobId, deadline, 0);
      }
      failure = new TransportError(`The events of job ${jobId} ended before the job did.`);
    } catch (error) {
      failure = error;
    }
    requireTime(jobId, deadline, 0);
    const delay = retryDelay(call, failure, attempt);
    if (delay === undefined || attempt >= session.retries) throw failure;
    requireTime(jobId, deadline, delay);
    await pause(delay, options.signal);
  }
}

/** Whether a state can change no more. */
export function isFinal(status: JobState): boolean {
  return FINAL.has(status);
}

function callOf(
  jobId: string,
  signal: AbortSignal | undefined,
  deadline: number,
  last: string | undefined,
): Call {
  return {
    path: `/v1/jobs/${part(jobId)}/events`,
    headers: { Accept: MEDIA_TYPE, ...(last === undefined ? {} : { "Last-Event-ID": last }) },
    patienceMs: KEEP_ALIVE_MS,
    // The longest that a timer takes is about 24 days.
    limitMs: Math.min(2 ** 31 - 1, Math.max(1, deadline - performance.now())),
    signal,
  };
}

function requireTime(jobId: string, deadline: number, delay: number): void {
  if (performance.now() + delay >= deadline) {
    throw new TimeoutError(`Job ${jobId} has not ended in the time that was given.`);
  }
}

/** The event as the caller sees it; undefined for one of a newer coordinator. */
function read(name: string, data: string, id: string): JobEvent | undefined {
  let body: JsonObject;
  try {
    body = JSON.parse(data);
  } catch (error) {
    throw new TransportError("The coordinator sent an event that is no JSON.", { cause: error });
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
 * The events of an answer, as section 9.2 of the HTML standard says; comments are left out. Lines end with LF or CR LF.
 * The field `retry` is not used.
 */
async function* eventsOf(answer: Answer): AsyncGenerator<ServerSentEvent, void, undefined> {
  if (!(answer.headers.get("content-type") ?? "").startsWith(MEDIA_TYPE)) {
    answer.close();
    throw new TransportError("The answer is no stream of events, so not a coordinator's.");
  }
  const decoder = new TextDecoder();
  let rest = "";
  let event: ServerSentEvent | undefined;
  for await (const chunk of answer.chunks()) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const text = line.endsWith("\r") ? line.slice(0, -1) : line;
      if (text === "") {
        if (event?.data) yield { ...event, data: event.data.slice(0, -1) };
        event = undefined;
      } else {
        event = taken(event ?? { name: "message", data: "", id: "" }, text);
      }
    }
    if (rest.length + (event?.data.length ?? 0) > LONGEST_EVENT) {
      throw new TransportError("The coordinator sent an event that is too long.");
    }
  }
}

/** The event with one more line of it. Its data ends with a line end. */
function taken(event: ServerSentEvent, line: string): ServerSentEvent {
  const colon = line.indexOf(":");
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (field === "event") return { ...event, name: value };
  if (field === "data") return { ...event, data: `${event.data}${value}\n` };
  if (field === "id" && !value.includes("\0")) return { ...event, id: value };
  return event;
}
