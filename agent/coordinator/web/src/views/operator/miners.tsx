/** All miners of the network. */
import type { MinerSummary, Overview } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Pager } from "../../components/controls/pager.tsx";
import { type Secret, SecretDialog } from "../../components/controls/secret.tsx";
import { Empty } from "../../components/empty.tsx";
import { Badge } from "../../components/figures/status.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { count } from "../../format/size.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import "../../styles/machine.css";
import { AddMiner } from "./key_forms.tsx";

const SECONDS = 5;
const PAGE = 25;

export default function Miners() {
  const miners = usePolled((signal) => api("admin").admin.overview({ signal }), SECONDS);
  const [secret, setSecret] = useState<Secret | null>(null);
  return (
    <Page
      title="Miners"
      lead={miners.data && state(miners.data.miners)}
      actions={<AddMiner onMade={setSecret} />}
    >
      <Loaded from={miners} lines={6} height="2.75rem">
        {(overview) => <List {...overview} />}
      </Loaded>
      <SecretDialog secret={secret} onClose={() => setSecret(null)} />
    </Page>
  );
}

/** What an operator must know first: how many can work, and how many need a look. */
function state(miners: MinerSummary[]): string {
  const excluded = miners.filter(({ excludedAt }) => excludedAt);
  const members = miners.filter(({ excludedAt }) => !excludedAt);
  const ready = members.filter((miner) => miner.online && !miner.paused && !miner.versionProblem);
  const paused = members.filter((miner) => miner.online && miner.paused);
  const refused = members.filter(({ versionProblem }) => versionProblem);
  const offline = members.filter((miner) => !miner.online && !miner.versionProblem);
  const parts: [MinerSummary[], string][] = [
    [ready, "ready"],
    [paused, "paused"],
    [offline, "offline"],
    [refused, "refused for their version"],
    [excluded, "excluded"],
  ];
  const words = parts.flatMap(([some, word]) => (some.length > 0 ? `${count(some.length)} ${word}` : []));
  return words.length > 0 ? `${words.join(", ")}.` : "";
}

function List({ miners, versions }: Overview) {
  const [offset, setOffset] = useState(0);
  return (
    <>
      <Table
        caption="Miners"
        empty={
          <Empty icon="gpu" title="No miner has joined yet">
            Add one: you get a command to run on a machine, ideally one with a GPU.
          </Empty>
        }
        rows={miners.slice(offset, offset + PAGE)}
        rowKey={(miner) => miner.minerId}
        href={(miner) => `${BASE}/network/miners/${miner.minerId}`}
        columns={[
          { title: "Name", cell: (miner) => miner.name },
          { title: "Status", cell: (miner) => <MinerState miner={miner} />, shrink: true },
          { title: "Version", cell: (miner) => miner.agentVersion ?? "unknown", minor: true },
          { title: "GPUs", cell: gpus, minor: true },
          { title: "Services", cell: (miner) => miner.services.length, align: "end", minor: true },
          { title: "Completed", cell: (miner) => miner.completedRuns, align: "end", named: true },
          {
            title: "Failed",
            cell: (miner) => miner.failedRuns + miner.refusedResults,
            align: "end",
            named: true,
          },
          { title: "Reputation", cell: (miner) => miner.reputation.toFixed(1), align: "end", named: true },
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
  if (!miner.online) return <Badge tone="still" icon="cross" word="Offline" />;
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
