/** The job's log: what its program printed, and what its engine warned of. */
import type { Job, JobLog, JobLogEntry } from "@aitbc/client";
import { CopyButton } from "../../components/controls/copyable.tsx";
import { usePolled } from "../../poll.ts";
import { api } from "../../session.ts";

const RUNNING_SECONDS = 3;
/** A job that has ended writes no more. */
const NEVER_SECONDS = 24 * 3600;

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** Follow a job's log while it runs. */
export function useJobLog(job: Job): Pick<JobLog, "entries" | "truncated"> {
  const log = usePolled(
    (signal) => api("client").jobs.log(job.jobId, { signal }),
    job.status === "running" ? RUNNING_SECONDS : NEVER_SECONDS,
    [job.jobId, job.status],
  );
  return log.data ?? NOTHING;
}

const NOTHING = { entries: [], truncated: false };

export function JobLogLines({ log: { entries, truncated } }: { log: Pick<JobLog, "entries" | "truncated"> }) {
  return (
    <>
      <div class="row" data-between="true">
        <p class="small quiet">
          What the program printed; only your account sees it.
          {truncated && " It was too long, so only a part of it was stored."}
        </p>
        <CopyButton text={entries.map(({ text }) => text).join("\n")} noun="log" />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must be able to reach it */}
      <ol class="log" tabIndex={0} aria-label="Log">
        {entries.map((entry, index) => (
          <Line key={index} entry={entry} before={entries[index - 1]} />
        ))}
      </ol>
    </>
  );
}

function Line({ entry, before }: { entry: JobLogEntry; before: JobLogEntry | undefined }) {
  return (
    <li>
      {entry.attempt > 1 && entry.attempt !== before?.attempt && <p class="quiet">Attempt {entry.attempt}</p>}
      <time class="quiet" dateTime={entry.time} title={entry.source}>
        {clock.format(new Date(entry.time))}
      </time>
      <span class="log-text">{entry.text}</span>
    </li>
  );
}
