/** An owner's payouts: what can be paid, where it goes, and each payment with its proof. */
import type { MinerPayouts, Payout, PayoutAddresses, PayoutVerification } from "@aitbc/client";
import { useState } from "preact/hooks";
import { useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { CheckList } from "../../components/controls/checks.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Dialog } from "../../components/controls/dialog.tsx";
import { Older } from "../../components/controls/older.tsx";
import { Empty } from "../../components/empty.tsx";
import { Facts, Figures } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { allDigits } from "../../format/money.ts";
import { duration } from "../../format/time.ts";
import { usePolled } from "../../poll.ts";
import { EARNINGS } from "../../routes.ts";
import { api, publicApi } from "../../session.ts";
import { saved } from "../../verification.ts";
import { ownMiner } from "../../views/owner/watch.ts";
import { PayoutStatus } from "./parts.tsx";

const SECONDS = 15;
const PAGE = 25;

export default function OwnPayouts() {
  const { id } = useRoute().query;
  const all = usePolled(
    async (signal) => {
      const minerId = id || (await ownMiner(signal));
      const { payouts } = api("miner");
      const [money, addresses] = await Promise.all([
        payouts.ofMiner(minerId, { limit: PAGE, signal }),
        payouts.address(minerId, { signal }),
      ]);
      return { money, addresses };
    },
    SECONDS,
    [id],
  );
  return (
    <Page
      title="Earnings"
      tabs={EARNINGS}
      lead="The operator pays earnings out in batches. Each payment has a proof that this browser verifies."
    >
      <Loaded from={all} lines={3} height="6rem">
        {({ money, addresses }) => (
          <>
            <Sums money={money} />
            <Address addresses={addresses} />
            <Payments newest={money} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Sums({ money }: { money: MinerPayouts }) {
  return (
    <Figures
      items={[
        {
          name: "Available",
          value: <Money amount={money.available} />,
          note: "for the next batch",
        },
        {
          name: "On hold",
          value: <Money amount={money.onHold} />,
          note: "earned recently; an audit may still take it back",
        },
        { name: "On its way", value: <Money amount={money.pending} /> },
        { name: "Paid out", value: <Money amount={money.paidOut} /> },
      ]}
    />
  );
}

function Address({ addresses }: { addresses: PayoutAddresses }) {
  const { address, pending, delayHours, adapters } = addresses;
  const ways = adapters.flatMap(({ adapter, currencies }) =>
    Object.keys(currencies).map((currency) => `${adapter} (${currency})`),
  );
  return (
    <Card title="Address">
      {pending && (
        <Notice tone="wait" title="The address changes">
          <p>
            Payments will go to <Copyable text={pending.address} noun="address" /> ({pending.adapter},{" "}
            {pending.currency}) <Ago at={pending.effectiveAt} />. If you did not ask for this, someone has the
            machine's identity key: set the old address again on the machine, and inform the operator.
          </p>
        </Notice>
      )}
      {address ? (
        <Facts
          items={[
            ["Paid to", <Copyable key="address" text={address.address} noun="address" />],
            ["Adapter", `${address.adapter}, ${address.currency}`],
            ["Since", <Ago key="since" at={address.effectiveAt} />],
          ]}
        />
      ) : (
        <Notice tone="wait" title="No address yet">
          <p>Without one, this machine is not paid. Its earnings stay in its account.</p>
        </Notice>
      )}
      <p class="small quiet">
        The address is set on the machine, because its identity key must sign it; a key for this dashboard
        cannot change it: <code>aitbc-agent payouts address set ADDRESS --adapter ADAPTER</code>. A change
        takes effect after {duration(delayHours * 3600)}.{ways.length > 0 && ` Adapters: ${ways.join(", ")}.`}
      </p>
    </Card>
  );
}

function Payments({ newest }: { newest: MinerPayouts }) {
  const [verified, setVerified] = useState<Verified | null>(null);
  return (
    <section class="stack" aria-labelledby="payments">
      <h2 id="payments">Payments</h2>
      <Older
        newest={newest}
        read={(before) => api("miner").payouts.ofMiner(newest.minerId, { limit: PAGE, before })}
        rowsOf={({ payouts }) => payouts}
      >
        {(payouts) => <PaymentTable payouts={payouts} onVerified={setVerified} />}
      </Older>
      <VerifiedDialog verified={verified} onClose={() => setVerified(null)} />
    </section>
  );
}

interface Verified {
  payout: Payout;
  proof: object;
  logKey: string;
  verification: PayoutVerification;
}

interface PaymentTableProps {
  payouts: Payout[];
  onVerified: (verified: Verified) => void;
}

function PaymentTable({ payouts, onVerified }: PaymentTableProps) {
  const verify = async (payout: Payout) => {
    const [proof, { logKey }] = await Promise.all([
      api("miner").payouts.proof(payout.payoutId),
      publicApi().health(),
    ]);
    const { verifyPayout } = await import("../../verifying.ts");
    onVerified({ payout, proof, logKey, verification: verifyPayout(proof, logKey) });
  };
  return (
    <Table
      caption="Payments"
      empty={
        <Empty icon="wallet" title="No payment yet">
          Earnings are paid once they are above the operator's minimum and no longer on hold.
        </Empty>
      }
      rows={payouts}
      rowKey={({ payoutId }) => payoutId}
      columns={[
        {
          title: "Sent",
          cell: ({ sentAmount, currency }) => `${allDigits(sentAmount)} ${currency}`,
          shrink: true,
        },
        {
          title: "Status",
          cell: ({ status, reason, waitingFor }) => (
            <>
              <PayoutStatus state={status} />
              {(reason ?? waitingFor) && (
                <p class="small quiet">{reason ?? `Waits for you to hand in ${waitingFor}`}</p>
              )}
            </>
          ),
        },
        { title: "To", cell: ({ address }) => <Copyable text={address} noun="address" /> },
        {
          title: "Reference",
          cell: ({ reference }) => reference && <Copyable text={reference} noun="reference" />,
          minor: true,
        },
        { title: "Earnings", amount: ({ amount }) => amount },
        { title: "When", cell: ({ createdAt }) => <Ago at={createdAt} />, align: "end", shrink: true },
        {
          title: "Proof",
          action: (payout) =>
            payout.status !== "created" &&
            payout.status !== "cancelled" && (
              <Button
                size="small"
                icon="verify"
                label={`Verify the payment of ${allDigits(payout.sentAmount)} ${payout.currency} in this browser`}
                onClick={() => verify(payout)}
              >
                Verify
              </Button>
            ),
        },
      ]}
    />
  );
}

function VerifiedDialog({ verified, onClose }: { verified: Verified | null; onClose: () => void }) {
  const save = () => verified && saved(verified.proof, `payout-${verified.payout.payoutId}.json`);
  return (
    <Dialog
      title="Proof of the payment"
      open={verified !== null}
      onClose={onClose}
      actions={
        <>
          <Button icon="download" onClick={save}>
            Save as file
          </Button>
          <Button kind="main" onClick={onClose}>
            Close
          </Button>
        </>
      }
    >
      {verified && (
        <>
          <CheckList
            checks={verified.verification.checks}
            valid={verified.verification.valid}
            good="This payment is in the log."
            bad="This payment is not proven"
            logKey={verified.logKey}
          />
          <p class="small quiet">
            The coordinator cannot take back what it has signed. Check with your bank, the chain or your node
            whether the money has arrived.
          </p>
        </>
      )}
    </Dialog>
  );
}
