/** The jobs of all accounts. */
import type { JobState } from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import { useRoute } from "preact-iso";
import { SelectField } from "../../components/controls/field.tsx";
import { Pager } from "../../components/controls/pager.tsx";
import { Segments } from "../../components/controls/segments.tsx";
import { Empty } from "../../components/empty.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { filteredBy, STATE_OPTIONS, STATES, stateName } from "../../format/jobs.ts";
import { isJobUpdate, useReload } from "../../jobs.ts";
import { useLoad } from "../../load.ts";
import { api } from "../../session.ts";
import { JobTable } from "../job_table.tsx";

const PAGE = 25;
const MOST = 500;

export default function AllJobs() {
  const { query } = useRoute();
  const [status, setStatus] = useState(known(query.status));
  const [account, setAccount] = useState(query.account ?? "");
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
      title="Jobs"
      lead={
        list.data
          ? `${filteredBy(list.data.total, [stateName(status), accounts.find(({ accountId }) => accountId === account)?.name])}, newest first.`
          : "Newest first."
      }
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
