/** Jobs as a table: the lists of jobs, and the newest ones on the overview. */
import type { Account, Job } from "@aitbc/client";
import { Labels } from "../components/controls/labels.tsx";
import { Badge, Status } from "../components/figures/status.tsx";
import { type Column, Table } from "../components/figures/table.tsx";
import { Ago, now } from "../components/figures/time.tsx";
import { jobTitle, secondsLeft, secondsOf } from "../format/jobs.ts";
import { serviceName } from "../format/names.ts";
import { duration } from "../format/time.ts";
import { BASE } from "../routes.ts";
import { useStore } from "../store.ts";

export interface JobTableProps {
  jobs: Job[];
  /** For operators: the accounts to which the jobs belong. */
  accounts?: Account[];
}

export function JobTable({ jobs, accounts }: JobTableProps) {
  const labelled = jobs.some((job) => Object.keys(job.labels ?? {}).length > 0);
  const names = new Map(accounts?.map(({ accountId, name }) => [accountId, name]));
  const account: Column<Job> = {
    title: "Account",
    cell: ({ accountId = "" }) => names.get(accountId) ?? accountId,
  };
  const labels: Column<Job> = { title: "Labels", cell: (job) => <Labels labels={job.labels} />, minor: true };
  return (
    <Table
      caption="Jobs"
      rows={jobs}
      rowKey={(job) => job.jobId}
      href={(job) => `${BASE}${accounts ? "/network" : ""}/jobs/${job.jobId}`}
      columns={[
        { title: "Job", cell: jobTitle },
        ...(accounts ? [account] : []),
        { title: "Service", cell: (job) => serviceName(job.serviceId) },
        ...(labelled ? [labels] : []),
        { title: "Status", cell: (job) => <State job={job} />, shrink: true },
        { title: "Duration", cell: (job) => <Duration job={job} />, shrink: true, align: "end", minor: true },
        { title: "Cost", amount: (job) => job.cost },
        { title: "Submitted", cell: (job) => <Ago at={job.createdAt} />, shrink: true, align: "end" },
      ]}
    />
  );
}

function State({ job }: { job: Job }) {
  if (job.status !== "running" || job.progress < 1) return <Status state={job.status} />;
  return <Badge tone="busy" icon="play" word={`Running, ${Math.floor(job.progress)} %`} />;
}

/** How long a job took, or will take. */
function Duration({ job }: { job: Job }) {
  const took = secondsOf(job);
  if (took !== undefined) return <span class="quiet">{duration(took)}</span>;
  if (job.status === "running") return <TimeLeft job={job} />;
  return job.missingFiles?.length ? <span class="quiet">waits for files</span> : null;
}

function TimeLeft({ job }: { job: Job }) {
  const left = useStore(now, (now) => Math.ceil(secondsLeft(job, now) ?? -1));
  return left > 0 ? <span class="quiet">about {duration(left)} left</span> : null;
}
