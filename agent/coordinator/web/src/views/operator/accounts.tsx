/** Accounts, their balances, and crediting and debiting them. */
import type { Account } from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Dialog } from "../../components/controls/dialog.tsx";
import { CheckField, TextField } from "../../components/controls/field.tsx";
import { Form } from "../../components/controls/form.tsx";
import { Empty } from "../../components/empty.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { notify } from "../../components/toast.tsx";
import { explain } from "../../errors.ts";
import { isMoney, money } from "../../format/money.ts";
import { useLoad } from "../../load.ts";
import { ACCOUNTS } from "../../routes.ts";
import { api } from "../../session.ts";
import "../../styles/machine.css";

const PAGE = 50;

export default function Accounts() {
  const [before, setBefore] = useState<string[]>([]);
  const after = before.at(-1);
  const accounts = useLoad((signal) => api("admin").admin.accounts({ limit: PAGE, after, signal }), [after]);
  const [booking, setBooking] = useState<Booking | null>(null);
  return (
    <Page
      title="Accounts"
      tabs={ACCOUNTS}
      lead="An account owns jobs, files and money. Create keys for it under “Keys and tokens”."
    >
      <NewAccount onMade={accounts.reload} />
      <Loaded from={accounts} lines={5} height="2.75rem">
        {({ accounts: list, next }) => (
          <>
            {list.length > 0 ? (
              <List accounts={list} onBook={setBooking} />
            ) : (
              <Empty icon="people" title="No accounts yet" />
            )}
            <div class="row">
              {before.length > 0 && <Button onClick={() => setBefore(before.slice(0, -1))}>Older</Button>}
              {next && <Button onClick={() => setBefore([...before, next])}>Newer</Button>}
            </div>
          </>
        )}
      </Loaded>
      <BookingDialog booking={booking} onClose={() => setBooking(null)} onBooked={accounts.reload} />
    </Page>
  );
}

function List({ accounts, onBook }: { accounts: Account[]; onBook: (booking: Booking) => void }) {
  return (
    <Table
      caption="Accounts"
      rows={accounts}
      rowKey={(account) => account.accountId}
      columns={[
        {
          title: "Name",
          cell: ({ name, slowedUntil }) => (
            <>
              {name}
              {slowedUntil && (
                <span class="quiet small">
                  {" "}
                  slowed, because too many of its jobs failed through their own errors; ends{" "}
                  <Ago at={slowedUntil} />
                </span>
              )}
            </>
          ),
        },
        {
          title: "Id",
          cell: ({ accountId }) => <Copyable text={accountId} noun="account id" />,
        },
        { title: "Created", cell: (account) => <Ago at={account.createdAt} /> },
        { title: "Held for jobs", amount: (account) => account.held },
        { title: "Available", amount: (account) => account.balance },
        {
          title: "Credit or debit",
          action: (account) => (
            <span class="row">
              {(["Credit", "Debit"] as const).map((kind) => (
                <Button
                  key={kind}
                  size="small"
                  label={`${kind} ${account.name}`}
                  onClick={() => onBook({ account, kind })}
                >
                  {kind}
                </Button>
              ))}
            </span>
          ),
        },
      ]}
    />
  );
}

function NewAccount({ onMade }: { onMade: () => void }) {
  const [name, setName] = useState("");
  const [error, setError] = useState<string>();
  const send = async () => {
    if (!name.trim()) return setError("Enter a name for the account.");
    setError(undefined);
    await api("admin").admin.createAccount(name.trim());
    setName("");
    onMade();
    notify("The account was created. Its balance is zero until you credit it.");
  };
  return (
    <Card title="New account">
      <Form inline action="Create account" icon="add" onSend={send}>
        <TextField label="Name" required value={name} onInput={setName} maxLength={100} error={error} />
      </Form>
    </Card>
  );
}

interface Booking {
  account: Account;
  kind: "Credit" | "Debit";
}

interface BookingProps {
  booking: Booking | null;
  onClose: () => void;
  onBooked: () => void;
}

function BookingDialog({ booking, onClose, onBooked }: BookingProps) {
  const [amount, setAmount] = useState("");
  const [note, setNote] = useState("");
  const [force, setForce] = useState(false);
  const [error, setError] = useState<string>();
  useEffect(() => {
    setAmount("");
    setNote("");
    setForce(false);
    setError(undefined);
  }, [booking]);
  const kind = booking?.kind ?? "Credit";
  const book = async () => {
    if (!booking) return;
    if (!isMoney(amount) || Number(amount) === 0) {
      return setError("Enter a number like 10 or 2.50, with at most 8 decimals.");
    }
    const { accountId, name } = booking.account;
    const { admin } = api("admin");
    const request =
      kind === "Credit"
        ? admin.credit(accountId, { amount, note: note || undefined })
        : admin.debit(accountId, { amount, note: note || undefined, force });
    await request.then(
      () => {
        onBooked();
        onClose();
        notify(`${name} was ${kind.toLowerCase()}ed with ${money(amount)}.`);
      },
      (failure) => setError(explain(failure)),
    );
  };
  return (
    <Dialog
      title={booking ? `${kind} ${booking.account.name}` : ""}
      open={booking !== null}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="main" onClick={book}>
            {kind}
          </Button>
        </>
      }
    >
      <p class="quiet">
        {kind === "Credit"
          ? "The account can spend the amount immediately."
          : `Takes back unspent money: at most ${money(booking?.account.balance ?? "0")}. What is held for unfinished jobs stays held.`}
      </p>
      <TextField label="Amount" required value={amount} onInput={setAmount} placeholder="10" error={error} />
      <TextField
        label="Note"
        value={note}
        onInput={setNote}
        maxLength={200}
        help="Shown in the account's transactions."
      />
      {kind === "Debit" && <CheckField label="Allow a negative balance" checked={force} onInput={setForce} />}
    </Dialog>
  );
}
