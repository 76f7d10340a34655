/** A client's home: the first steps, and later what happened: balance and costs, what runs, the latest results. */
import type { Job, JobList } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Figures } from "../components/figures/figures.tsx";
import { Money } from "../components/figures/money.tsx";
import { Loaded } from "../components/loaded.tsx";
import { Page } from "../components/page.tsx";
import { Examples } from "../features/examples/client.tsx";
import type { Supplied } from "../features/examples/examples.ts";
import { FirstSteps } from "../features/examples/first.tsx";
import { endFirst, isFirst } from "../first_steps.ts";
import { isTransaction, useJobList, useReload } from "../jobs.ts";
import { useLoad } from "../load.ts";
import { usePolled } from "../poll.ts";
import { BASE } from "../routes.ts";
import { api, useRoles } from "../session.ts";
import { JobTable } from "./job_table.tsx";
import { Slowed } from "./slowed.tsx";
import { useSpent } from "./spent.tsx";

/** Jobs of each list. */
const SHOWN = 6;
/** What machines offer changes while one installs an engine. */
const SUPPLY_SECONDS = 15;

export default function Home() {
  const running = useJobList({ status: "running", limit: SHOWN, offset: 0 });
  const waiting = useJobList({ status: "submitted", limit: SHOWN, offset: 0 });
  const completed = useJobList({ status: "completed", limit: SHOWN, offset: 0 });
  const failed = useJobList({ status: "failed", limit: SHOWN, offset: 0 });
  const supplied = useSupplied();
  const [, setSkipped] = useState(false);
  const lists = [running, waiting, completed, failed];
  const jobs = lists.every(({ data }) => data)
    ? { running: running.data, waiting: waiting.data, completed: completed.data, failed: failed.data }
    : undefined;
  const error = lists.map(({ error }) => error).find((error) => error !== undefined);
  const first = jobs && isFirst(jobs.completed?.total ?? 0);
  const reload = () => {
    for (const list of lists) list.reload();
  };
  const skip = () => {
    endFirst();
    setSkipped(true);
  };
  return (
    <Page title="Home" lead={first ? "Three steps to your first verified result." : undefined}>
      <Loaded from={{ data: jobs, error, loading: false, reload }} lines={6} height="3rem">
        {({ running, waiting, completed, failed }) =>
          first ? (
            <Loaded from={supplied} lines={4} height="4rem">
              {(supplied) => (
                <FirstSteps
                  supplied={supplied}
                  newest={newest([running, waiting, failed])[0]}
                  completed={completed?.jobs[0]}
                  onSkip={skip}
                />
              )}
            </Loaded>
          ) : (
            <>
              <Numbers running={running?.total ?? 0} waiting={waiting?.total ?? 0} />
              <Jobs title="In progress" jobs={newest([running, waiting])} />
              <Jobs title="Latest results" jobs={newest([completed, failed])} all>
                No job has ended yet.
              </Jobs>
              <details class="fold">
                <summary>Examples to try</summary>
                <Loaded from={supplied} lines={4} height="3rem">
                  {(supplied) => <Examples supplied={supplied} />}
                </Loaded>
              </details>
            </>
          )
        }
      </Loaded>
    </Page>
  );
}

/** What the network offers, and the machine of this session's owner. */
function useSupplied() {
  const owner = useRoles().includes("miner");
  return usePolled<Supplied>(async (signal) => {
    const [{ services }, machines] = await Promise.all([
      api("client").marketplace.services({ signal }),
      owner ? api("miner").miners.list({ limit: 1, signal }) : undefined,
    ]);
    return { services, machine: machines?.miners[0] };
  }, SUPPLY_SECONDS);
}

/** Return the newest jobs of several lists. */
function newest(lists: (JobList | undefined)[]): Job[] {
  const jobs = lists.flatMap((list) => list?.jobs ?? []);
  const time = ({ completedAt, failedAt, createdAt }: Job) =>
    Date.parse(completedAt ?? failedAt ?? createdAt);
  return jobs.sort((one, other) => time(other) - time(one)).slice(0, SHOWN);
}

function Numbers({ running, waiting }: { running: number; waiting: number }) {
  const wallet = useLoad((signal) => api("client").wallet.get({ signal }));
  const spent = useSpent();
  useReload("client", wallet.reload, isTransaction);
  const held = wallet.data && Number(wallet.data.held) > 0 ? wallet.data.held : undefined;
  return (
    <>
      <Slowed until={wallet.data?.slowedUntil} />
      <Figures
        items={[
          {
            name: "Balance",
            value: wallet.data ? <Money amount={wallet.data.balance} /> : "\u2013",
            note: held && (
              <>
                and <Money amount={held} /> held for jobs
              </>
            ),
            href: `${BASE}/wallet`,
          },
          spent,
          { name: "Running", value: running, href: `${BASE}/jobs?status=running` },
          { name: "Waiting", value: waiting, href: `${BASE}/jobs?status=submitted` },
        ]}
      />
    </>
  );
}

interface JobsProps {
  title: string;
  jobs: Job[];
  /** Link to all jobs. */
  all?: boolean;
  /** Shown if there are none; without it, nothing is. */
  children?: string;
}

function Jobs({ title, jobs, all = false, children }: JobsProps) {
  if (jobs.length === 0 && !children) return null;
  return (
    <section class="stack" aria-label={title}>
      <div class="row" data-between="true">
        <h2>{title}</h2>
        {all && <a href={`${BASE}/jobs`}>All jobs</a>}
      </div>
      {jobs.length > 0 ? <JobTable jobs={jobs} /> : <p class="quiet">{children}</p>}
    </section>
  );
}
