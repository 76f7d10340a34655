/** All miners of the network. */
import type { MinerSummary, Overview } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Button } from "../../components/controls/button.tsx";
import { Pager } from "../../components/controls/pager.tsx";
import { Empty } from "../../components/empty.tsx";
import { Badge } from "../../components/figures/status.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";

const SECONDS = 5;
const PAGE = 25;

export default function Miners() {
  const miners = usePolled(
    (signal) => api("admin").admin.overview({ signal }),
    () => SECONDS,
  );
  return (
    <Page
      title="Miners"
      lead="The machines that run jobs, most recently seen first."
      actions={
        <Button href={`${BASE}/network/keys`} icon="add">
          Add a miner
        </Button>
      }
    >
      <Loaded from={miners} lines={6} height="2.75rem">
        {(overview) => <List {...overview} />}
      </Loaded>
    </Page>
  );
}

function List({ miners, versions }: Overview) {
  const [offset, setOffset] = useState(0);
  if (miners.length === 0) {
    return (
      <Empty
        icon="gpu"
        title="No miner has joined yet"
        action={
          <Button href={`${BASE}/network/keys`} kind="main" icon="add">
            Create an enrolment token
          </Button>
        }
      >
        To join, run <code>aitbc-agent join CODE</code> on a machine.
      </Empty>
    );
  }
  return (
    <>
      <Table
        caption="Miners"
        rows={miners.slice(offset, offset + PAGE)}
        rowKey={(miner) => miner.minerId}
        href={(miner) => `${BASE}/network/miners/${miner.minerId}`}
        columns={[
          { title: "Name", cell: (miner) => miner.name },
          { title: "Status", cell: (miner) => <MinerState miner={miner} />, shrink: true },
          { title: "Version", cell: (miner) => miner.agentVersion ?? "unknown", minor: true },
          { title: "GPUs", cell: gpus, minor: true },
          { title: "Services", cell: (miner) => miner.services.length, align: "end", minor: true },
          { title: "Completed", cell: (miner) => miner.completedRuns, align: "end" },
          { title: "Faults", cell: (miner) => miner.failedRuns + miner.refusedResults, align: "end" },
          { title: "Reputation", cell: (miner) => miner.reputation.toFixed(1), align: "end" },
          { title: "Earned", amount: (miner) => miner.totalEarned },
          { title: "Last seen", cell: (miner) => <Ago at={miner.seenAt} />, shrink: true, align: "end" },
        ]}
      />
      {/* A replica that is not upgraded yet names none. */}
      {versions?.map(({ version, miners, advice }) => (
        <p key={version}>
          {miners} with version {version ?? "unknown"}. {advice}
        </p>
      ))}
      <Pager size={PAGE} offset={offset} total={miners.length} onTurn={setOffset} />
    </>
  );
}

function MinerState({ miner }: { miner: MinerSummary }) {
  if (miner.excludedAt) return <Badge tone="bad" icon="cross" word="Excluded" />;
  if (miner.versionProblem) return <Badge tone="bad" icon="cross" word="Refused: version" />;
  if (!miner.online) return <Badge tone="bad" icon="cross" word="Offline" />;
  if (miner.throttledUntil) return <Badge tone="wait" icon="wait" word="Throttled" />;
  return miner.paused ? (
    <Badge tone="wait" icon="pause" word="Paused" />
  ) : (
    <Badge tone="good" icon="check" word="Ready" />
  );
}

/** Format the GPUs as "2 × NVIDIA RTX 4090". */
function gpus(miner: MinerSummary) {
  if (miner.gpus.length === 0) return <span class="quiet">none</span>;
  const names = new Map<string, number>();
  for (const name of miner.gpus) names.set(name, (names.get(name) ?? 0) + 1);
  return [...names].map(([name, number]) => (number > 1 ? `${number} × ${name}` : name)).join(", ");
}
