/** One job: its progress, its results and its receipt. */
import type { Job, JobDetails, JobResults, SealedRequest } from "@aitbc/client";
import { useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Labels } from "../../components/controls/labels.tsx";
import { Facts } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Progress } from "../../components/figures/progress.tsx";
import { Badge, Status } from "../../components/figures/status.tsx";
import { Ago, Clock } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Failure, Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { Skeleton } from "../../components/skeleton.tsx";
import { inFormWords } from "../../errors.ts";
import { Audit } from "../../features/audits/job.tsx";
import { Sealing } from "../../features/sealing/job.tsx";
import { Waiting } from "../../features/waits/job.tsx";
import { serviceName } from "../../format/names.ts";
import { duration } from "../../format/time.ts";
import { useLoad } from "../../load.ts";
import { openSealed } from "../../results/files.tsx";
import { Result } from "../../results/result.tsx";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { Actions } from "./actions.tsx";
import { useJob } from "./follow.ts";
import { Given } from "./given.tsx";
import { Live } from "./live.tsx";
import { JobLogCard } from "./log.tsx";
import type { JobProgress } from "./progress.ts";
import { ReceiptPanel } from "./receipt.tsx";
import { inputsOf } from "./statement.ts";

const BACK = { href: `${BASE}/jobs`, name: "Jobs" };

export default function JobPage() {
  const jobId = useRoute().params.id ?? "";
  const progress = useJob(jobId);
  const { job } = progress;
  const details = useLoad<Described>(
    async (signal) => {
      const own = await api("client").jobs.sealedRequest(jobId);
      return { ...(await api("client").jobs.get(jobId, { signal })), own };
    },
    // An upload adds an input, and the run's end a miner.
    [jobId, job?.missingFiles?.length, job?.status],
  ).data;
  const sealed = details && isSealed(details);
  if (!job) {
    return (
      <Page title="Job" back={BACK}>
        {progress.error ? <Failure error={progress.error} /> : <Skeleton lines={6} />}
      </Page>
    );
  }
  return (
    <Page
      title={job.name === job.serviceId ? serviceName(job.serviceId) : job.name}
      back={BACK}
      lead={
        <span class="row">
          <span role="status">
            <Status state={job.status} />
          </span>
          {sealed && <Badge tone="good" icon="lock" word="Sealed" />}
          {serviceName(job.serviceId)}
          <Copyable text={job.jobId} />
        </span>
      }
      actions={details && <Actions job={job} sealed={sealed ?? false} />}
    >
      {progress.error !== undefined && <Failure error={progress.error} />}
      {job.status === "completed" ? (
        <Completed job={job} details={details} />
      ) : (
        <Unfinished progress={progress} job={job} details={details} />
      )}
    </Page>
  );
}

/** A job as the coordinator describes it, and what this browser sealed as it. */
type Described = JobDetails & { own: SealedRequest | undefined };

/** Return whether a job is sealed. If this browser sealed it, the coordinator has no say in that. */
function isSealed({ own, sealed }: Described): boolean {
  return Boolean(own ?? sealed);
}

interface Known {
  job: Job;
  details: Described | undefined;
}

function Unfinished({ progress, job, details }: Known & { progress: JobProgress }) {
  return (
    <>
      {job.status === "running" && (
        <Card>
          <Progress label="Progress" value={job.progress} tone="busy" />
          <Live progress={progress} job={job} />
        </Card>
      )}
      {job.status === "submitted" && <Waiting job={job} />}
      {job.status === "failed" && <Failed job={job} />}
      {job.status === "cancelled" && (
        <Notice tone="still" title="The job was cancelled">
          <p>The unused part of its maximum cost was refunded.</p>
        </Notice>
      )}
      <About job={job} details={details} />
    </>
  );
}

function Failed({ job: { error, cost } }: { job: Job }) {
  const [first, ...more] = inFormWords(error?.message ?? "No reason was given.").split("\n");
  return (
    <Notice tone="bad" title="The job failed">
      <p>{first}</p>
      {more.length > 0 && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it may be wider than the page, so the keyboard must be able to scroll it
        <pre class="json" tabIndex={0}>
          {more.join("\n")}
        </pre>
      )}
      <p class="small">
        {error?.code}.{" "}
        {Number(cost ?? 0) > 0
          ? "The unused part of its maximum cost was refunded."
          : "Its maximum cost was refunded."}
      </p>
    </Notice>
  );
}

function Completed({ job, details }: Known) {
  const sealed = details && isSealed(details);
  const results = useLoad<JobResults | undefined>(
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
    <div class="job-columns">
      <div class="stack">
        <Card title="Result">
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
        <Audit jobId={job.jobId} />
        <About job={job} details={details} />
      </div>
      <Loaded from={receipt} lines={1} height="20rem">
        {(receipt) => <ReceiptPanel receipt={receipt} sealed={sealed ?? false} />}
      </Loaded>
    </div>
  );
}

function About({ job, details }: Known) {
  return (
    <>
      {details?.sealed && <Sealing sealed={details.sealed} />}
      {details && !isSealed(details) && <Given details={details} />}
      <JobLogCard job={job} />
      <Details job={job} />
    </>
  );
}

function Details({ job }: { job: Job }) {
  const ended = job.completedAt ?? job.failedAt ?? job.cancelledAt;
  const took = job.startedAt && ended ? (Date.parse(ended) - Date.parse(job.startedAt)) / 1000 : undefined;
  return (
    <Card title="Details">
      <Facts
        items={[
          ["Labels", job.labels && <Labels key="labels" labels={job.labels} />],
          ["Submitted", <Clock key="created" at={job.createdAt} />],
          ["Started", job.startedAt && <Ago key="started" at={job.startedAt} />],
          ["Duration", took === undefined ? undefined : duration(took)],
          ["Cost", job.cost && <Money key="cost" amount={job.cost} />],
          ["Runs", job.attempts > 1 ? `${job.attempts}; the earlier ones did not finish` : undefined],
          ["Miner", job.minerId && <Copyable key="miner" text={job.minerId} />],
          ["Offer", job.offerId && <Copyable key="offer" text={job.offerId} />],
        ]}
      />
    </Card>
  );
}
