/** The balance, the amount held for jobs, and all transactions. */
import type { Transaction } from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import { Button } from "../components/controls/button.tsx";
import { Empty } from "../components/empty.tsx";
import { Figures } from "../components/figures/figures.tsx";
import { Money } from "../components/figures/money.tsx";
import { Badge } from "../components/figures/status.tsx";
import { Table } from "../components/figures/table.tsx";
import { Ago } from "../components/figures/time.tsx";
import { Loaded } from "../components/loaded.tsx";
import { Page } from "../components/page.tsx";
import { sentence } from "../format/names.ts";
import { isTransaction, useReload } from "../jobs.ts";
import { useLoad } from "../load.ts";
import { BASE } from "../routes.ts";
import { api } from "../session.ts";
import { Slowed } from "./slowed.tsx";

const PAGE = 50;

export default function WalletPage() {
  const wallet = useLoad((signal) => api("client").wallet.get({ signal }));
  const newest = useLoad((signal) => api("client").wallet.transactions({ limit: PAGE, signal }));
  const reload = () => {
    wallet.reload();
    newest.reload();
  };
  useReload("client", reload, isTransaction);
  return (
    <Page
      title="Wallet"
      lead="Submitting a job holds its maximum cost. When the job is done, its actual cost is paid and the rest is refunded."
    >
      <Loaded from={wallet} lines={1} height="5rem">
        {(wallet) => (
          <>
            <Slowed until={wallet.slowedUntil} />
            <Figures
              items={[
                { name: "Available", value: <Money amount={wallet.balance} /> },
                { name: "Held for unfinished jobs", value: <Money amount={wallet.held} /> },
              ]}
            />
          </>
        )}
      </Loaded>
      <section class="stack" aria-labelledby="transactions">
        <h2 id="transactions">Credits and payments</h2>
        <Loaded from={newest} lines={6} height="2.75rem">
          {(page) => <Transactions newest={page.transactions} next={page.next} />}
        </Loaded>
      </section>
    </Page>
  );
}

function Transactions({ newest, next }: { newest: Transaction[]; next: string | undefined }) {
  const [older, setOlder] = useState<{ transactions: Transaction[]; next: string | undefined }>();
  // A new transaction shifts the newest page, so that the older ones no longer adjoin it.
  useEffect(() => setOlder(undefined), [next]);
  const further = older ? older.next : next;
  const more = async () => {
    const page = await api("client").wallet.transactions({ limit: PAGE, before: further });
    setOlder({ transactions: [...(older?.transactions ?? []), ...page.transactions], next: page.next });
  };
  if (newest.length === 0) {
    return (
      <Empty icon="wallet" title="No transactions yet">
        Jobs are paid from credit. Ask the operator of the network for some.
      </Empty>
    );
  }
  return (
    <>
      <TransactionTable transactions={[...newest, ...(older?.transactions ?? [])]} />
      {further && (
        <div class="row">
          <Button onClick={more}>Show older</Button>
        </div>
      )}
    </>
  );
}

function TransactionTable({ transactions }: { transactions: Transaction[] }) {
  return (
    <Table
      caption="Credits and payments"
      rows={transactions}
      rowKey={(transaction) => transaction.transactionId}
      href={({ jobId }) => jobId && `${BASE}/jobs/${jobId}`}
      columns={[
        { title: "Transaction", cell: (transaction) => <Subject transaction={transaction} /> },
        { title: "Status", cell: (transaction) => <State transaction={transaction} />, shrink: true },
        { title: "Held", amount: ({ held }) => held },
        {
          title: "Refunded",
          amount: ({ status, refunded }) => (status === "pending" ? undefined : refunded),
        },
        { title: "Amount", amount: paid, signed: true },
        { title: "When", cell: ({ createdAt }) => <Ago at={createdAt} />, align: "end", shrink: true },
      ]}
    />
  );
}

function Subject({ transaction }: { transaction: Transaction }) {
  const { type, jobId, jobName, note } = transaction;
  if (jobId)
    return (
      <>
        {jobName} <span class="mono small quiet">{jobId}</span>
      </>
    );
  return <>{[sentence(type), note].filter(Boolean).join(": ")}</>;
}

/** Return what a transaction added to the balance; undefined while a payment is pending. */
function paid({ type, status, amount }: Transaction): string | undefined {
  if (type === "credit") return amount;
  if (status === "pending") return undefined;
  return Number(amount) === 0 ? amount : `-${amount}`;
}

function State({ transaction: { status } }: { transaction: Transaction }) {
  if (status === "pending") {
    return <Badge tone="wait" icon="wait" word="Held" />;
  }
  return status === "settled" ? (
    <Badge tone="good" icon="check" word="Settled" />
  ) : (
    <Badge tone="still" icon="dash" word="Refunded" />
  );
}
