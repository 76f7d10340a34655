/** One batch of payouts: its approval, its payments, what the adapter sends, and its manifest in the log. */
import type { Payout, PayoutBatchDetails, PayoutTransfer } from "@aitbc/client";
import { useState } from "preact/hooks";
import { useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { Copyable, CopyButton } from "../../components/controls/copyable.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { TextField } from "../../components/controls/field.tsx";
import { FormDialog } from "../../components/controls/form-dialog.tsx";
import { Menu } from "../../components/controls/menu.tsx";
import { Segments } from "../../components/controls/segments.tsx";
import { Facts, Figures } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago, Clock } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { notify } from "../../components/toast.tsx";
import { allDigits, money } from "../../format/money.ts";
import { sentence } from "../../format/names.ts";
import { plural } from "../../format/size.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { PaymentTable } from "./operator_payments.tsx";
import { BatchStatus, stateWords } from "./parts.tsx";

const OPEN_SECONDS = 4;
const ENDED_SECONDS = 3600;
const ENDED: PayoutBatchDetails["status"][] = ["confirmed", "failed", "cancelled"];

export default function PayoutPage() {
  const { id = "" } = useRoute().params;
  const batch = usePolled(
    (signal) => api("admin").payouts.batch(id, { signal }),
    (data) => (data && ENDED.includes(data.status) ? ENDED_SECONDS : OPEN_SECONDS),
    [id],
  );
  const { data } = batch;
  return (
    <Page
      title={data?.note || "Batch of payouts"}
      back={{ href: `${BASE}/network/payouts`, name: "Payouts" }}
      lead={
        data && (
          <span class="row">
            <span role="status">
              <BatchStatus state={data.status} />
            </span>
            {data.adapter}, {data.currency}
            <Copyable text={id} noun="batch id" />
          </span>
        )
      }
      actions={data && <Decision batch={data} batchId={id} reload={batch.reload} />}
    >
      <Loaded from={batch} lines={6} height="3rem">
        {(data) => <Shown batch={data} batchId={id} reload={batch.reload} />}
      </Loaded>
    </Page>
  );
}

interface BatchProps {
  batch: PayoutBatchDetails;
  batchId: string;
  reload: () => void;
}

function Decision({ batch, batchId, reload }: BatchProps) {
  const approve = async () => {
    const sure = await ask({
      title: `Send ${plural(batch.count, "payment")}?`,
      text: `${money(batch.amount)}, that is ${allDigits(batch.sentAmount)} ${batch.currency}, leave the network. The log will say so permanently, for everyone to read.`,
      action: "Approve and send",
    });
    if (!sure) return;
    await api("admin").payouts.approve(batchId);
    notify("The batch was approved. Its payments are being sent.");
    reload();
  };
  const cancel = async () => {
    const text = "Nothing is sent, and the money returns to the miners' earnings.";
    if (!(await ask({ title: "Cancel this batch?", text, action: "Cancel the batch" }))) return;
    await api("admin").payouts.cancel(batchId);
    notify("The batch was cancelled. The money is back in the miners' earnings.");
    reload();
  };
  const isOpen = batch.status === "created";
  return (
    <>
      {isOpen && (
        <Button kind="main" icon="check" onClick={approve}>
          Approve
        </Button>
      )}
      {(isOpen || batch.status === "approved") && (
        <Menu label="More" items={[{ name: "Cancel the batch", icon: "cross", danger: true, act: cancel }]} />
      )}
    </>
  );
}

/** Return in one sentence what happens to the batch's money, or what it waits for. */
function answer({ status, count, counts }: PayoutBatchDetails): string {
  const failed = counts.failed ?? 0;
  switch (status) {
    case "created":
      return `Nothing is sent until you approve ${count === 1 ? "this payment" : `these ${plural(count, "payment")}`}.`;
    case "approved":
    case "sending":
      return failed > 0
        ? `The payments are being sent; ${failed} of ${count} failed so far.`
        : "The payments are being sent.";
    case "confirmed":
      return count === 1 ? "The payment has arrived." : `All ${plural(count, "payment")} have arrived.`;
    case "failed":
      return `${failed} of ${plural(count, "payment")} failed. Their amounts are earnings again, which the next batch pays.`;
    case "cancelled":
      return "Nothing was sent. The money is back in the miners' earnings.";
    default:
      return "";
  }
}

