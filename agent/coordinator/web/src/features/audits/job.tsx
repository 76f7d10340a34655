/** The audit of a job: whether another miner has checked its result. */
import { Loaded } from "../../components/loaded.tsx";
import { useLoad } from "../../load.ts";
import { api } from "../../session.ts";

const WORDS = {
  pass: "Another miner has checked the result and found it right.",
  fail: "Another miner has checked the result and found it wrong.",
  unproven: "Other miners could not decide whether the result is right.",
};

export function Audit({ jobId }: { jobId: string }) {
  const audit = useLoad((signal) => api("client").audits.ofJob(jobId, { signal }), [jobId]);
  return (
    <Loaded from={audit} lines={2}>
      {({ verdict, verdictReason }) => (
        <>
          <p>{verdict ? WORDS[verdict] : "Another miner checks the result. The audit is not decided yet."}</p>
          {verdict && verdict !== "pass" && <p class="quiet">{verdictReason}</p>}
        </>
      )}
    </Loaded>
  );
}
