/** Reads jobs: their state, results and events, opened if the job is sealed. */

import { type FollowOptions, follow } from "../http/events.js";
import type { Session } from "../http/transport.js";
import type { JobEvent, JobResults } from "../models.js";
import type { EventOpener } from "../sealed/reading.js";
import type { JsonObject } from "../verification/shape.js";
import { wasSealed } from "./new_job.js";

/** Return results, opened if they are sealed. */
export async function openedResults(
  session: Session,
  answer: JobResults,
  signal: AbortSignal | undefined,
): Promise<JobResults> {
  const sealed = (answer.results as JsonObject | null)?.sealed as JsonObject | undefined;
  if (typeof sealed?.capsule !== "string" && !wasSealed(session, answer.jobId)) return answer;
  return (await import("../sealed/reading.js")).openResults(session, answer, signal);
}

/** Follow a job, and open sealed events. `onOpen` is called for each connection, with whether it resumes. */
export async function* followOpened(
  session: Session,
  jobId: string,
  options: FollowOptions,
  onOpen?: (resumes: boolean) => void,
): AsyncGenerator<JobEvent, void, undefined> {
  let opener: EventOpener | undefined;
  for await (const event of follow(session, jobId, options, onOpen)) {
    if (event.kind === "resync") await opener?.restart();
    if (event.kind !== "sealed") {
      yield event;
      continue;
    }
    opener ??= new (await import("../sealed/reading.js")).EventOpener(session, jobId, options.signal);
    const opened = await opener.open(event);
    if (opened !== undefined) yield opened;
  }
}
