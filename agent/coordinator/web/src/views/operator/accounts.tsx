/** Accounts, their balances, and crediting and debiting them. */
import type { Account } from "@aitbc/client";
import { useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { Button } from "../../components/controls/button.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { CheckField, TextField } from "../../components/controls/field.tsx";
import { FormButton, FormDialog } from "../../components/controls/form-dialog.tsx";
import { Menu } from "../../components/controls/menu.tsx";
import { Empty } from "../../components/empty.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { notify } from "../../components/toast.tsx";
import { decimal, less } from "../../format/decimal.ts";
import { isMoney, money } from "../../format/money.ts";
import { useLoad } from "../../load.ts";
import { ACCOUNTS, BASE } from "../../routes.ts";
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
      lead="Who may submit jobs, and with how many credits."
      actions={<NewAccount onMade={accounts.reload} />}
    >
      <Loaded from={accounts} lines={5} height="2.75rem">
        {({ accounts: list, next }) => (
          <>
            <List accounts={list} onBook={setBooking} />
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
  const { route } = useLocation();
  return (
    <Table
      caption="Accounts"
      empty={<Empty icon="people" title="No accounts yet" />}
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
          title: "Actions",
          action: (account) => (
            <Menu
              label={`Actions for ${account.name}`}
              brief
              items={[
                { name: "Credit", icon: "add", act: () => onBook({ account, kind: "Credit" }) },
                { name: "Debit", icon: "dash", act: () => onBook({ account, kind: "Debit" }) },
                {
                  name: "Jobs",
                  icon: "jobs",
                  act: () => route(`${BASE}/network/jobs?account=${account.accountId}`),
                },
              ]}
            />
          ),
        },
      ]}
    />
  );
}

function NewAccount({ onMade }: { onMade: () => void }) {
  const create = async (name: string) => {
    await api("admin").admin.createAccount(name);
    onMade();
    notify(`${name} was created. It can submit jobs once you credit it and give it a key.`);
  };
  return (
    <FormButton
      title="New account"
      action="Create account"
      icon="add"
      initial={{ name: "" }}
      ready={({ name }) => name.trim() !== ""}
      onSend={({ name }) => create(name.trim())}
    >
      {(field) => <TextField label="Name" required {...field("name")} maxLength={100} />}
    </FormButton>
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

function wrongAmount(amount: string): string | undefined {
  if (amount === "" || (isMoney(amount) && Number(amount) > 0)) return undefined;
  return "Enter a number like 10 or 2.50, with at most 8 decimals.";
}

function tooMuch(amount: string, balance: string): string | undefined {
  if (amount === "" || !less(decimal(balance), decimal(amount))) return undefined;
  return `The account has ${money(balance)}. Enter less, or allow a negative balance.`;
}

const NO_BOOKING = { amount: "", note: "", force: false };

function BookingDialog({ booking, onClose, onBooked }: BookingProps) {
  const kind = booking?.kind ?? "Credit";
  const balance = booking?.account.balance ?? "0";
  const wrong = ({ amount, force }: typeof NO_BOOKING) =>
    wrongAmount(amount) ?? (kind === "Debit" && !force ? tooMuch(amount, balance) : undefined);
  const book = async ({ amount, note, force }: typeof NO_BOOKING) => {
    if (!booking) return;
    const { accountId, name } = booking.account;
    const { admin } = api("admin");
    if (kind === "Credit") await admin.credit(accountId, { amount, note: note || undefined });
    else await admin.debit(accountId, { amount, note: note || undefined, force });
    onBooked();
    notify(`${name} was ${kind.toLowerCase()}ed with ${money(amount)}.`);
  };
  return (
    <FormDialog
      title={booking ? `${kind} ${booking.account.name}` : ""}
      action={kind}
      open={booking !== null}
      onClose={onClose}
      initial={NO_BOOKING}
      ready={(values) => values.amount !== "" && wrong(values) === undefined}
      onSend={book}
    >
      {(field, values) => (
        <>
          <p class="quiet">
            {kind === "Credit"
              ? "The account can spend it at once."
              : `Takes back unspent credits: at most ${money(balance)}. What is held for unfinished jobs stays held.`}
          </p>
          <TextField
            label="Amount in credits"
            required
            placeholder="10"
            {...field("amount")}
            error={wrong(values) ?? field("amount").error}
          />
          <TextField
            label="Note"
            {...field("note")}
            maxLength={200}
            help="The account's owner sees it in the wallet."
          />
          {kind === "Debit" && (
            <CheckField
              label="Allow a negative balance"
              checked={values.force}
              onInput={field("force").onInput}
            />
          )}
        </>
      )}
    </FormDialog>
  );
}
