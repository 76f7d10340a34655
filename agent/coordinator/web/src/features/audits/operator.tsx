/** All audits: which results were checked, with what outcome; and the jobs with known answers (canaries). */
import type { Audit, AuditList, Canary, CanaryList } from "@aitbc/client";
import { useEffect, useState } from "preact/hooks";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { SelectField, TextField } from "../../components/controls/field.tsx";
import { FormDialog } from "../../components/controls/form-dialog.tsx";
import { Menu } from "../../components/controls/menu.tsx";
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
import { type Loading, useLoad } from "../../load.ts";
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
  const canaries = useLoad((signal) => api("admin").audits.canaries({ signal }));
  const [adding, setAdding] = useState(false);
  const names = new Map((miners.data?.miners ?? []).map(({ minerId, name }) => [minerId, name]));
  return (
    <Page
      title="Audits"
      lead={audits.data && answer(audits.data, asked.verdict)}
      actions={
        <Button icon="add" onClick={() => setAdding(true)}>
          Add a known answer
        </Button>
      }
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
      <Canaries canaries={canaries} />
      <NewCanary open={adding} onClose={() => setAdding(false)} onAdded={canaries.reload} />
    </Page>
  );
}

/** Return in one sentence what the newest audits have shown. */
function answer({ audits, next }: AuditList, verdict: Audit["verdict"] | undefined): string {
  const about = "Other miners check a share of all finished jobs.";
  if (verdict || audits.length === 0) return `${about} One failed audit alone has no consequences.`;
  const failed = audits.filter((audit) => audit.verdict === "fail");
  const punished = failed.filter(({ enforced }) => enforced).length;
  const open = audits.filter(({ status }) => status !== "decided").length;
  const of = next ? `the latest ${plural(audits.length, "audit")}` : plural(audits.length, "audit");
  const outcome =
    failed.length === 0
      ? `None of ${of} failed`
      : `${failed.length} of ${of} failed, ${punished === 0 ? "none" : punished} with consequences for the miner`;
  return `${outcome}${open > 0 ? `; ${open} not decided yet` : ""}.`;
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
          { title: "Why", cell: ({ kind }) => KINDS[kind], minor: true },
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

function Canaries({ canaries }: { canaries: Loading<CanaryList> }) {
  return (
    <Card title="Known answers" note="also called canaries">
      <p class="small quiet">
        Jobs whose right answer you know. The coordinator submits them again at random moments, so that no
        miner recognises them, and compares what comes back.
      </p>
      <Loaded from={canaries} lines={2}>
        {({ canaries: list }) => <CanaryTable canaries={list} reload={canaries.reload} />}
      </Loaded>
    </Card>
  );
}

interface NewCanaryProps {
  open: boolean;
  onClose: () => void;
  onAdded: () => void;
}

function NewCanary({ open, onClose, onAdded }: NewCanaryProps) {
  const [jobId, setJobId] = useState("");
  const [note, setNote] = useState("");
  useEffect(() => {
    setJobId("");
    setNote("");
  }, [open]);
  const add = async () => {
    await api("admin").audits.createCanary(jobId.trim(), { note });
    onAdded();
    notify("The job will be submitted again at random moments.");
  };
  return (
    <FormDialog
      title="Add a known answer"
      action="Add"
      icon="add"
      open={open}
      onClose={onClose}
      onSend={add}
      disabled={!jobId.trim()}
    >
      {(errors) => (
        <>
          <TextField
            label="Job id"
            required
            code
            value={jobId}
            onInput={setJobId}
            placeholder="job_1234567890"
            help="Of a completed job whose result is right. Miners are compared with that result."
            error={errors.job_id}
          />
          <TextField
            label="How you know the answer"
            value={note}
            onInput={setNote}
            maxLength={200}
            error={errors.note}
          />
        </>
      )}
    </FormDialog>
  );
}

function CanaryTable({ canaries, reload }: { canaries: Canary[]; reload: () => void }) {
  if (canaries.length === 0) return <p class="quiet">None yet.</p>;
  const remove = async (canary: Canary) => {
    const text = "Its job is no longer submitted. Its past audits remain.";
    if (!(await ask({ title: "Remove this known answer?", text, action: "Remove" }))) return;
    await api("admin").audits.deleteCanary(canary.canaryId);
    reload();
  };
  return (
    <Table
      caption="Known answers"
      rows={canaries}
      rowKey={({ canaryId }) => canaryId}
      columns={[
        { title: "Service", cell: ({ service, model }) => `${serviceName(service)} ${model ?? ""}` },
        { title: "Note", cell: ({ note }) => note },
        { title: "Job", cell: ({ jobId }) => <a href={`${BASE}/network/jobs/${jobId}`}>{jobId}</a> },
        { title: "Submitted", cell: ({ submitted }) => plural(submitted, "time"), align: "end" },
        {
          title: "Actions",
          action: (canary) => (
            <Menu
              label={`Actions for ${canary.note || canary.jobId}`}
              brief
              items={[{ name: "Remove", icon: "trash", danger: true, act: () => remove(canary) }]}
            />
          ),
        },
      ]}
    />
  );
}
