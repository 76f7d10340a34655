/**
 * Reads jobs: their results, events, logs and receipts, opened if the job is sealed.
 *
 * Of a job that this client remembers to have sealed, nothing is accepted that its miner did not seal.
 */

import { type FollowOptions, follow } from "../http/events.js";
import type { CallOptions, Session } from "../http/transport.js";
import type { JobEvent, JobLog, JobResults } from "../models.js";
import type { SealedRequest } from "../sealed/memory.js";
import type { EventOpener } from "../sealed/reading.js";
import type { Json, JsonObject } from "../verification/shape.js";

/** Return what this client sealed as this job, as it remembers it; undefined for any other job. */
export async function requestOf(session: Session, jobId: string): Promise<SealedRequest | undefined> {
  return (await session.memory()).get(jobId);
}

/** Return results, opened if they are sealed. */
export async function openedResults(
  session: Session,
  jobId: string,
  answer: JobResults,
  options: CallOptions & { opened?: boolean | undefined },
): Promise<JobResults> {
  const own = await requestOf(session, jobId);
  const sealed = (answer.results as JsonObject | null)?.sealed as JsonObject | undefined;
  const isSealed = typeof sealed?.capsule === "string" && options.opened !== false;
  if (!own && !isSealed) return inClear(answer);
  const job = { session, jobId, own, signal: options.signal };
  return (await import("../sealed/reading.js")).openResults(job, inClear(answer), options.opened);
}

/** Return a log, opened if it is sealed. */
export async function openedLog(
  session: Session,
  jobId: string,
  log: JobLog,
  { signal, opened = true }: CallOptions & { opened?: boolean | undefined },
): Promise<JobLog> {
  const own = await requestOf(session, jobId);
  const isSealed = opened && log.entries.some(({ source }) => source === "sealed");
  if (!own && !isSealed) return inClear(log);
  const { openLog } = await import("../sealed/reading.js");
  const read = await openLog({ session, jobId, own, signal }, inClear(log));
  return opened ? read : inClear(log);
}

/** Mark an answer as the coordinator's, which must not set the marks itself. */
function inClear<T extends object>(answer: T): T & { opened: boolean } {
  const { caution: _, ...rest } = answer as T & { caution?: unknown };
  return { ...(rest as T), opened: false };
}

/** Follow a job, and open sealed events. `onOpen` is called for each connection, with whether it resumes. */
export async function* followOpened(
  session: Session,
  jobId: string,
  options: FollowOptions,
  onOpen?: (resumes: boolean) => void,
): AsyncGenerator<JobEvent, void, undefined> {
  const own = await requestOf(session, jobId);
  let opener: EventOpener | undefined;
  for await (const event of follow(session, jobId, options, onOpen)) {
    if (own || event.kind === "sealed") {
      const { EventOpener } = await import("../sealed/reading.js");
      opener ??= new EventOpener({ session, jobId, own, signal: options.signal });
    }
    const opened = opener ? await opener.open(event) : event;
    if (opened !== undefined) yield opened;
  }
}

/** Throw `VerificationError` unless a receipt is about what this client sealed as its job, if it sealed that. */
export async function requireOwnReceipt(
  session: Session,
  jobId: string,
  receipt: JsonObject,
  results?: Json,
): Promise<void> {
  const own = await requestOf(session, jobId);
  if (!own) return;
  await (await import("../sealed/reading.js")).requireReceipt({ session, jobId, own }, receipt, results);
}
