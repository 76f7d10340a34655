/** The list of jobs, with filters, live updates and pages. */
import type { Job, JobState } from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import { useRoute } from "preact-iso";
import { Button } from "../components/controls/button.tsx";
import { SelectField } from "../components/controls/field.tsx";
import { Pager } from "../components/controls/pager.tsx";
import { Segments } from "../components/controls/segments.tsx";
import { Empty } from "../components/empty.tsx";
import { Progress } from "../components/figures/progress.tsx";
import { Status } from "../components/figures/status.tsx";
import { Table } from "../components/figures/table.tsx";
import { Ago, now } from "../components/figures/time.tsx";
import { Loaded } from "../components/loaded.tsx";
import { Page } from "../components/page.tsx";
import { Skeleton } from "../components/skeleton.tsx";
import { serviceName } from "../format/names.ts";
import { plural } from "../format/size.ts";
import { duration } from "../format/time.ts";
import { STATES, useJobList } from "../jobs.ts";
import { useLoad } from "../load.ts";
import { BASE } from "../routes.ts";
import { publicApi } from "../session.ts";

const PAGE = 25;

const STATE_OPTIONS = [
  { value: "", label: "All" },
  { value: "submitted", label: "Waiting" },
  { value: "running", label: "Running" },
  { value: "completed", label: "Completed" },
  { value: "failed", label: "Failed" },
  { value: "cancelled", label: "Cancelled" },
];

export default function Jobs() {
  const { query } = useRoute();
  const [status, setStatus] = useState(known(query.status));
  const [type, setType] = useState("");
  const [offset, setOffset] = useState(0);
  const services = useLoad((signal) => publicApi().registry.services({ signal }));
  useEffect(() => setStatus(known(query.status)), [query.status]);
  useEffect(() => setOffset(0), [status, type]);
  const list = useJobList({
    status: (status || undefined) as JobState | undefined,
    type: type || undefined,
    limit: PAGE,
    offset,
  });
  const options = [
    { value: "", label: "All services" },
    ...(services.data?.services ?? []).map(({ serviceId }) => ({
      value: serviceId,
      label: serviceName(serviceId),
    })),
  ];
  return (
    <Page
      title="Jobs"
      lead={list.data ? `${plural(list.data.total, "job")}, newest first.` : "Newest first."}
      actions={
        <Button href={`${BASE}/new`} kind="main" icon="add">
          New job
        </Button>
      }
    >
      <div class="filters">
        <Segments label="Status" value={status} onInput={setStatus} options={STATE_OPTIONS} />
        <SelectField label="Service" quiet value={type} onInput={setType} options={options} />
      </div>
      <Loaded from={list} skeleton={<Skeleton lines={8} height="2.75rem" />}>
        {({ jobs, total }) =>
          jobs.length > 0 ? (
            <>
              <JobTable jobs={jobs} />
              <Pager size={PAGE} offset={offset} total={total} onTurn={setOffset} />
            </>
          ) : (
            <NoJobs filtered={Boolean(status || type)} />
          )
        }
      </Loaded>
    </Page>
  );
}

function known(status: string | undefined): string {
  return STATES.includes(status as JobState) ? (status as string) : "";
}

export function JobTable({ jobs }: { jobs: Job[] }) {
  return (
    <Table
      caption="Jobs"
      rows={jobs}
      rowKey={(job) => job.jobId}
      href={(job) => `${BASE}/jobs/${job.jobId}`}
      columns={[
        { title: "Job", cell: (job) => (job.name === job.serviceId ? serviceName(job.serviceId) : job.name) },
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

function NoJobs({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return (
      <Empty icon="jobs" title="No matching jobs">
        No job matches the filters. Change them to see other jobs.
      </Empty>
    );
  }
  return (
    <Empty
      icon="jobs"
      title="No jobs yet"
      action={
        <Button href={`${BASE}/new`} kind="main" icon="add">
          New job
        </Button>
      }
    >
      Transcribe a recording, generate an image, convert a video, render a scene, or run your own model.
    </Empty>
  );
}
