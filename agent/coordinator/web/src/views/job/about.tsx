/** The tabs of a job's page; only those that have something. */
import type { Job, JsonObject, Receipt } from "@aitbc/client";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Labels } from "../../components/controls/labels.tsx";
import { Facts } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { type Tab, Tabs } from "../../components/tabs.tsx";
import { Audit } from "../../features/audits/job.tsx";
import { Sealing } from "../../features/sealing/job.tsx";
import { secondsOf } from "../../format/jobs.ts";
import { duration } from "../../format/time.ts";
import type { Loading } from "../../load.ts";
import { Files, filesIn } from "../../results/files.tsx";
import { Json } from "../../results/json.tsx";
import { hasView } from "../../results/result.tsx";
import type { Described } from "./described.ts";
import { Given, isGiven } from "./given.tsx";
import { JobLogLines, useJobLog } from "./log.tsx";
import { ReceiptPanel } from "./receipt.tsx";

export interface AboutProps {
  job: Job;
  details: Described | undefined;
  results?: JsonObject | undefined;
  receipt?: Loading<Receipt>;
}

export function About({ job, details, results, receipt }: AboutProps) {
  const log = useJobLog(job);
  if (!details) return null;
  const sealed = details.isSealed;
  const tabs: (Tab | false)[] = [
    !sealed &&
      isGiven(details) && {
        id: "request",
        name: "Request",
        content: () => <Given details={details} />,
      },
    details.sealed !== undefined && {
      id: "sealing",
      name: "Sealing",
      content: () => details.sealed && <Sealing sealed={details.sealed} />,
    },
    results !== undefined &&
      (hasView(job.serviceId) || filesIn(results).length > 0) && {
        id: "files",
        name: filesIn(results).length > 0 ? "Files" : "JSON",
        content: () => (
          <>
            <Files results={results} />
            {hasView(job.serviceId) && <Json value={results} name={`result-${job.jobId}.json`} />}
          </>
        ),
      },
    log.entries.length > 0 && { id: "log", name: "Log", content: () => <JobLogLines log={log} /> },
    receipt !== undefined && {
      id: "receipt",
      name: "Receipt",
      content: () => (
        <div class="slip">
          <Loaded from={receipt} lines={1} height="20rem">
            {(receipt) => <ReceiptPanel receipt={receipt} sealed={sealed} />}
          </Loaded>
        </div>
      ),
    },
    details.audit !== undefined && {
      id: "audit",
      name: "Audit",
      content: () => <Audit jobId={job.jobId} />,
    },
    { id: "details", name: "Details", content: () => <Details job={job} audited={Boolean(details.audit)} /> },
  ];
  return <Tabs label="About this job" tabs={tabs.filter((tab): tab is Tab => tab !== false)} />;
}

function Details({ job, audited }: { job: Job; audited: boolean }) {
  const took = secondsOf(job);
  return (
    <Facts
      items={[
        ["Id", <Copyable key="id" text={job.jobId} noun="job id" />],
        ["Labels", job.labels && <Labels key="labels" labels={job.labels} />],
        ["Submitted", <Ago key="created" at={job.createdAt} />],
        ["Started", job.startedAt && <Ago key="started" at={job.startedAt} />],
        ["Completed", job.completedAt && <Ago key="completed" at={job.completedAt} />],
        ["Failed", job.failedAt && <Ago key="failed" at={job.failedAt} />],
        ["Cancelled", job.cancelledAt && <Ago key="cancelled" at={job.cancelledAt} />],
        ["Duration", took === undefined ? undefined : duration(took)],
        ["Cost", job.cost && <Money key="cost" amount={job.cost} />],
        [
          "Attempts",
          job.attempts > 1
            ? `${job.attempts} of at most ${job.maxAttempts}; the earlier ones did not finish`
            : undefined,
        ],
        ["Error", job.error?.code],
        ["Miner", job.minerId && <Copyable key="miner" text={job.minerId} noun="miner id" />],
        ["Offer", job.offerId && <Copyable key="offer" text={job.offerId} noun="offer id" />],
        ["Audit", job.completedAt && !audited && "No other miner has checked this result."],
      ]}
    />
  );
}
