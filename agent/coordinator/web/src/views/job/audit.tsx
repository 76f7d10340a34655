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
  unproven: "Another miner has compared the result, but could not decide.",
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
    <Card title="Check by another miner">
      <div role="status">
        {audit === null && <p>No other miner checks this result.</p>}
        {audit && (
          <p>{audit.verdict ? WORDS[audit.verdict] : "Another miner is about to check the result."}</p>
        )}
        {audit?.verdict && audit.verdict !== "pass" && <p class="small quiet">{audit.reason}</p>}
      </div>
      {!audit && (
        <div class="row">
          <Button size="small" icon="verify" onClick={ask}>
            Was it checked?
          </Button>
          <span class="small quiet">A share of all jobs is, and every job that asks for it.</span>
        </div>
      )}
    </Card>
  );
}
