/** What lists and pages say of a job. */
import type { Job, JobState } from "@aitbc/client";
import { serviceName } from "./names.ts";
import { plural } from "./size.ts";

export const STATES: JobState[] = ["submitted", "running", "completed", "failed", "cancelled"];

/** The states as a list's filter offers them. */
export const STATE_OPTIONS = [
  { value: "", label: "All" },
  { value: "submitted", label: "Waiting" },
  { value: "running", label: "Running" },
  { value: "completed", label: "Completed" },
  { value: "failed", label: "Failed" },
  { value: "cancelled", label: "Cancelled" },
];

/** Return the name of a state, in the middle of a sentence, or undefined for all. */
export function stateName(state: string | undefined): string | undefined {
  return state && STATE_OPTIONS.find(({ value }) => value === state)?.label.toLowerCase();
}

/** Say how many jobs a list has, and by what it is filtered: "3 jobs (failed, Transcription)". */
export function filteredBy(total: number, filters: (string | undefined)[]): string {
  const criteria = filters.filter(Boolean);
  return plural(total, "job") + (criteria.length > 0 ? ` (${criteria.join(", ")})` : "");
}

/** Return a job's name, or that of its service if it has none of its own. */
export function jobTitle({ name, serviceId }: Job): string {
  return name === serviceId ? serviceName(serviceId) : name;
}

/** Return how long the last run of a job that has ended took, in seconds, or undefined if there is none. */
export function secondsOf({ startedAt, completedAt, failedAt, cancelledAt }: Job): number | undefined {
  const end = completedAt ?? failedAt ?? cancelledAt;
  return startedAt && end ? (Date.parse(end) - Date.parse(startedAt)) / 1000 : undefined;
}

/** From here on, a job's own progress says more than the durations of other jobs. */
const TELLING_PERCENT = 5;

/** Return the seconds until a running job has probably ended, or undefined if nothing is known. `now` is in milliseconds. */
export function secondsLeft(
  { startedAt, progress, estimatedCompletion }: Job,
  now: number,
): number | undefined {
  if (startedAt && progress >= TELLING_PERCENT) {
    return ((now - Date.parse(startedAt)) / 1000 / progress) * (100 - progress);
  }
  return estimatedCompletion ? (Date.parse(estimatedCompletion) - now) / 1000 : undefined;
}

/** Say what to do about a failed job. A machine's failure is tried again elsewhere until the attempts are used up; a failure of the request itself ends the job at once. */
export function remedy({ attempts, maxAttempts }: Job): string {
  if (attempts > 1 && attempts >= maxAttempts) {
    return `All ${attempts} attempts failed. Run it again later, or with another model or miner.`;
  }
  return "Another attempt would fail in the same way. Correct the request with \u201cRun again\u201d.";
}
