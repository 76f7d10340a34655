/** What a machine's reputation follows from: the outcome of its runs, and of the audits of its results. */
import type { MinerDetails } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { Proofs } from "../../features/audits/parts.tsx";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api, type Role } from "../../session.ts";

const SECONDS = 60;

/** Where the audits of a machine are listed, for its owner or for an administrator. */
export function auditsOf(minerId: string, by: Role): string {
  return by === "miner" ? `${BASE}/machine/audits?id=${minerId}` : `${BASE}/network/audits?miner=${minerId}`;
}

export function Reputation({ machine: { minerId, reputation }, by }: { machine: MinerDetails; by: Role }) {
  const { data } = usePolled((signal) => api(by).audits.ofMiner(minerId, { limit: 1, signal }), SECONDS, [
    by,
    minerId,
  ]);
  return (
    <Card
      title="Reputation"
      note={`${reputation.toFixed(1)} of 5`}
      action={
        <Button size="small" href={auditsOf(minerId, by)}>
          All audits
        </Button>
      }
    >
      <p class="small quiet">
        It rises with accepted results, and falls with runs that fail through the machine's fault and with
        results that audits prove wrong. No client's jobs weigh more than 20 runs, and the weight of a run
        halves every 30 days.
      </p>
      {data && data.proofs.length > 0 ? (
        <Proofs proofs={data.proofs} />
      ) : (
        data && <p class="quiet">No audit of its results has been decided yet.</p>
      )}
    </Card>
  );
}
