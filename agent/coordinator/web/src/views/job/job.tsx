/** One job: its facts in one line, what it does or its result, and the rest in tabs. */
import type { Job, JobResults } from "@aitbc/client";
import { useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Failure, Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { Skeleton } from "../../components/skeleton.tsx";
import { Waiting } from "../../features/waits/job.tsx";
import { jobTitle } from "../../format/jobs.ts";
import { type Loading, useLoad } from "../../load.ts";
import { DownloadAll, openSealed } from "../../results/files.tsx";
import { Result } from "../../results/result.tsx";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { About } from "./about.tsx";
import { Actions } from "./actions.tsx";
import { type Described, useDescribed } from "./described.ts";
import { FactLine } from "./facts.tsx";
import { useJob } from "./follow.ts";
import type { JobProgress } from "./progress.ts";
import { Cancelled, Failed, Running } from "./state.tsx";
import { inputsOf } from "./statement.ts";

const BACK = { href: `${BASE}/jobs`, name: "Jobs" };

export default function JobPage() {
  const jobId = useRoute().params.id ?? "";
  const progress = useJob(jobId);
  const { job } = progress;
  // An upload adds an input, and the run's end a miner.
  const details = useDescribed(jobId, [job?.missingFiles?.length, job?.status]).data;
  if (!job) {
    return (
      <Page title="Job" back={BACK}>
        {progress.error ? <Failure error={progress.error} /> : <Skeleton lines={6} />}
      </Page>
    );
  }
  // Until it is known, nothing of the job is shown as if it were in clear.
  const sealed = details?.isSealed ?? true;
  return (
    <Page
      title={jobTitle(job)}
      back={BACK}
      lead={<FactLine job={job} sealed={details?.isSealed ?? false} />}
      actions={details && <Actions job={job} sealed={sealed} />}
    >
      {progress.error !== undefined && <Failure error={progress.error} />}
      {job.status === "completed" ? (
        <Completed job={job} details={details} />
      ) : (
        <>
          <State job={job} progress={progress} sealed={sealed} />
          <About job={job} details={details} />
        </>
      )}
    </Page>
  );
}

function State({ job, progress, sealed }: { job: Job; progress: JobProgress; sealed: boolean }) {
  if (job.status === "running") return <Running job={job} progress={progress} />;
  if (job.status === "failed") return <Failed job={job} sealed={sealed} />;
  if (job.status === "cancelled") return <Cancelled job={job} />;
  return <Waiting job={job} />;
}

function Completed({ job, details }: { job: Job; details: Described | undefined }) {
  const sealed = details?.isSealed;
  const results: Loading<JobResults | undefined> = useLoad(
    async (signal) => {
      // Until it is known whether the job is sealed, its files cannot be shown.
      if (sealed === undefined) return undefined;
      const answer = await api("client").jobs.getResults(job.jobId, { signal });
      if (sealed) openSealed(job.jobId, answer.results);
      return answer;
    },
    [job.jobId, sealed],
  );
  const receipt = useLoad((signal) => api("client").receipts.get(job.jobId, { signal }), [job.jobId]);
  return (
    <>
      <Card title="Result" action={results.data && <DownloadAll results={results.data.results} />}>
        <Loaded from={results} lines={1} height="16rem">
          {(answer) =>
            answer && (
              <>
                {answer.caution && (
                  <Notice tone="wait" title="Not known to be the miner's answer">
                    <p>{answer.caution}</p>
                  </Notice>
                )}
                <Result job={job} results={answer.results} inputs={inputsOf(receipt.data)} />
              </>
            )
          }
        </Loaded>
      </Card>
      <About job={job} details={details} results={results.data?.results} receipt={receipt} />
    </>
  );
}