function Shown({ batch, batchId, reload }: BatchProps) {
  const [state, setState] = useState("");
  const states = Object.entries(batch.counts) as [Payout["status"], number][];
  const shown = state ? batch.payouts.filter(({ status }) => status === state) : batch.payouts;
  return (
    <>
      <p>{answer(batch)}</p>
      {batch.error && (
        <Notice tone="bad" title="The payments cannot be prepared">
          <p>{batch.error}</p>
          <p class="small">The coordinator retries automatically.</p>
        </Notice>
      )}
      <Figures
        items={[
          { name: "Leaves the network", value: <Money amount={batch.amount} /> },
          {
            name: "Sent",
            value: allDigits(batch.sentAmount),
            note: `${batch.currency}, at ${batch.rate}, rounded down`,
          },
          {
            name: "Payments",
            value: batch.count,
            note: states.map(([name, count]) => stateWords(name, count)).join(", "),
          },
        ]}
      />
      <Card title="Payments">
        {states.length > 1 && (
          <div class="filters">
            <Segments
              label="Status"
              value={state}
              onInput={setState}
              options={[
                { value: "", label: "All" },
                ...states.map(([value, count]) => ({ value, label: stateWords(value, count) })),
              ]}
            />
          </div>
        )}
        <Payments batch={batch} batchId={batchId} payouts={shown} reload={reload} key={state} />
      </Card>
      {batch.transfers && batch.transfers.length > 0 && <Transfers transfers={batch.transfers} />}
      <Card title="Details">
        <Facts
          items={[
            ["Earned until", <Clock key="cut" at={batch.cutOff} />],
            ["Smallest payment", <Money key="minimum" amount={batch.minimum} />],
            ["Created", <Clock key="created" at={batch.createdAt} />],
            ["Created by", batch.createdBy],
            ["Approved", batch.approvedAt && <Clock key="approved" at={batch.approvedAt} />],
            ["Approved by", batch.approvedBy],
            ["Cancelled by", batch.cancelledBy],
            ["Ended", batch.finishedAt && <Clock key="ended" at={batch.finishedAt} />],
          ]}
        />
      </Card>
      {batch.manifest && <Manifest text={batch.manifest} />}
    </>
  );
}

/** The payments; where people report outcomes, with the ways to do so. */
function Payments({ batch, batchId, payouts, reload }: BatchProps & { payouts: Payout[] }) {
  const [failed, setFailed] = useState<Payout | null>(null);
  const adapters = usePolled(
    async (signal) => (await api("admin").payouts.batches({ limit: 1, signal })).adapters,
    ENDED_SECONDS,
  );
  const byHand = adapters.data?.find(({ adapter }) => adapter === batch.adapter)?.byHand ?? false;
  const sent = batch.payouts.filter(({ status }) => status === "sent");
  const confirm = async () => {
    const text =
      "Confirm only what the bank or the payment service reports as paid. The payments leave the books.";
    const title = `Confirm ${plural(sent.length, "payment")}?`;
    if (!(await ask({ title, text, action: "All were paid" }))) return;
    await api("admin").payouts.report(
      batchId,
      sent.map(({ payoutId }) => ({ payoutId, outcome: "confirmed" as const })),
    );
    reload();
  };
  return (
    <>
      {byHand && sent.length > 0 && (
        <Notice tone="busy" title="Report the outcome">
          <p>
            Nobody but you sees whether these payments arrive. Mark each payment that failed, then confirm the
            others.
          </p>
          <div class="row">
            <Button size="small" onClick={confirm}>
              Confirm {plural(sent.length, "payment")}
            </Button>
          </div>
        </Notice>
      )}
      <PaymentTable payouts={payouts} onFailed={byHand && sent.length > 0 ? setFailed : undefined} />
      <FailedDialog payout={failed} batchId={batchId} onClose={() => setFailed(null)} onDone={reload} />
    </>
  );
}

interface FailedProps {
  payout: Payout | null;
  batchId: string;
  onClose: () => void;
  onDone: () => void;
}

function FailedDialog({ payout, batchId, onClose, onDone }: FailedProps) {
  const report = async ({ reason }: { reason: string }) => {
    if (!payout) return;
    const { payoutId } = payout;
    await api("admin").payouts.report(batchId, [{ payoutId, outcome: "failed", reason }]);
    onDone();
  };
  return (
    <FormDialog
      title={`Did the payment to ${payout?.minerName ?? payout?.minerId} fail?`}
      action="It failed"
      danger
      open={payout !== null}
      onClose={onClose}
      initial={{ reason: "" }}
      ready={({ reason }) => reason.trim() !== ""}
      onSend={report}
    >
      {(field) => (
        <>
          <p>
            Its amount returns to the miner's earnings, and the next batch pays it again. Be certain that it
            was not paid.
          </p>
          <TextField
            label="Reason"
            required
            {...field("reason")}
            maxLength={200}
            help="The machine's owner can see it."
          />
        </>
      )}
    </FormDialog>
  );
}

function Transfers({ transfers }: { transfers: PayoutTransfer[] }) {
  return (
    <Card title="Transfers">
      <Table
        caption="Transfers"
        rows={transfers}
        rowKey={({ transferId }) => transferId}
        columns={[
          { title: "Reference", cell: ({ reference }) => <Copyable text={reference} noun="reference" /> },
          {
            title: "Status",
            cell: ({ status, error, nextCallAt }) => (
              <>
                {sentence(status)}
                {error && (
                  <p class="small quiet">
                    {error}{" "}
                    {nextCallAt && (
                      <>
                        Tried again <Ago at={nextCallAt} />.
                      </>
                    )}
                  </p>
                )}
              </>
            ),
          },
          { title: "Attempts", cell: ({ attempts }) => attempts, align: "end" },
          {
            title: "Sent",
            cell: ({ sentAt }) => sentAt && <Ago at={sentAt} />,
            align: "end",
            shrink: true,
          },
        ]}
      />
    </Card>
  );
}

function Manifest({ text }: { text: string }) {
  return (
    <Card
      title="Manifest"
      note="what the log says of this batch"
      action={<CopyButton text={text} noun="manifest" />}
    >
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it may be wider than the page, so the keyboard must be able to scroll it */}
      <pre class="json" tabIndex={0}>
        {JSON.stringify(JSON.parse(text), null, 2)}
      </pre>
    </Card>
  );
}
