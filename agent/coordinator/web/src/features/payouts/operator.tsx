/** Batches of payouts: what waits for approval, and a new batch, which is first computed and then created. */
import type {
  NewPayoutBatch,
  PayoutAdapter,
  PayoutBatch,
  PayoutBatchDetails,
  PayoutBatchList,
} from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { Button } from "../../components/controls/button.tsx";
import { SelectField, TextField } from "../../components/controls/field.tsx";
import { FormDialog } from "../../components/controls/form-dialog.tsx";
import { Older, useOlder } from "../../components/controls/older.tsx";
import { Segments } from "../../components/controls/segments.tsx";
import { Empty } from "../../components/empty.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { notify } from "../../components/toast.tsx";
import { useFilters } from "../../filters.ts";
import { allDigits, isMoney, money } from "../../format/money.ts";
import { plural } from "../../format/size.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { PaymentTable } from "./operator_payments.tsx";
import { BATCH_STATES, BatchStatus } from "./parts.tsx";

const SECONDS = 10;
const PAGE = 25;

/** Why a miner that has earned money is not part of a batch. */
const OMITTED = {
  no_address: "Its owner has given no address for this way to pay",
  excluded: "Excluded from the network",
  new: "It joined too recently (payouts.new_miner_hours)",
  on_hold: "Earned too recently (payouts.hold_hours)",
  below_minimum: "Less than the smallest payment",
  batch_full: "The batch is full; the next one pays it",
};

/** What a batch would pay, and the request that creates it. */
interface Draft {
  batch: NewPayoutBatch;
  preview: PayoutBatchDetails;
}

export default function Payouts() {
  const [{ status = "" }, change] = useFilters();
  const [computing, setComputing] = useState(false);
  const [draft, setDraft] = useState<Draft>();
  const asked = { status: (status || undefined) as PayoutBatch["status"] | undefined };
  const all = usePolled(
    async (signal) => {
      const { payouts } = api("admin");
      const [page, waiting] = await Promise.all([
        payouts.batches({ ...asked, limit: PAGE, signal }),
        payouts.batches({ status: "created", limit: PAGE, signal }),
      ]);
      return { page, waiting };
    },
    () => SECONDS,
    [status],
  );
  const ways = waysToPay(all.data?.page.adapters ?? []);
  return (
    <Page
      title="Payouts"
      lead={all.data && decision(all.data.waiting)}
      actions={
        ways.length > 0 && (
          <Button kind="main" icon="add" onClick={() => setComputing(true)}>
            New batch
          </Button>
        )
      }
    >
      <Loaded from={all} lines={6} height="2.75rem">
        {({ page }) => (
          <>
            <Faults adapters={page.adapters} />
            {draft && <Preview draft={draft} onCancel={() => setDraft(undefined)} />}
            <section class="stack" aria-labelledby="batches">
              <h2 id="batches">Batches</h2>
              <div class="filters">
                <Segments
                  label="Status"
                  value={status}
                  onInput={(status) => change({ status })}
                  options={BATCH_STATES}
                />
              </div>
              <List key={status} page={page} asked={asked} />
            </section>
          </>
        )}
      </Loaded>
      <NewBatch ways={ways} open={computing} onClose={() => setComputing(false)} onComputed={setDraft} />
    </Page>
  );
}

/** Return in one sentence what waits for the administrator. */
function decision({ batches, next }: PayoutBatchList): string {
  const [batch] = batches;
  if (!batch) return "Nothing waits for your approval. A batch pays miners what they have earned.";
  if (batches.length === 1 && !next) {
    return `A batch waits for your approval: ${plural(batch.count, "payment")}, ${money(batch.amount)}.`;
  }
  return `${next ? "More than " : ""}${plural(batches.length, "batch", "batches")} wait for your approval.`;
}

/** Each adapter with each of its currencies, as options. */
function waysToPay(adapters: PayoutAdapter[]) {
  return adapters
    .filter(({ fault }) => !fault)
    .flatMap(({ adapter, currencies }) =>
      Object.keys(currencies).map((currency) => ({
        value: `${adapter} ${currency}`,
        label: `${adapter}, ${currency}`,
      })),
    );
}

/** Why some adapters, or all, cannot pay. */
function Faults({ adapters }: { adapters: PayoutAdapter[] }) {
  return (
    <>
      {adapters
        .filter(({ fault }) => fault)
        .map(({ adapter, fault }) => (
          <Notice key={adapter} tone="bad" title={`${adapter} cannot be used`}>
            <p>{fault}</p>
          </Notice>
        ))}
      {adapters.length === 0 && (
        <Notice tone="wait" title="This coordinator cannot pay yet">
          <p>
            Add a way to pay to <code>payouts.adapters</code> in the coordinator's settings.
          </p>
        </Notice>
      )}
    </>
  );
}

