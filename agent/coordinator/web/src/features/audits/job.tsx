/** The audit of a job: whether another miner has checked its result. */
import type { Audit as Found } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { codeOf } from "../../errors.ts";
import { api } from "../../session.ts";

const WORDS = {
  pass: "Another miner has checked the result and found it right.",
  fail: "Another miner has checked the result and found it wrong.",
  unproven: "Other miners could not decide whether the result is right.",
};

export function Audit({ jobId }: { jobId: string }) {
  const [audit, setAudit] = useState<Found | null>();
  const ask = async () => {
    try {
      setAudit(await api("client").audits.ofJob(jobId));
    } catch (error) {
      if (codeOf(error) !== "NOT_FOUND") throw error;
      setAudit(null);
    }
  };
  return (
    <Card title="Audit">
      <div role="status">
        {audit === null && <p>This result is not audited.</p>}
        {audit && <p>{audit.verdict ? WORDS[audit.verdict] : "The audit is not decided yet."}</p>}
        {audit?.verdict && audit.verdict !== "pass" && <p class="small quiet">{audit.verdictReason}</p>}
      </div>
      {!audit && (
        <div class="row">
          <Button size="small" icon="verify" onClick={ask}>
            Was it audited?
          </Button>
          <span class="small quiet">
            Other miners check the results of a share of all jobs, and of every job that requests it.
          </span>
        </div>
      )}
    </Card>
  );
}
