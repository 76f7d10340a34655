/** All audits: which results were checked, with what outcome; and the jobs with known answers. */
import type { Audit, AuditList, Canary } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { SelectField, TextField } from "../../components/controls/field.tsx";
import { Form } from "../../components/controls/form.tsx";
import { Older, useOlder } from "../../components/controls/older.tsx";
import { Segments } from "../../components/controls/segments.tsx";
import { Empty } from "../../components/empty.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { notify } from "../../components/toast.tsx";
import { useFilters } from "../../filters.ts";
import { serviceName } from "../../format/names.ts";
import { plural } from "../../format/size.ts";
import { useLoad } from "../../load.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { KINDS, VERDICTS, Verdict } from "./parts.tsx";

const SECONDS = 10;
const PAGE = 50;

export default function Audits() {
  const [{ verdict = "", miner = "" }, change] = useFilters();
  const asked = { verdict: (verdict || undefined) as Audit["verdict"], minerId: miner || undefined };
  const audits = usePolled(
    (signal) => api("admin").audits.list({ ...asked, limit: PAGE, signal }),
    () => SECONDS,
    [verdict, miner],
  );
  const miners = useLoad((signal) => api("admin").miners.list({ signal }));
  const names = new Map((miners.data?.miners ?? []).map(({ minerId, name }) => [minerId, name]));
  return (
    <Page
      title="Audits"
      lead="Other miners check a share of all finished jobs. One failed audit alone has no consequences."
    >
      <div class="filters">
        <Segments
          label="Verdict"
          value={verdict}
          onInput={(verdict) => change({ verdict })}
          options={VERDICTS}
        />
        <SelectField
          label="Miner"
          quiet
          value={miner}
          onInput={(miner) => change({ miner })}
          options={[
            { value: "", label: "All miners" },
            ...[...names].map(([value, label]) => ({ value, label })),
          ]}
        />
      </div>
      <Loaded from={audits} lines={6} height="2.75rem">
        {(page) => <List key={`${verdict} ${miner}`} page={page} asked={asked} names={names} />}
      </Loaded>
      <Canaries />
    </Page>
  );
}

interface ListProps {
  page: AuditList;
  asked: { verdict: Audit["verdict"] | undefined; minerId: string | undefined };
  names: Map<string, string>;
}

function List({ page, asked, names }: ListProps) {
  const list = useOlder(
    page,
    (before) => api("admin").audits.list({ ...asked, limit: PAGE, before }),
    ({ audits }) => audits,
  );
  if (list.rows.length === 0) {
    return (
      <Empty icon="verify" title={asked.verdict || asked.minerId ? "No matching audits" : "No audits yet"}>
        {!(asked.verdict || asked.minerId) &&
          "Audits need a miner of another owner, and a service whose results can be compared."}
      </Empty>
    );
  }
  return (
    <>
      <Table
        caption="Audits"
        rows={list.rows}
        rowKey={(audit) => audit.auditId}
        href={(audit) => `${BASE}/network/audits/${audit.auditId}`}
        columns={[
          { title: "Miner", cell: ({ minerId }) => names.get(minerId) ?? minerId },
          {
            title: "Service",
            cell: ({ service, model }) => (
              <span>
                {serviceName(service)} {model && <span class="quiet">{model}</span>}
              </span>
            ),
          },
          { title: "Kind", cell: ({ kind }) => KINDS[kind], minor: true },
          { title: "Verdict", cell: (audit) => <Verdict audit={audit} />, shrink: true },
          {
            title: "Forfeited",
            amount: ({ enforced, forfeited }) => (enforced ? forfeited : undefined),
          },
          { title: "Created", cell: ({ createdAt }) => <Ago at={createdAt} />, shrink: true, align: "end" },
        ]}
      />
      <Older list={list} />
    </>
  );
}

function Canaries() {
  const canaries = useLoad((signal) => api("admin").audits.canaries({ signal }));
  const [jobId, setJobId] = useState("");
  const [note, setNote] = useState("");
  const [error, setError] = useState<string>();
  const send = async () => {
    if (!jobId.trim()) return setError("Enter the id of a completed job, such as job_1234567890.");
    setError(undefined);
    await api("admin").audits.createCanary(jobId.trim(), { note });
    setJobId("");
    setNote("");
    canaries.reload();
    notify("The job will be submitted again at random moments.");
  };
  return (
    <Card title="Canaries: jobs with known answers">
      <p class="small quiet">
        The coordinator submits a completed job with a known answer again at random moments, and compares the
        results of miners with that answer.
      </p>
      <Form inline action="Add" icon="add" onSend={send}>
        <TextField label="Job id" required code value={jobId} onInput={setJobId} error={error} />
        <TextField label="How you know the answer" value={note} onInput={setNote} maxLength={200} />
      </Form>
      <Loaded from={canaries} lines={2}>
        {({ canaries: list }) => <CanaryTable canaries={list} reload={canaries.reload} />}
      </Loaded>
    </Card>
  );
}

function CanaryTable({ canaries, reload }: { canaries: Canary[]; reload: () => void }) {
  if (canaries.length === 0) return null;
  const remove = async (canary: Canary) => {
    const text = "Its job is no longer submitted. Its past audits remain.";
    if (!(await ask({ title: "Remove this canary?", text, action: "Remove" }))) return;
    await api("admin").audits.deleteCanary(canary.canaryId);
    reload();
  };
  return (
    <Table
      caption="Canaries"
      rows={canaries}
      rowKey={({ canaryId }) => canaryId}
      columns={[
        { title: "Service", cell: ({ service, model }) => `${serviceName(service)} ${model ?? ""}` },
        { title: "Note", cell: ({ note }) => note },
        { title: "Job", cell: ({ jobId }) => <a href={`${BASE}/network/jobs/${jobId}`}>{jobId}</a> },
        { title: "Submitted", cell: ({ submitted }) => plural(submitted, "time"), align: "end" },
        {
          title: "Remove",
          action: (canary) => (
            <Button
              size="small"
              kind="danger"
              label={`Remove the canary of ${canary.jobId}`}
              onClick={() => remove(canary)}
            >
              Remove
            </Button>
          ),
        },
      ]}
    />
  );
}
