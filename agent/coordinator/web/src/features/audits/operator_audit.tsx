/** One audit: what was compared, with what outcome, and its digest in the log. */
import type { Audit } from "@aitbc/client";
import { useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Facts } from "../../components/figures/figures.tsx";
import { Clock } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { serviceName } from "../../format/names.ts";
import { useLoad } from "../../load.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { Comparison, KINDS, Verdict } from "./parts.tsx";

const OPEN_SECONDS = 5;
const DECIDED_SECONDS = 3600;
const OPINIONS = { pass: "Passed", fail: "Failed", unproven: "Unproven" };
const AUDITS = `${BASE}/network/audits`;

export default function AuditPage() {
  const { id = "" } = useRoute().params;
  const audit = usePolled(
    (signal) => api("admin").audits.get(id, { signal }),
    (data) => (data?.status === "decided" ? DECIDED_SECONDS : OPEN_SECONDS),
    [id],
  );
  const { data } = audit;
  return (
    <Page
      title={data ? `Audit of ${serviceName(data.service).toLowerCase()}` : "Audit"}
      back={{ href: AUDITS, name: "Audits" }}
      lead={
        data && (
          <span class="row">
            <Verdict audit={data} />
            {KINDS[data.kind]}
            <Copyable text={data.auditId} />
          </span>
        )
      }
    >
      <Loaded from={audit} lines={4} height="4rem">
        {(audit) => <Details audit={audit} />}
      </Loaded>
    </Page>
  );
}

/** Return the outcome in one sentence, or what the audit waits for. */
function answer({ status, verdict, opinion, kind, enforced }: Audit): string {
  if (status === "waiting") return "No other miner has compared the results yet.";
  if (status === "running") return "Another miner is comparing the results.";
  const expected = kind === "canary" ? "the known answer" : "what another miner computed";
  switch (verdict ?? opinion) {
    case "pass":
      return `The result agrees with ${expected}.`;
    case "fail":
      return `The result differs from ${expected}. ${enforced ? "The miner lost its pay for this job, and reputation." : "One failed audit alone has no consequences."}`;
    default:
      return "Whether the result is right could not be decided.";
  }
}

function Details({ audit }: { audit: Audit }) {
  return (
    <>
      <Card title="Comparison">
        <p>{answer(audit)}</p>
        {audit.status === "decided" && <Comparison audit={audit} />}
      </Card>
      <Card title="Details">
        <Facts
          items={[
            [
              "Miner",
              <a key="miner" href={`${BASE}/network/miners/${audit.minerId}`}>
                {audit.minerId}
              </a>,
            ],
            [
              "Job",
              <a key="job" href={`${BASE}/network/jobs/${audit.jobId}`}>
                {audit.jobId}
              </a>,
            ],
            ["Receipt", <Copyable key="receipt" text={audit.receiptId} noun="receipt id" />],
            ["Model", audit.model],
            ["Created", <Clock key="created" at={audit.createdAt} />],
            [
              "Part of",
              audit.parent && (
                <a key="parent" href={`${AUDITS}/${audit.parent}`}>
                  {audit.parent}
                </a>
              ),
            ],
            [
              "This auditor's opinion",
              audit.opinion !== audit.verdict && audit.opinion && OPINIONS[audit.opinion],
            ],
            [
              "Digest in the log",
              <span key="digest">
                <Copyable text={audit.comparisonSha256} noun="digest" /> <DigestCheck audit={audit} />
              </span>,
            ],
          ]}
        />
        <p class="small quiet">
          The verdict is in the <a href={`${BASE}/network/log`}>log</a>, so that nobody can change it later.
          Its digest covers the distances, limits, position and reason above.
        </p>
      </Card>
    </>
  );
}

/** Computes the digest of the comparison in this browser. */
function DigestCheck({ audit }: { audit: Audit }) {
  const own = useLoad(
    async () => (await import("../../verifying.ts")).comparisonSha256(audit),
    [audit.comparisonSha256],
  );
  if (own.data === undefined) return null;
  const agrees = own.data === audit.comparisonSha256;
  return <>{agrees ? "agrees with the comparison above" : "differs from the comparison above"}</>;
}