function List({
  page,
  asked,
}: {
  page: PayoutBatchList;
  asked: { status: PayoutBatch["status"] | undefined };
}) {
  const list = useOlder(
    page,
    (before) => api("admin").payouts.batches({ ...asked, limit: PAGE, before }),
    ({ batches }) => batches,
  );
  if (list.rows.length === 0) {
    return <Empty icon="wallet" title={asked.status ? "No matching batches" : "No batches yet"} />;
  }
  return (
    <>
      <Table
        caption="Batches"
        rows={list.rows}
        rowKey={({ batchId }) => batchId ?? ""}
        href={({ batchId }) => `${BASE}/network/payouts/${batchId}`}
        columns={[
          { title: "Batch", cell: ({ note, batchId }) => note || batchId },
          { title: "Status", cell: (batch) => <BatchStatus state={batch.status} />, shrink: true },
          { title: "Paid with", cell: ({ adapter, currency }) => `${adapter}, ${currency}`, minor: true },
          { title: "Payments", cell: ({ count }) => count, align: "end" },
          { title: "Failed", cell: ({ counts }) => counts.failed ?? 0, align: "end", minor: true },
          { title: "Amount", amount: ({ amount }) => amount },
          { title: "Created", cell: ({ createdAt }) => <Ago at={createdAt} />, shrink: true, align: "end" },
        ]}
      />
      <Older list={list} />
    </>
  );
}

interface NewBatchProps {
  ways: { value: string; label: string }[];
  open: boolean;
  onClose: () => void;
  onComputed: (draft: Draft) => void;
}

function NewBatch({ ways, open, onClose, onComputed }: NewBatchProps) {
  const [chosen, setChosen] = useState("");
  const [rate, setRate] = useState("");
  const [minimum, setMinimum] = useState("");
  const [note, setNote] = useState("");
  useEffect(() => {
    setRate("");
    setMinimum("");
    setNote("");
  }, [open]);
  const way = chosen || (ways[0]?.value ?? "");
  const [adapter = "", currency] = way.split(" ");
  const wrong = checked(rate.trim(), minimum.trim());
  const compute = async () => {
    const batch = {
      adapter,
      currency,
      rate: rate.trim() || undefined,
      minimum: minimum.trim() || undefined,
      note,
    };
    onComputed({ batch, preview: await api("admin").payouts.preview(batch) });
  };
  return (
    <FormDialog
      title="New batch"
      action="Preview"
      open={open}
      onClose={onClose}
      onSend={compute}
      disabled={wrong.rate !== undefined || wrong.minimum !== undefined}
    >
      {(errors) => (
        <>
          <p class="quiet">You see who would be paid before anything is created.</p>
          <SelectField
            label="Pay with"
            required
            value={way}
            onInput={setChosen}
            options={ways}
            error={errors.adapter ?? errors.currency}
          />
          <TextField
            label="Rate"
            value={rate}
            onInput={setRate}
            help={`What one credit is worth in ${currency}. Everyone can read it in the log. Leave it empty for the rate of the settings.`}
            placeholder="0.9137"
            error={wrong.rate ?? errors.rate}
          />
          <TextField
            label="Smallest payment, in credits"
            value={minimum}
            onInput={setMinimum}
            help="Miners that have earned less wait for a later batch. Leave it empty for that of the settings."
            error={wrong.minimum ?? errors.minimum}
          />
          <TextField
            label="Note"
            value={note}
            onInput={setNote}
            maxLength={200}
            placeholder="November"
            help="The batch's name in lists."
            error={errors.note}
          />
        </>
      )}
    </FormDialog>
  );
}

/** Return what is wrong with what was entered; both may be empty. */
function checked(rate: string, minimum: string): { rate?: string; minimum?: string } {
  const isRate = rate === "" || (/^\d{1,20}(\.\d{1,18})?$/.test(rate) && Number(rate) > 0);
  return {
    ...(!isRate && { rate: "Enter a number above 0, such as 0.9137." }),
    ...(minimum !== "" && !isMoney(minimum) && { minimum: "Enter a number like 5 or 2.50." }),
  };
}

interface PreviewProps {
  draft: Draft;
  onCancel: () => void;
}

function Preview({ draft: { batch, preview }, onCancel }: PreviewProps) {
  const { omitted = [] } = preview;
  const { route } = useLocation();
  const create = async () => {
    const { batchId } = await api("admin").payouts.create(batch);
    notify("The batch was created. Approve it to send the payments.");
    route(`${BASE}/network/payouts/${batchId}`);
  };
  return (
    <section class="card" aria-labelledby="preview" role="status">
      <h2 id="preview">
        {preview.count === 0 ? "Nobody would be paid" : `${plural(preview.count, "payment")}: `}
        {preview.count > 0 && (
          <>
            <Money amount={preview.amount} />, {allDigits(preview.sentAmount)} {preview.currency}
          </>
        )}
      </h2>
      <p class="small quiet">Nothing has changed yet. This is what a batch would pay now.</p>
      {preview.payouts.length > 0 && <PaymentTable payouts={preview.payouts} draft />}
      {omitted.length > 0 && (
        <details class="fold" open={preview.count === 0 || undefined}>
          <summary>{plural(omitted.length, "miner")} not paid</summary>
          <Table
            caption="Miners that are not paid"
            rows={omitted}
            rowKey={({ minerId }) => minerId}
            columns={[
              { title: "Miner", cell: ({ minerName, minerId }) => minerName ?? minerId },
              { title: "Why", cell: ({ reason }) => OMITTED[reason] },
              { title: "Amount", amount: ({ amount }) => amount },
            ]}
          />
        </details>
      )}
      <div class="row">
        <Button kind="main" disabled={preview.count === 0} onClick={create}>
          Create this batch
        </Button>
        <Button onClick={onCancel}>Discard</Button>
      </div>
    </section>
  );
}
