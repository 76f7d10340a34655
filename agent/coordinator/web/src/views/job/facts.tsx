/** What one line says about a job: its state, service, miner, duration, cost and age. */
import type { Job } from "@aitbc/client";
import { Money } from "../../components/figures/money.tsx";
import { Badge, Status } from "../../components/figures/status.tsx";
import { Ago, now } from "../../components/figures/time.tsx";
import { secondsOf } from "../../format/jobs.ts";
import { serviceName, shortId } from "../../format/names.ts";
import { duration } from "../../format/time.ts";
import { useLoad } from "../../load.ts";
import { api, type Role } from "../../session.ts";
import { useStore } from "../../store.ts";

export interface FactLineProps {
  job: Job;
  sealed?: boolean;
  /** The role that the page acts in. */
  by?: Role;
}

export function FactLine({ job, sealed = false, by = "client" }: FactLineProps) {
  const took = secondsOf(job);
  const ended = job.completedAt ?? job.failedAt ?? job.cancelledAt;
  return (
    <span class="fact-line">
      <span role="status">
        <Status state={job.status} />
      </span>
      {sealed && <Badge tone="good" icon="lock" word="Sealed" />}
      <span>{serviceName(job.serviceId)}</span>
      {job.minerId && (
        <span>
          on <MinerName minerId={job.minerId} by={by} />
        </span>
      )}
      {job.status === "running" && job.startedAt && <RunningFor since={job.startedAt} />}
      {took !== undefined && <span>took {duration(took)}</span>}
      {ended && job.cost !== undefined && (
        <span>
          {Number(job.cost) > 0 ? (
            <>
              cost <Money amount={job.cost} />
            </>
          ) : (
            "cost nothing"
          )}
        </span>
      )}
      <span>
        {ended ? "" : "submitted "}
        <Ago at={ended ?? job.createdAt} />
      </span>
    </span>
  );
}

function RunningFor({ since }: { since: string }) {
  const seconds = useStore(now, (now) => Math.max(0, Math.floor((now - Date.parse(since)) / 1000)));
  return <span>running for {duration(seconds)}</span>;
}

/** A miner's name, or its id shortened if it is not in the market any more. */
export function MinerName({ minerId, by }: { minerId: string; by: Role }) {
  const market = useLoad((signal) => api(by).marketplace.miners({ signal }));
  const miner = market.data?.miners.find((miner) => miner.minerId === minerId);
  return <span title={minerId}>{miner?.name ?? shortId(minerId)}</span>;
}
