/** Jobs as a table: the list of jobs, and the newest ones on the overview. */
import type { Job } from "@aitbc/client";
import { Labels } from "../components/controls/labels.tsx";
import { Progress } from "../components/figures/progress.tsx";
import { Status } from "../components/figures/status.tsx";
import { type Column, Table } from "../components/figures/table.tsx";
import { Ago, now } from "../components/figures/time.tsx";
import { serviceName } from "../format/names.ts";
import { duration } from "../format/time.ts";
import { BASE } from "../routes.ts";

export function JobTable({ jobs }: { jobs: Job[] }) {
  const labelled = jobs.some((job) => Object.keys(job.labels ?? {}).length > 0);
  const labels: Column<Job> = { title: "Labels", cell: (job) => <Labels labels={job.labels} /> };
  return (
    <Table
      caption="Jobs"
      rows={jobs}
      rowKey={(job) => job.jobId}
      href={(job) => `${BASE}/jobs/${job.jobId}`}
      columns={[
        { title: "Job", cell: (job) => (job.name === job.serviceId ? serviceName(job.serviceId) : job.name) },
        ...(labelled ? [labels] : []),
        { title: "Service", cell: (job) => serviceName(job.serviceId), minor: true },
        { title: "Status", cell: (job) => <Status state={job.status} />, shrink: true },
        { title: "Progress", cell: (job) => <JobProgress job={job} /> },
        { title: "Submitted", cell: (job) => <Ago at={job.createdAt} />, shrink: true, align: "end" },
      ]}
    />
  );
}

function JobProgress({ job }: { job: Job }) {
  if (job.status === "running") return <Progress label={`Progress of ${job.name}`} value={job.progress} />;
  const ended = job.completedAt ?? job.failedAt;
  if (ended && job.startedAt) {
    return <span class="quiet">took {duration((Date.parse(ended) - Date.parse(job.startedAt)) / 1000)}</span>;
  }
  if (job.status === "submitted" && job.missingFiles?.length)
    return <span class="quiet">waiting for files</span>;
  if (job.status === "submitted" && job.estimatedCompletion) {
    const left = (Date.parse(job.estimatedCompletion) - now.value) / 1000;
    return left > 0 ? <span class="quiet">about {duration(Math.ceil(left))} left</span> : null;
  }
  return null;
}
