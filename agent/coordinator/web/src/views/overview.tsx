/** The first page of a client: job counts, balance, the newest jobs and the services. */
import type { Job, Service } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Card } from "../components/card.tsx";
import { Button } from "../components/controls/button.tsx";
import { Segments } from "../components/controls/segments.tsx";
import { Chart } from "../components/figures/chart.tsx";
import { type Figure, Figures } from "../components/figures/figures.tsx";
import { Money } from "../components/figures/money.tsx";
import { now } from "../components/figures/time.tsx";
import { Loaded } from "../components/loaded.tsx";
import { Page } from "../components/page.tsx";
import { count, plural } from "../format/size.ts";
import { isTransaction, useCounts, useJobList, useReload } from "../jobs.ts";
import { type Loading, useLoad } from "../load.ts";
import { BASE } from "../routes.ts";
import { api, publicApi } from "../session.ts";
import { useStore } from "../store.ts";
import { bucketed, SPANS, type Span } from "../throughput.ts";
import { JobTable } from "./job_table.tsx";
import { ServiceTiles } from "./new/tiles.tsx";
import { Slowed } from "./slowed.tsx";

const NEWEST = 8;
const MINUTE_MS = 60_000;
/** The maximum number of completed jobs that the chart counts. */
const COUNTED = 500;

export default function Overview() {
  const newest = useJobList({ limit: NEWEST, offset: 0 });
  const services = useLoad((signal) => publicApi().registry.services({ signal }));
  const none = newest.data?.total === 0;
  return (
    <Page
      title="Overview"
      actions={
        <Button href={`${BASE}/new`} kind="main" icon="add">
          New job
        </Button>
      }
    >
      <Numbers />
      {none ? <Welcome services={services} /> : <Busy newest={newest} services={services} />}
    </Page>
  );
}

function Numbers() {
  const counts = useCounts();
  const wallet = useLoad((signal) => api("client").wallet.get({ signal }));
  useReload("client", wallet.reload, isTransaction);
  const { data } = counts;
  const figure = (name: string, status: "submitted" | "running" | "completed" | "failed"): Figure => ({
    name,
    value: data ? count(data[status]) : "\u2013",
    href: `${BASE}/jobs?status=${status}`,
  });
  const items: Figure[] = [
    figure("Waiting", "submitted"),
    figure("Running", "running"),
    figure("Completed", "completed"),
    figure("Failed", "failed"),
    {
      name: "Balance",
      value: wallet.data ? <Money amount={wallet.data.balance} /> : "\u2013",
      href: `${BASE}/wallet`,
    },
    { name: "Held for jobs", value: wallet.data ? <Money amount={wallet.data.held} /> : "\u2013" },
  ];
  return (
    <>
      <Slowed until={wallet.data?.slowedUntil} />
      <Figures items={items} />
    </>
  );
}

function Welcome({ services }: { services: Loading<{ services: Service[] }> }) {
  return (
    <Card title="What would you like to run?" note="A miner runs the job and signs the result.">
      <Loaded from={services} lines={3} height="5rem">
        {({ services }) => <ServiceTiles services={services} />}
      </Loaded>
    </Card>
  );
}

interface BusyProps {
  newest: Loading<{ jobs: Job[] }>;
  services: Loading<{ services: Service[] }>;
}

function Busy({ newest, services }: BusyProps) {
  return (
    <>
      <section class="stack" aria-labelledby="newest">
        <div class="row" data-between="true">
          <h2 id="newest">Newest jobs</h2>
          <a href={`${BASE}/jobs`}>All jobs</a>
        </div>
        <Loaded from={newest} lines={6} height="2.75rem">
          {({ jobs }) => <JobTable jobs={jobs} />}
        </Loaded>
      </section>
      <div class="grid">
        <Throughput />
        <Card title="Services" note={online(services.data?.services)}>
          <Loaded from={services} lines={3} height="3rem">
            {({ services }) => <ServiceTiles services={services} brief />}
          </Loaded>
        </Card>
      </div>
    </>
  );
}

function online(services: Service[] | undefined): string | undefined {
  if (!services) return undefined;
  const most = Math.max(0, ...services.map((service) => service.minersOnline));
  return most === 0 ? "no miner is online" : `${plural(most, "miner")} online`;
}

function Throughput() {
  const [span, setSpan] = useState<Span>("hour");
  const ended = useLoad((signal) => api("client").jobs.list({ status: "completed", limit: COUNTED, signal }));
  useReload(
    "client",
    ended.reload,
    (event) => event.type === "job_update" && event.data.status === "completed",
  );
  const times = (ended.data?.jobs ?? []).flatMap((job) =>
    job.completedAt ? [Date.parse(job.completedAt)] : [],
  );
  const minute = useStore(now, (now) => Math.floor(now / MINUTE_MS) * MINUTE_MS);
  const points = bucketed(times, span, minute);
  const total = points.reduce((sum, point) => sum + point.value, 0);
  return (
    <Card
      title="Completed"
      note={`${plural(total, "job")} in the last ${span}`}
      action={
        <Segments
          label="Time span"
          value={span}
          onInput={(value) => setSpan(value as Span)}
          options={SPAN_OPTIONS}
        />
      }
    >
      <Chart label={`Jobs completed in the last ${span}`} points={points} format={count} />
    </Card>
  );
}

const SPAN_OPTIONS = Object.entries(SPANS).map(([value, { label }]) => ({ value, label }));
