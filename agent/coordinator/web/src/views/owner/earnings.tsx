/** A machine's earnings by day and in total, and its latest payments. */
import type { MinerEarnings, MinerEnergy, MinerStats, Transaction } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Card } from "../../components/card.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Segments } from "../../components/controls/segments.tsx";
import { Empty } from "../../components/empty.tsx";
import { Chart } from "../../components/figures/chart.tsx";
import { Figures } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { Outlook } from "../../features/outlook/owner.tsx";
import { computed, money } from "../../format/money.ts";
import { count, plural } from "../../format/size.ts";
import { duration, shortDay } from "../../format/time.ts";
import { isTrade, useReload } from "../../jobs.ts";
import { useLoad } from "../../load.ts";
import { BASE, EARNINGS } from "../../routes.ts";
import { api } from "../../session.ts";
import { Energy } from "./energy.tsx";
import { ownMiner } from "./watch.ts";

const SPANS = [
  { value: "7", label: "Week" },
  { value: "30", label: "30 days" },
  { value: "90", label: "90 days" },
];
const PAYMENTS = 20;

interface EarningsState {
  earnings: MinerEarnings;
  stats: MinerStats;
  payments: Transaction[];
  energy: MinerEnergy | null | undefined;
}

export default function Earnings() {
  const [days, setDays] = useState("30");
  const all = useLoad((signal) => read(Number(days), signal), [days]);
  useReload("miner", all.reload, isTrade);
  return (
    <Page title="Earnings" tabs={EARNINGS} lead="After the operator's fee. Days are UTC.">
      <Loaded from={all} lines={3} height="8rem">
        {({ earnings, stats, payments, energy }) => (
          <>
            <Numbers stats={stats} />
            <Outlook minerId={stats.minerId} />
            <Card
              title="By day"
              action={<Segments label="Time span" value={days} onInput={setDays} options={SPANS} />}
            >
              <ByDay earnings={earnings} />
            </Card>
            {energy && <Energy energy={energy} />}
            <Card title="Latest payments">
              <Payments payments={payments} />
            </Card>
          </>
        )}
      </Loaded>
    </Page>
  );
}

async function read(days: number, signal: AbortSignal): Promise<EarningsState> {
  const client = api("miner");
  const minerId = await ownMiner(signal);
  const [earnings, stats, page, machine] = await Promise.all([
    client.miners.earnings(minerId, { days, signal }),
    client.miners.stats(minerId, { signal }),
    client.wallet.transactions({ limit: PAYMENTS, signal }),
    client.miners.get(minerId, { signal }),
  ]);
  return { earnings, stats, payments: page.transactions, energy: machine.energy };
}

function Numbers({ stats }: { stats: MinerStats }) {
  return (
    <Figures
      items={[
        {
          name: "Total earned",
          value: <Money amount={stats.totalEarned} />,
          note: <Since at={stats.activeSince} />,
        },
        { name: "Reputation", value: stats.reputation.toFixed(1), note: "of 5" },
        { name: "Jobs", value: count(stats.totalJobs), note: `${percent(stats.successRate)} successful` },
        {
          name: "Job duration",
          value: stats.totalJobs > 0 ? duration(stats.averageCompletionTime) : "\u2013",
          note: "on average",
        },
      ]}
    />
  );
}

function Since({ at }: { at: string }) {
  return (
    <>
      joined <Ago at={at} />
    </>
  );
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(1))} %`;
}

function ByDay({ earnings }: { earnings: MinerEarnings }) {
  const jobs = earnings.days.reduce((sum, day) => sum + day.jobs, 0);
  return (
    <>
      <p>
        <strong>
          <Money amount={earnings.total} />
        </strong>{" "}
        <span class="quiet">
          from {plural(jobs, "job")} in {plural(earnings.days.length, "day")}
        </span>
      </p>
      <Chart
        label="Earnings by day"
        points={earnings.days.map((day) => ({ name: shortDay(day.date), value: Number(day.amount) }))}
        format={(value) => money(computed(value))}
      />
    </>
  );
}

function Payments({ payments }: { payments: Transaction[] }) {
  return (
    <Table
      caption="Latest payments"
      empty={
        <Empty icon="earnings" title="No earnings yet">
          Jobs are paid when they complete. <a href={`${BASE}/machine`}>The machine's page</a> shows why it
          has no work.
        </Empty>
      }
      rows={payments}
      rowKey={(payment) => payment.transactionId}
      columns={[
        { title: "Job", cell: ({ jobId }) => jobId && <Copyable text={jobId} noun="job id" /> },
        { title: "Settled", cell: (payment) => <Ago at={payment.settledAt ?? payment.createdAt} /> },
        { title: "Fee", amount: (payment) => payment.fee ?? "0" },
        { title: "Paid", amount: (payment) => payment.amount },
      ]}
    />
  );
}
