/** What was sealed of a job, and whether this browser can open it. */
import type { JobDetails } from "@aitbc/client";
import { Facts } from "../../components/figures/figures.tsx";
import { Notice } from "../../components/notice.tsx";
import { useLoad } from "../../load.ts";

export function Sealing({ sealed }: { sealed: NonNullable<JobDetails["sealed"]> }) {
  const own = useLoad(async () => (await import("./keys.ts")).isOwn(sealed.replyKey), [sealed.replyKey]);
  return (
    <>
      {own.data === false && (
        <Notice tone="wait" title="Sealed in another browser or program">
          <p>Only that browser or program has the key to its result. Open the job there.</p>
        </Notice>
      )}
      <p class="small quiet">
        Its input, result and log are encrypted between this browser and the miner; the coordinator sees only
        encrypted data.
      </p>
      <Facts
        items={[
          ["Model", sealed.model ?? undefined],
          ["Miner's key", sealed.keyId],
        ]}
      />
    </>
  );
}
