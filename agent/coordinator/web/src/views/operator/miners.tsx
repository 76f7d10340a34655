/** All miners of the network. */
import type { MinerDetails, MinerList } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Button } from "../../components/controls/button.tsx";
import { Pager } from "../../components/controls/pager.tsx";
import { Empty } from "../../components/empty.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { Skeleton } from "../../components/skeleton.tsx";
import { plural } from "../../format/size.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { MachineState } from "../owner/machine.tsx";

const SECONDS = 5;
const PAGE = 25;

export default function Miners() {
  const [offset, setOffset] = useState(0);
  const miners = usePolled(
    (signal) => api("admin").miners.list({ limit: PAGE, offset, signal }),
    () => SECONDS,
    [offset],
  );
  return (
    <Page
      title="Miners"
      lead="The machines that run jobs, newest first."
      actions={
        <Button href={`${BASE}/network/keys`} icon="add">
          Add a miner
        </Button>
      }
    >
      <Loaded from={miners} skeleton={<Skeleton lines={6} height="2.75rem" />}>
        {(list) => <List list={list} onTurn={setOffset} />}
      </Loaded>
    </Page>
  );
}

function List({ list, onTurn }: { list: MinerList; onTurn: (offset: number) => void }) {
  if (list.total === 0) {
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
        To join, run <code>aitbc-agent start --coordinator ADDRESS --enroll TOKEN</code> on a machine.
      </Empty>
    );
  }
  return (
    <>
      <Table
        caption="Miners"
        rows={list.miners}
        rowKey={(miner) => miner.minerId}
        href={(miner) => `${BASE}/network/miners/${miner.minerId}`}
        columns={[
          { title: "Name", cell: (miner) => miner.name },
          { title: "Status", cell: (miner) => <MachineState machine={miner} />, shrink: true },
          { title: "GPUs", cell: gpus },
          { title: "Running", cell: (miner) => `${miner.jobs.length} of ${miner.slots}`, align: "end" },
          { title: "Services", cell: (miner) => miner.services.length, align: "end" },
          { title: "Reputation", cell: (miner) => miner.reputation.toFixed(1), align: "end" },
          { title: "Earned", cell: (miner) => <Money amount={miner.totalEarned} />, align: "end" },
          { title: "Last seen", cell: (miner) => <Ago at={miner.seenAt} />, shrink: true, align: "end" },
        ]}
      />
      <Pager size={PAGE} offset={list.offset} total={list.total} onTurn={onTurn} />
    </>
  );
}

/** Format the GPUs as "2 × NVIDIA RTX 4090", or the cores if there is none. */
function gpus(miner: MinerDetails) {
  if (miner.gpus.length === 0) return <span class="quiet">{plural(miner.cpuCores, "core")}, no GPU</span>;
  const names = new Map<string, number>();
  for (const { name } of miner.gpus) names.set(name, (names.get(name) ?? 0) + 1);
  return [...names].map(([name, number]) => (number > 1 ? `${number} × ${name}` : name)).join(", ");
}
