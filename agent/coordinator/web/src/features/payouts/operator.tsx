/** Batches of payouts: what waits for approval, and a new batch, which is first computed and then created. */
import type {
  NewPayoutBatch,
  PayoutAdapter,
  PayoutBatch,
  PayoutBatchDetails,
  PayoutBatchList,
} from "@aitbc/client";
import { useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { Button } from "../../components/controls/button.tsx";
import { SelectField, TextField } from "../../components/controls/field.tsx";
import { FormButton } from "../../components/controls/form-dialog.tsx";
import { Older } from "../../components/controls/older.tsx";
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
    SECONDS,
    [status],
  );
  const ways = waysToPay(all.data?.page.adapters ?? []);
  return (
    <Page
      title="Payouts"
      lead={all.data && decision(all.data.waiting)}
      actions={ways.length > 0 && <NewBatch ways={ways} onComputed={setDraft} />}
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
              <Older
                key={status}
                newest={page}
                read={(before) => api("admin").payouts.batches({ ...asked, limit: PAGE, before })}
                rowsOf={({ batches }) => batches}
              >
                {(batches) => <Batches batches={batches} filtered={status !== ""} />}
              </Older>
            </section>
          </>
        )}
      </Loaded>
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

function Batches({ batches, filtered }: { batches: PayoutBatch[]; filtered: boolean }) {
  return (
    <Table
      caption="Batches"
      empty={<Empty icon="wallet" title={filtered ? "No matching batches" : "No batches yet"} />}
      rows={batches}
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
  );
}

interface NewBatchProps {
  ways: { value: string; label: string }[];
  onComputed: (draft: Draft) => void;
}

function NewBatch({ ways, onComputed }: NewBatchProps) {
  const initial = { adapter: ways[0]?.value ?? "", rate: "", minimum: "", note: "" };
  const compute = async ({ adapter: way, rate, minimum, note }: typeof initial) => {
    const [adapter = "", currency] = way.split(" ");
    const limits = { rate: rate.trim() || undefined, minimum: minimum.trim() || undefined };
    const batch = { adapter, currency, ...limits, note };
    onComputed({ batch, preview: await api("admin").payouts.preview(batch) });
  };
  return (
    <FormButton
      title="New batch"
      action="Preview"
      icon="add"
      initial={initial}
      ready={({ rate, minimum }) => !wrongRate(rate) && !wrongMinimum(minimum)}
      onSend={compute}
    >
      {(field, { adapter: way, rate, minimum }) => (
        <>
          <p class="quiet">You see who would be paid before anything is created.</p>
          <SelectField label="Pay with" required {...field("adapter")} options={ways} />
          <TextField
            label="Rate"
            help={`What one credit is worth in ${way.split(" ")[1]}. Everyone can read it in the log. Leave it empty for the rate of the settings.`}
            placeholder="0.9137"
            {...field("rate")}
            error={wrongRate(rate) ?? field("rate").error}
          />
          <TextField
            label="Smallest payment, in credits"
            help="Miners that have earned less wait for a later batch. Leave it empty for that of the settings."
            {...field("minimum")}
            error={wrongMinimum(minimum) ?? field("minimum").error}
          />
          <TextField
            label="Note"
            {...field("note")}
            maxLength={200}
            placeholder="November"
            help="The batch's name in lists."
          />
        </>
      )}
    </FormButton>
  );
}

/** Return what is wrong with a rate, which may be empty. */
function wrongRate(rate: string): string | undefined {
  const isRate = /^(\d{1,20}(\.\d{1,18})?)?$/.test(rate.trim()) && (rate.trim() === "" || Number(rate) > 0);
  return isRate ? undefined : "Enter a number above 0, such as 0.9137.";
}

/** Return what is wrong with a smallest payment, which may be empty. */
function wrongMinimum(minimum: string): string | undefined {
  return minimum.trim() === "" || isMoney(minimum.trim()) ? undefined : "Enter a number like 5 or 2.50.";
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
    <section class="stack card" aria-labelledby="preview" role="status">
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
