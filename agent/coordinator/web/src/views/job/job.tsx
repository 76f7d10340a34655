/** One job: as it runs, what it made, and the receipt of that. */
import type { Job as JobState } from "@aitbc/client";
import { useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { Facts } from "../../components/figures/figures.tsx";
import { Progress } from "../../components/figures/progress.tsx";
import { Status } from "../../components/figures/status.tsx";
import { Ago, Clock, now } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Failure, Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { Skeleton } from "../../components/skeleton.tsx";
import { notify } from "../../components/toast.tsx";
import { serviceName, shortId } from "../../format/names.ts";
import { duration } from "../../format/time.ts";
import { useLoad } from "../../load.ts";
import { Result } from "../../results/result.tsx";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { useJob } from "./follow.ts";
import { Live } from "./live.tsx";
import { ReceiptPanel } from "./receipt.tsx";
import { inputsOf } from "./statement.ts";
import type { Told } from "./told.ts";

const BACK = { href: `${BASE}/jobs`, name: "Jobs" };

export default function JobPage() {
  const jobId = useRoute().params.id ?? "";
  const told = useJob(jobId);
  const { job } = told;
  if (!job) {
    return (
      <Page title="Job" back={BACK}>
        {told.error ? <Failure error={told.error} /> : <Skeleton lines={6} />}
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
          {serviceName(job.serviceId)}
          <Copyable text={job.jobId} shown={shortId(job.jobId)} />
        </span>
      }
      actions={<Actions job={job} />}
    >
      {told.error !== undefined && <Failure error={told.error} />}
      {job.status === "completed" ? <Completed job={job} /> : <Unfinished told={told} job={job} />}
    </Page>
  );
}

function Actions({ job }: { job: JobState }) {
  if (job.status !== "submitted" && job.status !== "running") return null;
  const cancel = async () => {
    const sure = await ask({
      title: "Cancel this job?",
      text: "What was computed so far is paid for; the rest of the money comes back.",
      action: "Cancel the job",
      danger: true,
    });
    if (!sure) return;
    await api("client").jobs.cancel(job.jobId);
    notify("The job was cancelled.");
  };
  return (
    <Button kind="danger" icon="stop" onClick={cancel}>
      Cancel the job
    </Button>
  );
}

function Unfinished({ told, job }: { told: Told; job: JobState }) {
  return (
    <>
      {job.status === "running" && (
        <Card>
          <Progress label="Progress" value={job.progress} tone="busy" />
          <Live told={told} job={job} />
        </Card>
      )}
      {job.status === "submitted" && <Waiting job={job} />}
      {job.status === "failed" && (
        <Notice tone="bad" title="The job failed">
          <p>{job.error?.message ?? "No reason was given."}</p>
          <p class="small quiet">
            {job.error?.code}. What was held for it came back.{" "}
            <a href={`${BASE}/new/${job.serviceId}`}>Submit another</a>
          </p>
        </Notice>
      )}
      {job.status === "cancelled" && (
        <Notice tone="still" title="The job was cancelled">
          <p>What was not needed of the money that was held for it came back.</p>
        </Notice>
      )}
      <Details job={job} />
    </>
  );
}

function Waiting({ job }: { job: JobState }) {
  const left = job.estimatedCompletion ? (Date.parse(job.estimatedCompletion) - now.value) / 1000 : 0;
  if (job.missingFiles?.length) {
    return (
      <Notice tone="wait" title="Waiting for files">
        <p>Still to be uploaded: {job.missingFiles.join(", ")}. The job begins once they are here.</p>
      </Notice>
    );
  }
  return (
    <Notice tone="wait" title="Waiting for a miner">
      <p>
        {left > 0
          ? `Expected to be done in about ${duration(Math.ceil(left))}.`
          : "It begins as soon as a miner that can run it is free."}
        {job.attempts > 0 && " An earlier run did not finish; it is tried again."}
      </p>
    </Notice>
  );
}

function Completed({ job }: { job: JobState }) {
  const results = useLoad((signal) => api("client").jobs.getResults(job.jobId, { signal }), [job.jobId]);
  const receipt = useLoad((signal) => api("client").receipts.get(job.jobId, { signal }), [job.jobId]);
  return (
    <div class="job-columns">
      <div class="stack">
        <Card title="Result">
          <Loaded from={results} skeleton={<Skeleton height="16rem" />}>
            {({ results }) => <Result job={job} results={results} inputs={inputsOf(receipt.data)} />}
          </Loaded>
        </Card>
        <Details job={job} />
      </div>
      <Loaded from={receipt} skeleton={<Skeleton height="20rem" />}>
        {(receipt) => <ReceiptPanel receipt={receipt} />}
      </Loaded>
    </div>
  );
}

function Details({ job }: { job: JobState }) {
  const ended = job.completedAt ?? job.failedAt ?? job.cancelledAt;
  const took = job.startedAt && ended ? (Date.parse(ended) - Date.parse(job.startedAt)) / 1000 : undefined;
  return (
    <Card title="Details">
      <Facts
        items={[
          ["Submitted", <Clock key="created" at={job.createdAt} />],
          ["Started", job.startedAt && <Ago key="started" at={job.startedAt} />],
          ["Took", took === undefined ? undefined : duration(took)],
          ["Runs", job.attempts > 1 ? `${job.attempts}, the earlier ones did not finish` : undefined],
          ["Miner", job.minerId && <Copyable key="miner" text={job.minerId} shown={shortId(job.minerId)} />],
          ["Offer", job.offerId && <Copyable key="offer" text={job.offerId} shown={shortId(job.offerId)} />],
        ]}
      />
    </Card>
  );
}
