/** Receipts: verifies one, from a file or of an own job (`?job=ID`). A file needs no key. */
import { otherNetwork } from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import { useLocation, useRoute } from "preact-iso";
import { Card } from "../components/card.tsx";
import { Button } from "../components/controls/button.tsx";
import { Conclusions } from "../components/controls/checks.tsx";
import { Copyable } from "../components/controls/copyable.tsx";
import { TextField } from "../components/controls/field.tsx";
import { FileDrop } from "../components/controls/file-drop.tsx";
import { Facts } from "../components/figures/figures.tsx";
import { Money } from "../components/figures/money.tsx";
import { Table } from "../components/figures/table.tsx";
import { Ago, Clock } from "../components/figures/time.tsx";
import { Failure } from "../components/notice.tsx";
import { Page } from "../components/page.tsx";
import { Skeleton } from "../components/skeleton.tsx";
import { Lines, Slip, Stamp } from "../components/slip.tsx";
import { jobTitle } from "../format/jobs.ts";
import { serviceName } from "../format/names.ts";
import { quantity } from "../format/sale_units.ts";
import { useJobList } from "../jobs.ts";
import { BASE } from "../routes.ts";
import { useSaleUnits } from "../sale_units.ts";
import { api, useRoles } from "../session.ts";
import { type Outcome, verified } from "../verification.ts";

/** Own jobs whose receipts are offered. */
const LATEST = 10;

export default function Verify() {
  const { job } = useRoute().query;
  const client = useRoles().includes("client");
  const { route } = useLocation();
  const [files, setFiles] = useState<File[]>([]);
  const [logKey, setLogKey] = useState("");
  const [outcome, setOutcome] = useState<Outcome>();
  const [error, setError] = useState<unknown>();
  const [checking, setChecking] = useState(false);

  const check = async (read: () => Promise<Outcome>) => {
    setOutcome(undefined);
    setError(undefined);
    setChecking(true);
    try {
      setOutcome(await read());
    } catch (error) {
      setError(error);
    }
    setChecking(false);
  };
  const checkFile = async (chosen: File[], key: string) => {
    setFiles(chosen);
    const [file] = chosen;
    if (file) await check(async () => verified(await file.text(), key.trim()));
  };
  useEffect(() => {
    if (job && client) void check(async () => verified(await api("client").receipts.export(job)));
  }, [job, client]);

  return (
    <Page
      title="Receipts"
      lead="A receipt proves which machine did a job, what came out, and what it cost. Your browser checks it by itself: the file goes nowhere, and you need not trust this coordinator."
    >
      {job ? (
        <div class="row">
          <Button href={`${BASE}/jobs/${job}`}>See the job</Button>
          <Button kind="plain" onClick={() => route(`${BASE}/verify`)}>
            Check another receipt
          </Button>
        </div>
      ) : (
        <FileDrop
          label="Receipt"
          prompt="Drop a receipt here: a file that you saved from a job's page or with aitbc receipts export"
          accept=".json,application/json"
          files={files}
          onFiles={(chosen) => void checkFile(chosen, logKey)}
        />
      )}
      {error !== undefined && <Failure error={error} />}
      {checking && <Skeleton lines={4} height="3rem" />}
      {outcome && (
        <>
          <SignedSlip outcome={outcome} />
          <Conclusions
            outcome={outcome}
            remedy={
              <TextField
                label="Log key of that network"
                help={`Ask for it where you got the receipt, or read it at the address of that network's coordinator, ${"/v1/health"}.`}
                placeholder="name+hash+key"
                code
                value={logKey}
                onInput={(key) => {
                  setLogKey(key);
                  // Half a key would hide the field that it is typed into.
                  if (isLogKey(key) || key === "") void checkFile(files, key);
                }}
              />
            }
          />
        </>
      )}
      {client && !job && !outcome && <LatestReceipts />}
    </Page>
  );
}

/** The receipts of the own jobs that were completed last; nothing until there is one. */
function LatestReceipts() {
  const jobs = useJobList({ status: "completed", limit: LATEST, offset: 0 }).data?.jobs ?? [];
  if (jobs.length === 0) return null;
  return (
    <Card
      title="Receipts of your latest jobs"
      action={<a href={`${BASE}/jobs?status=completed`}>All completed jobs</a>}
    >
      <Table
        caption="Receipts of your latest jobs"
        rows={jobs}
        rowKey={({ jobId }) => jobId}
        href={({ jobId }) => `${BASE}/verify?job=${jobId}`}
        columns={[
          { title: "Job", cell: jobTitle },
          { title: "Service", cell: ({ serviceId }) => serviceName(serviceId) },
          { title: "Cost", amount: ({ cost }) => cost },
          {
            title: "Completed",
            cell: ({ completedAt, createdAt }) => <Ago at={completedAt ?? createdAt} />,
            shrink: true,
            align: "end",
          },
        ]}
      />
    </Card>
  );
}

/** Return whether a text has the form of a log's public key. */
function isLogKey(text: string): boolean {
  return /^[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}=*$/.test(text.trim());
}

function Verdict({ outcome: { verification } }: { outcome: Outcome }) {
  if (verification.valid) return <Stamp>Verified</Stamp>;
  return <Stamp tone={otherNetwork(verification) ? "still" : "bad"}>Not verified</Stamp>;
}

/** The signed statement. */
function SignedSlip({ outcome }: { outcome: Outcome }) {
  const soldBy = useSaleUnits();
  const { statement } = outcome.verification;
  if (!statement) return null;
  return (
    <Slip
      title={serviceName(statement.service)}
      note={<Clock at={statement.finishedAt} />}
      stamp={<Verdict outcome={outcome} />}
    >
      <Facts
        items={[
          ["Job", <Copyable key="job" text={statement.jobId} noun="job's id" />],
          ["Miner", <Copyable key="miner" text={statement.minerId} noun="miner's id" />],
          ["Machine", statement.deviceName],
          ["Model", statement.model?.name],
        ]}
      />
      <Lines
        items={[]}
        total={[
          quantity(statement.units, soldBy(statement.service, statement.unit)),
          <Money key="price" amount={statement.price} />,
        ]}
      />
    </Slip>
  );
}
