/** The jobs of all accounts. */
import type { Account, Job, JobState } from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import { useRoute } from "preact-iso";
import { SelectField } from "../../components/controls/field.tsx";
import { Pager } from "../../components/controls/pager.tsx";
import { Segments } from "../../components/controls/segments.tsx";
import { Empty } from "../../components/empty.tsx";
import { Status } from "../../components/figures/status.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { serviceName } from "../../format/names.ts";
import { plural } from "../../format/size.ts";
import { isJobUpdate, STATE_OPTIONS, STATES, useReload } from "../../jobs.ts";
import { useLoad } from "../../load.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";

const PAGE = 25;
const MOST = 500;

export default function AllJobs() {
  const { query } = useRoute();
  const [status, setStatus] = useState(known(query.status));
  const [account, setAccount] = useState("");
  const [offset, setOffset] = useState(0);
  useEffect(() => setStatus(known(query.status)), [query.status]);
  useEffect(() => setOffset(0), [status, account]);
  const names = useLoad((signal) => api("admin").admin.accounts({ limit: MOST, signal }));
  const list = useLoad(
    (signal) =>
      api("admin").jobs.list({
        status: (status || undefined) as JobState | undefined,
        accountId: account || undefined,
        limit: PAGE,
        offset,
        signal,
      }),
    [status, account, offset],
  );
  useReload("admin", list.reload, isJobUpdate);
  const accounts = names.data?.accounts ?? [];
  return (
    <Page
      title="Jobs of all accounts"
      lead={list.data ? `${plural(list.data.total, "job")}, newest first.` : "Newest first."}
    >
      <div class="filters">
        <Segments label="Status" value={status} onInput={setStatus} options={STATE_OPTIONS} />
        <SelectField
          label="Account"
          quiet
          value={account}
          onInput={setAccount}
          options={[
            { value: "", label: "All accounts" },
            ...accounts.map(({ accountId, name }) => ({ value: accountId, label: name })),
          ]}
        />
      </div>
      <Loaded from={list} lines={8} height="2.75rem">
        {({ jobs, total }) =>
          jobs.length > 0 ? (
            <>
              <JobTable jobs={jobs} accounts={accounts} />
              <Pager size={PAGE} offset={offset} total={total} onTurn={setOffset} />
            </>
          ) : (
            <Empty icon="jobs" title="No matching jobs">
              No account has such a job.
            </Empty>
          )
        }
      </Loaded>
    </Page>
  );
}

function known(status: string | undefined): string {
  return STATES.includes(status as JobState) ? (status as string) : "";
}

function JobTable({ jobs, accounts }: { jobs: Job[]; accounts: Account[] }) {
  const names = new Map(accounts.map(({ accountId, name }) => [accountId, name]));
  return (
    <Table
      caption="Jobs"
      rows={jobs}
      rowKey={(job) => job.jobId}
      href={(job) => `${BASE}/network/jobs/${job.jobId}`}
      columns={[
        { title: "Job", cell: (job) => (job.name === job.serviceId ? serviceName(job.serviceId) : job.name) },
        { title: "Account", cell: ({ accountId = "" }) => names.get(accountId) ?? accountId },
        { title: "Service", cell: (job) => serviceName(job.serviceId), minor: true },
        { title: "Status", cell: (job) => <Status state={job.status} />, shrink: true },
        { title: "Runs", cell: (job) => job.attempts, align: "end", minor: true },
        { title: "Cost", amount: (job) => job.cost },
        { title: "Submitted", cell: (job) => <Ago at={job.createdAt} />, shrink: true, align: "end" },
      ]}
    />
  );
}
