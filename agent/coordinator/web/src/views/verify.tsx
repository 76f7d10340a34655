/** Verifies a receipt. No key is needed. */
import { useState } from "preact/hooks";
import { Card } from "../components/card.tsx";
import { Checks } from "../components/controls/checks.tsx";
import { Copyable } from "../components/controls/copyable.tsx";
import { TextField } from "../components/controls/field.tsx";
import { FileDrop } from "../components/controls/file-drop.tsx";
import { Facts } from "../components/figures/figures.tsx";
import { Money } from "../components/figures/money.tsx";
import { Clock } from "../components/figures/time.tsx";
import { Failure } from "../components/notice.tsx";
import { Page } from "../components/page.tsx";
import { quantity } from "../format/sale_units.ts";
import { useSaleUnits } from "../sale_units.ts";
import { type Outcome, verified } from "../verification.ts";

export default function Verify() {
  const [files, setFiles] = useState<File[]>([]);
  const [logKey, setLogKey] = useState("");
  const [outcome, setOutcome] = useState<Outcome>();
  const [error, setError] = useState<unknown>();

  const check = async (chosen: File[], key: string) => {
    setFiles(chosen);
    setOutcome(undefined);
    setError(undefined);
    const [file] = chosen;
    if (!file) return;
    try {
      setOutcome(await verified(await file.text(), key.trim()));
    } catch (error) {
      setError(error);
    }
  };
  return (
    <Page
      title="Verify a receipt"
      narrow
      lead="A receipt proves which machine ran a job, what the result was, and what it cost. This browser verifies it; the file is not uploaded."
    >
      <Card>
        <FileDrop
          label="Receipt"
          prompt="Drop a receipt here: a file saved from a job's page or written by aitbc receipts export"
          accept=".json,application/json"
          files={files}
          onFiles={(chosen) => void check(chosen, logKey)}
        />
        <details class="fold">
          <summary>Receipt from another network</summary>
          <TextField
            label="Public key of the log"
            help="Leave empty for this coordinator's key. A receipt from another network needs that network's key."
            placeholder="name+hash+key"
            code
            value={logKey}
            onInput={(key) => {
              setLogKey(key);
              void check(files, key);
            }}
          />
        </details>
      </Card>
      {error !== undefined && <Failure error={error} />}
      {outcome && (
        <>
          <Checks outcome={outcome} />
          <SignedStatement outcome={outcome} />
        </>
      )}
    </Page>
  );
}

/** The receipt's statement, if its signature is valid. */
function SignedStatement({ outcome: { verification } }: { outcome: Outcome }) {
  const { statement } = verification;
  const saleUnits = useSaleUnits();
  if (!statement) return null;
  return (
    <Card title="Signed by the miner">
      <Facts
        items={[
          ["Job", <Copyable key="job" text={statement.jobId} />],
          ["Miner", <Copyable key="miner" text={statement.minerId} />],
          ["Service", statement.service],
          ["Model", statement.model?.name],
          ["Ran on", statement.deviceName],
          ["Finished", <Clock key="finished" at={statement.finishedAt} />],
          ["Work", quantity(String(statement.units), saleUnits(statement.service, statement.unit))],
          ["Price", <Money key="price" amount={String(statement.price)} />],
        ]}
      />
    </Card>
  );
}
