/** The receipt of a completed job: the miner's signed statement, to verify in the browser or save as a file. */
import type { Receipt } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Button } from "../../components/controls/button.tsx";
import { Conclusions } from "../../components/controls/checks.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Facts } from "../../components/figures/figures.tsx";
import { Money, Price } from "../../components/figures/money.tsx";
import { Clock } from "../../components/figures/time.tsx";
import { Lines, Slip, Stamp } from "../../components/slip.tsx";
import { quantity } from "../../format/sale_units.ts";
import { useSaleUnits } from "../../sale_units.ts";
import { api } from "../../session.ts";
import { type Outcome, saved, verified } from "../../verification.ts";
import { type Signed, statementOf } from "./statement.ts";

export function ReceiptPanel({ receipt, sealed }: { receipt: Receipt; sealed: boolean }) {
  const [outcome, setOutcome] = useState<Outcome>();
  const { predicate } = statementOf(receipt);
  const verify = async () => {
    setOutcome(await verified(await api("client").receipts.export(receipt.jobId), undefined, sealed));
  };
  return (
    <Slip title="Receipt" note={<Copyable text={receipt.receiptId} />}>
      <Paid predicate={predicate} />
      <Facts
        items={[
          ["Signed by", <Copyable key="miner" text={receipt.minerId} />],
          ["Ran on", predicate.device.name],
          ["Runner", `${predicate.runner.name} ${predicate.runner.version}`],
          ["Model", predicate.model?.name],
          ["Finished", <Clock key="finished" at={predicate.finished_at} />],
          ["Sealed", predicate.sealed && "input and result; only you and the miner can read them"],
          ["Attestation", attestation(predicate)],
        ]}
      />
      {outcome?.verification.valid && <Stamp>Verified</Stamp>}
      {outcome && <Conclusions outcome={outcome} />}
      <div class="row">
        <Button kind="main" icon="verify" onClick={verify}>
          Verify in this browser
        </Button>
        <Button icon="download" onClick={() => save(receipt.jobId)}>
          Save as file
        </Button>
      </div>
    </Slip>
  );
}

/** What the receipt has about the memory of the machine. Without an attestation, its owner could read a sealed job. */
function attestation({ sealed, attestation }: Signed["predicate"]): string | undefined {
  if (attestation) return `${attestation.type}, not verified by this page`;
  return sealed && "none: the machine's owner can read its memory";
}

function Paid({ predicate: { service, units, unit, unit_price, price } }: Signed) {
  const sold = useSaleUnits()(service, unit);
  const work = (
    <>
      {quantity(units, sold)} at <Price unitPrice={unit_price} of={sold} />
    </>
  );
  return (
    <Lines
      items={[[work, <Money key="price" amount={price} />]]}
      total={["Paid", <Money key="paid" amount={price} />]}
    />
  );
}

/** Save the bundle in the format that `aitbc receipts verify` reads. */
async function save(jobId: string): Promise<void> {
  saved(await api("client").receipts.export(jobId), `receipt-${jobId}.json`);
}
