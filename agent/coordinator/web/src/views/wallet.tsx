/** The balance, and the statement of all transactions as a roll of paper. */
import type { Transaction, TransactionList } from "@aitbc/client";
import { Older } from "../components/controls/older.tsx";
import { Empty } from "../components/empty.tsx";
import { Figures } from "../components/figures/figures.tsx";
import { Money } from "../components/figures/money.tsx";
import { Loaded } from "../components/loaded.tsx";
import { Page } from "../components/page.tsx";
import { absolute, decimal } from "../format/decimal.ts";
import { exact, priceDigits } from "../format/money.ts";
import { clock, timeOfDay } from "../format/time.ts";
import { byDay, change, state, subject } from "../format/transactions.ts";
import { isTransaction, useReload } from "../jobs.ts";
import { useLoad } from "../load.ts";
import { BASE } from "../routes.ts";
import { api } from "../session.ts";
import "../styles/receipts.css";
import { Slowed } from "./slowed.tsx";
import { useSpent } from "./spent.tsx";

const PAGE = 50;

export default function WalletPage() {
  const wallet = useLoad((signal) => api("client").wallet.get({ signal }));
  const spent = useSpent();
  const newest = useLoad((signal) => api("client").wallet.transactions({ limit: PAGE, signal }));
  const reload = () => {
    wallet.reload();
    newest.reload();
  };
  useReload("client", reload, isTransaction);
  return (
    <Page
      title="Wallet"
      lead="A job holds the most that it may cost. When it ends you pay what it did cost, and the rest is yours again."
    >
      <Loaded from={wallet} lines={1} height="5rem">
        {(wallet) => (
          <>
            <Slowed until={wallet.slowedUntil} />
            <Figures
              items={[
                { name: "Balance", value: <Money amount={wallet.balance} /> },
                { name: "Held for jobs", value: <Money amount={wallet.held} /> },
                spent,
              ]}
            />
          </>
        )}
      </Loaded>
      <Loaded from={newest} lines={6} height="2.75rem">
        {(page) =>
          page.transactions.length > 0 ? (
            <Statement newest={page} />
          ) : (
            <Empty icon="wallet" title="No transactions yet">
              Jobs are paid from credits. Ask the operator of the network for some.
            </Empty>
          )
        }
      </Loaded>
    </Page>
  );
}

function Statement({ newest }: { newest: TransactionList }) {
  return (
    <Older
      newest={newest}
      read={(before) => api("client").wallet.transactions({ limit: PAGE, before })}
      rowsOf={({ transactions }) => transactions}
    >
      {(all) => (
        <section class="stack receipt roll" aria-labelledby="statement">
          <div class="row receipt-head" data-between="true">
            <h2 id="statement">Statement</h2>
            <span class="quiet small">credits</span>
          </div>
          {byDay(all).map(([day, transactions]) => (
            <section key={day} aria-label={day}>
              <h3>{day}</h3>
              <ul>
                {transactions.map((transaction) => (
                  <Line key={transaction.transactionId} transaction={transaction} />
                ))}
              </ul>
            </section>
          ))}
        </section>
      )}
    </Older>
  );
}

function statement(amount: string): string {
  const value = decimal(amount);
  const sign = value.digits < 0n ? "\u2212" : value.digits > 0n ? "+" : "";
  return sign + priceDigits(absolute(value));
}

function Line({ transaction }: { transaction: Transaction }) {
  const { jobId, createdAt, held } = transaction;
  const amount = change(transaction);
  const note = state(transaction);
  return (
    <li>
      <time class="quiet" dateTime={createdAt} title={clock(createdAt)}>
        {timeOfDay(createdAt)}
      </time>
      <span class="roll-subject">
        {jobId ? <a href={`${BASE}/jobs/${jobId}`}>{subject(transaction)}</a> : subject(transaction)}
        {note && <span class="quiet small"> {note}</span>}
      </span>
      {amount === undefined ? (
        <span class="quiet">
          (<Money amount={held ?? "0"} bare />)
        </span>
      ) : (
        // Also what is less than a hundredth: a statement adds up.
        <data class="money" value={amount} title={exact(amount)}>
          {statement(amount)}
        </data>
      )}
    </li>
  );
}
