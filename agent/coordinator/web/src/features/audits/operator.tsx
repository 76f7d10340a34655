/** All audits: which results were checked, with what outcome; and the jobs with known answers (canaries). */
import type { Audit, AuditList, Canary, CanaryList } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { SelectField, TextField } from "../../components/controls/field.tsx";
import { FormButton } from "../../components/controls/form-dialog.tsx";
import { Menu } from "../../components/controls/menu.tsx";
import { Older } from "../../components/controls/older.tsx";
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
  const audits = usePolled((signal) => api("admin").audits.list({ ...asked, limit: PAGE, signal }), SECONDS, [
    verdict,
    miner,
  ]);
  const miners = useLoad((signal) => api("admin").miners.list({ signal }));
  const canaries = useLoad((signal) => api("admin").audits.canaries({ signal }));
  const names = new Map((miners.data?.miners ?? []).map(({ minerId, name }) => [minerId, name]));
  return (
    <Page
      title="Audits"
      lead={audits.data && answer(audits.data, asked.verdict)}
      actions={<NewCanary onAdded={canaries.reload} />}
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
        {(page) => (
          <Older
            key={`${verdict} ${miner}`}
            newest={page}
            read={(before) => api("admin").audits.list({ ...asked, limit: PAGE, before })}
            rowsOf={({ audits }) => audits}
          >
            {(audits) => <AuditTable audits={audits} filtered={Boolean(verdict || miner)} names={names} />}
          </Older>
        )}
      </Loaded>
      <Canaries canaries={canaries} />
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

interface AuditTableProps {
  audits: Audit[];
  filtered: boolean;
  names: Map<string, string>;
}

function AuditTable({ audits, filtered, names }: AuditTableProps) {
  return (
    <Table
      caption="Audits"
      empty={
        <Empty icon="verify" title={filtered ? "No matching audits" : "No audits yet"}>
          {!filtered && "Audits need a miner of another owner, and a service whose results can be compared."}
        </Empty>
      }
      rows={audits}
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
        { title: "Forfeited", amount: ({ enforced, forfeited }) => (enforced ? forfeited : undefined) },
        { title: "Created", cell: ({ createdAt }) => <Ago at={createdAt} />, shrink: true, align: "end" },
      ]}
    />
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

function NewCanary({ onAdded }: { onAdded: () => void }) {
  const add = async (jobId: string, note: string) => {
    await api("admin").audits.createCanary(jobId, { note });
    onAdded();
    notify("The job will be submitted again at random moments.");
  };
  return (
    <FormButton
      title="Add a known answer"
      action="Add"
      kind="normal"
      icon="add"
      initial={{ job_id: "", note: "" }}
      ready={({ job_id }) => job_id.trim() !== ""}
      onSend={({ job_id, note }) => add(job_id.trim(), note)}
    >
      {(field) => (
        <>
          <TextField
            label="Job id"
            required
            code
            {...field("job_id")}
            placeholder="job_1234567890"
            help="Of a completed job whose result is right. Miners are compared with that result."
          />
          <TextField label="How you know the answer" {...field("note")} maxLength={200} />
        </>
      )}
    </FormButton>
  );
}

function CanaryTable({ canaries, reload }: { canaries: Canary[]; reload: () => void }) {
  const remove = async (canary: Canary) => {
    const text = "Its job is no longer submitted. Its past audits remain.";
    if (!(await ask({ title: "Remove this known answer?", text, action: "Remove" }))) return;
    await api("admin").audits.deleteCanary(canary.canaryId);
    reload();
  };
  return (
    <Table
      caption="Known answers"
      empty={<p class="quiet">None yet.</p>}
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
