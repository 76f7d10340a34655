/** The audit of a job: whether another miner has checked its result. */
import { Card } from "../../components/card.tsx";
import { codeOf } from "../../errors.ts";
import { useLoad } from "../../load.ts";
import { api } from "../../session.ts";

const WORDS = {
  pass: "Another miner has checked the result and found it right.",
  fail: "Another miner has checked the result and found it wrong.",
  unproven: "Another miner has looked at the result, but could not decide.",
};

export function Audit({ jobId }: { jobId: string }) {
  const audit = useLoad(
    async (signal) => {
      try {
        return await api("client").audits.ofJob(jobId, { signal });
      } catch (error) {
        if (codeOf(error) === "NOT_FOUND") return null;
        throw error;
      }
    },
    [jobId],
  );
  if (!audit.data) return null;
  const { verdict, reason, where } = audit.data;
  return (
    <Card title="Check by another miner">
      <p>{verdict ? WORDS[verdict] : "Another miner is about to check the result."}</p>
      {verdict && verdict !== "pass" && (
        <p class="small quiet">
          {reason} {where}
        </p>
      )}
    </Card>
  );
}
