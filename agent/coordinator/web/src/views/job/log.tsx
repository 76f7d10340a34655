/** The job's log: what its program printed, and what its engine warned of. */
import type { Job, JobLogEntry } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { CopyButton } from "../../components/controls/copyable.tsx";
import { usePolled } from "../../poll.ts";
import { api } from "../../session.ts";

const RUNNING_SECONDS = 3;
/** A job that has ended writes no more. */
const NEVER_SECONDS = 24 * 3600;

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export function JobLogCard({ job }: { job: Job }) {
  const log = usePolled(
    (signal) => api("client").jobs.log(job.jobId, { signal }),
    () => (job.status === "running" ? RUNNING_SECONDS : NEVER_SECONDS),
    [job.jobId, job.status],
  );
  const entries = log.data?.entries ?? [];
  if (entries.length === 0) return null;
  return (
    <Card
      title="Log"
      note="visible to your account only"
      action={<CopyButton text={entries.map(({ text }) => text).join("\n")} noun="log" />}
    >
      {log.data?.truncated && <p class="small quiet">The log is too long; only a part of it was stored.</p>}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must be able to reach it */}
      <ol class="log" tabIndex={0} aria-label="Log">
        {entries.map((entry, index) => (
          <Line key={index} entry={entry} before={entries[index - 1]} />
        ))}
      </ol>
    </Card>
  );
}

function Line({ entry, before }: { entry: JobLogEntry; before: JobLogEntry | undefined }) {
  return (
    <li>
      {entry.attempt > 1 && entry.attempt !== before?.attempt && <p class="quiet">Run {entry.attempt}</p>}
      <time class="quiet" dateTime={entry.time} title={entry.source}>
        {clock.format(new Date(entry.time))}
      </time>
      <span class="log-text">{entry.text}</span>
    </li>
  );
}
