/** Batches of payouts, and a new one: first computed, then created. */
import type {
  NewPayoutBatch,
  PayoutAdapter,
  PayoutBatch,
  PayoutBatchDetails,
  PayoutBatchList,
} from "@aitbc/client";
import { useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { SelectField, TextField } from "../../components/controls/field.tsx";
import { Form } from "../../components/controls/form.tsx";
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
import { fieldErrors } from "../../errors.ts";
import { useFilters } from "../../filters.ts";
import { allDigits, isMoney } from "../../format/money.ts";
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
  no_address: "No address for this adapter and currency",
  excluded: "Excluded from the network",
  new: "New here: payouts.new_miner_hours have not passed since it joined",
  on_hold: "Earned too recently: payouts.hold_hours must pass",
  below_minimum: "Below the minimum",
  batch_full: "The batch is full; the next one pays it",
};

export default function Payouts() {
  const [{ status = "" }, change] = useFilters();
  const asked = { status: (status || undefined) as PayoutBatch["status"] | undefined };
  const batches = usePolled(
    (signal) => api("admin").payouts.batches({ ...asked, limit: PAGE, signal }),
    () => SECONDS,
    [status],
  );
  return (
    <Page
      title="Payouts"
      lead="A batch pays miners what they have earned. It is sent once an administrator has approved it."
    >
      <Loaded from={batches} lines={6} height="2.75rem">
        {(page) => (
          <>
            <NewBatch adapters={page.adapters} />
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
    </Page>
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
          { title: "Adapter", cell: ({ adapter, currency }) => `${adapter}, ${currency}`, minor: true },
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

function NewBatch({ adapters }: { adapters: PayoutAdapter[] }) {
  const usable = adapters.filter(({ fault }) => !fault);
  const ways = usable.flatMap(({ adapter, currencies }) =>
    Object.keys(currencies).map((currency) => ({
      value: `${adapter} ${currency}`,
      label: `${adapter}, ${currency}`,
    })),
  );
  const [way, setWay] = useState(ways[0]?.value ?? "");
  const [rate, setRate] = useState("");
  const [minimum, setMinimum] = useState("");
  const [note, setNote] = useState("");
  const [errors, setErrors] = useState<Record<string, string>>({});
  const [draft, setDraft] = useState<{ batch: NewPayoutBatch; preview: PayoutBatchDetails }>();
  const [adapter = "", currency] = way.split(" ");
  const compute = async () => {
    const wrong = checked(rate, minimum);
    setErrors(wrong);
    setDraft(undefined);
    if (Object.keys(wrong).length > 0) return;
    const batch = {
      adapter,
      currency,
      rate: rate.trim() || undefined,
      minimum: minimum.trim() || undefined,
      note,
    };
    try {
      setDraft({ batch, preview: await api("admin").payouts.preview(batch) });
    } catch (error) {
      const fields = fieldErrors(error);
      if (Object.keys(fields).length === 0) throw error;
      setErrors(fields);
    }
  };
  return (
    <Card title="New batch">
      {adapters
        .filter(({ fault }) => fault)
        .map(({ adapter, fault }) => (
          <Notice key={adapter} tone="wait" title={`${adapter} cannot be used`}>
            <p>{fault}</p>
          </Notice>
        ))}
      {ways.length === 0 ? (
        <p>
          No adapter can be used. Add one to <code>payouts.adapters</code> in the coordinator's settings.
        </p>
      ) : (
        <Form inline action="Preview" onSend={compute}>
          <SelectField label="Adapter" required value={way} onInput={setWay} options={ways} />
          <TextField
            label="Rate"
            value={rate}
            onInput={setRate}
            help={`What one credit is worth in ${currency}. It is part of the signed manifest. Empty: payouts.rates applies.`}
            placeholder="0.9137"
            error={errors.rate}
          />
          <TextField
            label="Minimum"
            value={minimum}
            onInput={setMinimum}
            help="Minimum payment, in credits. Empty: payouts.minimum applies."
            error={errors.minimum}
          />
          <TextField label="Note" value={note} onInput={setNote} maxLength={200} placeholder="November" />
        </Form>
      )}
      {draft && <Preview draft={draft} onCancel={() => setDraft(undefined)} />}
    </Card>
  );
}

function checked(rate: string, minimum: string): Record<string, string> {
  const isRate = !rate.trim() || (/^\d{1,20}(\.\d{1,18})?$/.test(rate.trim()) && Number(rate) > 0);
  return {
    ...(isRate ? {} : { rate: "Enter a number above 0, such as 0.9137." }),
    ...(!minimum.trim() || isMoney(minimum.trim()) ? {} : { minimum: "Enter a number like 5 or 2.50." }),
  };
}

interface PreviewProps {
  draft: { batch: NewPayoutBatch; preview: PayoutBatchDetails };
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
    <section class="stack" aria-labelledby="preview" role="status">
      <h3 id="preview">
        {preview.count === 0 ? "Nobody would be paid" : `${plural(preview.count, "payment")}: `}
        {preview.count > 0 && (
          <>
            <Money amount={preview.amount} />, {allDigits(preview.sentAmount)} {preview.currency}
          </>
        )}
      </h3>
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
