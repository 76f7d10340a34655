/** What happens to a job that runs, and what has become of one that has no result. */
import type { Job } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Coded } from "../../components/coded.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Progress } from "../../components/figures/progress.tsx";
import { now } from "../../components/figures/time.tsx";
import { Notice } from "../../components/notice.tsx";
import { inFormWords } from "../../errors.ts";
import { remedy, secondsLeft } from "../../format/jobs.ts";
import { duration } from "../../format/time.ts";
import { useStore } from "../../store.ts";
import { Live } from "./live.tsx";
import type { JobProgress } from "./progress.ts";

export function Running({ job, progress }: { job: Job; progress: JobProgress }) {
  return (
    <Card>
      <Progress label="Progress" value={job.progress} tone="busy" />
      <p class="small quiet">
        {job.attempts > 1 && `Attempt ${job.attempts} of ${job.maxAttempts}. `}
        <TimeLeft job={job} />
        You can close this page; the job goes on.
      </p>
      <Live progress={progress} job={job} />
    </Card>
  );
}

function TimeLeft({ job }: { job: Job }) {
  const left = useStore(now, (now) => Math.ceil(secondsLeft(job, now) ?? -1));
  return <>{left > 0 && `About ${duration(left)} left. `}</>;
}

export function Failed({ job, sealed }: { job: Job; sealed: boolean }) {
  const [first = "", ...more] = inFormWords(job.error?.message ?? "No reason was given.")
    .split("\n")
    .filter((line) => line.trim() !== "");
  return (
    <Notice tone="bad" title="The job failed">
      <p>
        <Coded text={first} />
      </p>
      {more.length > 0 && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it may be wider than the page, so the keyboard must be able to scroll it
        <pre class="json" tabIndex={0}>
          {more.join("\n")}
        </pre>
      )}
      <p>{sealed ? "" : remedy(job)}</p>
      <p>
        <Paid cost={job.cost} />
      </p>
    </Notice>
  );
}

export function Cancelled({ job: { cost } }: { job: Job }) {
  return (
    <Notice tone="still" title="The job was cancelled">
      <p>
        <Paid cost={cost} />
      </p>
    </Notice>
  );
}

/** What a job without a result has cost. */
function Paid({ cost = "0" }: { cost: string | undefined }) {
  if (Number(cost) === 0) return <>It cost nothing: all that was held for it is back in your wallet.</>;
  return (
    <>
      You paid <Money amount={cost} /> for the work until then; the rest that was held is back in your wallet.
    </>
  );
}
