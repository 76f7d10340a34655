/** Jobs as pages show them: fetched once, then updated from the event stream. */
import type { Job, JobList, JobState, StreamEvent } from "@aitbc/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { useLive } from "./live.ts";
import { type Loading, useLoad } from "./load.ts";
import { api, type Role } from "./session.ts";

/** Changes within this time cause one reload. */
const GATHER_MS = 600;

export interface JobFilter {
  status?: JobState | undefined;
  type?: string | undefined;
  name?: string | undefined;
  /** `key:value` */
  label?: string | undefined;
  limit: number;
  offset: number;
}

/** One page of the job list. Progress is shown as it arrives; a change of status reloads the list. */
export function useJobList(filter: JobFilter): Loading<JobList> {
  const list = useLoad(
    (signal) => api("client").jobs.list({ ...asked(filter), signal }),
    [filter.status, filter.type, filter.name, filter.label, filter.limit, filter.offset],
  );
  const [changes, setChanges] = useState<Map<string, Partial<Job>>>(new Map());
  const reload = useGathered(list.reload);
  useLive("client", (event) => {
    const change = changeOf(event);
    if (!change) return;
    setChanges((changes) => new Map(changes).set(change.jobId, { ...changes.get(change.jobId), ...change }));
    if (event.type === "job_update") reload();
  });
  useEffect(() => setChanges(new Map()), [list.data]);
  if (!list.data) return list;
  const jobs = list.data.jobs.map((job) => ({ ...job, ...changes.get(job.jobId) }));
  return { ...list, data: { ...list.data, jobs } };
}

function asked({ label, ...filter }: JobFilter) {
  const [key = "", ...value] = label?.split(":") ?? [];
  return label ? { ...filter, labels: { [key]: value.join(":") } } : filter;
}

/** Return the job's changed fields from an event, or undefined if the event is not about a job. */
export function changeOf(event: StreamEvent): (Partial<Job> & { jobId: string }) | undefined {
  if (event.type === "job_progress") return { jobId: event.data.jobId, progress: event.data.progress };
  if (event.type !== "job_update") return undefined;
  const { timestamp: _, ...change } = event.data;
  return change;
}

/** Call `reload` soon after an event that is `relevant`, or after events were missed. */
export function useReload(role: Role, reload: () => void, relevant: (event: StreamEvent) => boolean): void {
  const soon = useGathered(reload);
  useLive(role, (event) => {
    if (event.type === "resync" || relevant(event)) soon();
  });
}

export const isJobUpdate = ({ type }: StreamEvent) => type === "job_update";
export const isTrade = ({ type }: StreamEvent) => type === "marketplace_update";
export const isTransaction = (event: StreamEvent) =>
  event.type === "marketplace_update" && event.data.kind === "transaction";

/** Return a function that calls `act` once, GATHER_MS after the first of any number of calls. */
export function useGathered(act: () => void): () => void {
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => () => clearTimeout(timer.current), []);
  return () => {
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      latest.current();
    }, GATHER_MS);
  };
}
