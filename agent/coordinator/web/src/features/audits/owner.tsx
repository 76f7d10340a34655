/** The audits of an owner's machine: the evidence of each, and the request for a second opinion. */
import type { Audit, MinerAudits } from "@aitbc/client";
import { useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { Older } from "../../components/controls/older.tsx";
import { Empty } from "../../components/empty.tsx";
import { Ago, Clock } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { notify } from "../../components/toast.tsx";
import { serviceName } from "../../format/names.ts";
import { usePolled } from "../../poll.ts";
import { api } from "../../session.ts";
import { ownMiner } from "../../views/owner/watch.ts";
import { Comparison, KINDS, Proofs, Verdict } from "./parts.tsx";

const SECONDS = 20;
const PAGE = 20;

export default function OwnAudits() {
  const { id } = useRoute().query;
  const audits = usePolled(
    async (signal) => {
      const minerId = id || (await ownMiner(signal));
      return { minerId, page: await api("miner").audits.ofMiner(minerId, { limit: PAGE, signal }) };
    },
    SECONDS,
    [id],
  );
  return (
    <Page
      title="Audits"
      lead="Other miners check a share of your finished jobs: all jobs of a new machine, then fewer with every pass."
    >
      <Loaded from={audits} lines={4} height="4rem">
        {({ minerId, page }) => <Shown minerId={minerId} page={page} reload={audits.reload} />}
      </Loaded>
    </Page>
  );
}

interface ShownProps {
  minerId: string;
  page: MinerAudits;
  reload: () => void;
}

function Shown({ minerId, page, reload }: ShownProps) {
  if (page.audits.length === 0) {
    return (
      <Empty icon="verify" title="No audit of this machine has been decided">
        Nobody knows in advance which jobs are checked. Audits cost the machine nothing.
      </Empty>
    );
  }
  return (
    <>
      {page.proofs.length > 0 && (
        <Card title="Audit record">
          <Proofs proofs={page.proofs} />
        </Card>
      )}
      <section class="stack" aria-labelledby="decided">
        <h2 id="decided">Decided audits</h2>
        <Older
          newest={page}
          read={(before) => api("miner").audits.ofMiner(minerId, { limit: PAGE, before })}
          rowsOf={({ audits }) => audits}
        >
          {(audits) =>
            audits.map((audit) => (
              <Decided key={audit.auditId} audit={audit} minerId={minerId} reload={reload} />
            ))
          }
        </Older>
      </section>
    </>
  );
}

function Decided({ audit, minerId, reload }: { audit: Audit } & Omit<ShownProps, "page">) {
  return (
    <details class="card fold audit" open={audit.verdict === "fail" || undefined}>
      <summary>
        <Verdict audit={audit} /> {serviceName(audit.service)}{" "}
        <span class="quiet small">
          {audit.model && `${audit.model}, `}
          {KINDS[audit.kind].toLowerCase()}, <Ago at={audit.decidedAt ?? audit.createdAt} />
        </span>
      </summary>
      <div class="stack">
        <Comparison audit={audit} />
        <p class="small quiet">
          Job <Copyable text={audit.jobId} noun="job id" />
        </p>
        {audit.secondOpinionUntil && Date.parse(audit.secondOpinionUntil) > Date.now() && (
          <SecondOpinion audit={audit} until={audit.secondOpinionUntil} minerId={minerId} reload={reload} />
        )}
      </div>
    </details>
  );
}

interface SecondOpinionProps {
  audit: Audit;
  until: string;
  minerId: string;
  reload: () => void;
}

function SecondOpinion({ audit, until, minerId, reload }: SecondOpinionProps) {
  const request = async () => {
    const text =
      "Another auditor compares the result again. You can ask once for each audit, and it costs nothing.";
    if (!(await ask({ title: "Ask for a second opinion?", text, action: "Ask", harmless: true }))) return;
    await api("miner").audits.askForSecondOpinion(minerId, audit.auditId);
    notify("Another auditor will compare the result.");
    reload();
  };
  return (
    <div class="row">
      <Button onClick={request}>Ask for a second opinion</Button>
      <span class="small quiet">
        Possible until <Clock at={until} />. If it passes, this audit counts as unproven.
      </span>
    </div>
  );
}
