/** A machine's page: what it does, why it is idle, its GPUs, and how to pause it. */
import type { MinerDetails, MinerEarnings } from "@aitbc/client";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Empty } from "../../components/empty.tsx";
import { Facts, Figures } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Progress } from "../../components/figures/progress.tsx";
import { Badge, type BadgeProps } from "../../components/figures/status.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { Tabs } from "../../components/tabs.tsx";
import { serviceName } from "../../format/names.ts";
import { plural, size } from "../../format/size.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api, type Role } from "../../session.ts";
import "../../styles/machine.css";
import { CHART_DAYS, DayCharts, GpuChart } from "./charts.tsx";
import { Fleet } from "./fleet.tsx";
import { GpuCard } from "./gpu.tsx";
import { Idle } from "./idle.tsx";
import { Needs } from "./needs.tsx";
import { endsByHand, PauseDialog, type PauseTarget } from "./pause.tsx";
import { Reputation } from "./reputation.tsx";
import { Selftest } from "./selftest.tsx";
import { Settings } from "./settings.tsx";
import { useMachine, type Watched } from "./watch.ts";

const EARNINGS_SECONDS = 30;

export default function OwnMachine() {
  const { id } = useRoute().query;
  return <MachinePage key={id} by="miner" minerId={id} />;
}

export interface MachinePageProps {
  /** The role that the page acts in. */
  by: Role;
  /** Without one, the owner's machine. */
  minerId?: string | undefined;
  back?: { href: string; name: string };
  /** Shown below the machine. */
  children?: ComponentChildren;
}

export function MachinePage({ by, minerId, back, children }: MachinePageProps) {
  const machine = useMachine(by, minerId);
  const [pausing, setPausing] = useState<PauseTarget | null>(null);
  const data = machine.data;
  const resume = (gpu?: string) =>
    machine.send((id) => api(by).miners.resume(id, { gpu }), "Resume requested.");
  return (
    <Page
      title={data?.name ?? "Machine"}
      lead={data && <Lead machine={data} />}
      back={back}
      actions={
        data &&
        (endsByHand(data.paused) ? (
          <Button kind="main" icon="play" onClick={() => resume()}>
            Resume
          </Button>
        ) : (
          <Button kind="main" icon="pause" onClick={() => setPausing({ name: data.name })}>
            Pause
          </Button>
        ))
      }
    >
      <Loaded from={machine} lines={5} height="6rem">
        {(machine) =>
          machine ? (
            <Machine machine={machine} by={by} onPause={setPausing} onResume={resume} />
          ) : (
            <NoMachine />
          )
        }
      </Loaded>
      {children}
      <PauseDialog target={pausing} onClose={() => setPausing(null)} onPause={pauser(machine, by)} />
    </Page>
  );
}

function pauser(machine: Watched, by: Role) {
  return (target: PauseTarget, seconds: number | undefined) =>
    machine.send((id) => api(by).miners.pause(id, { gpu: target.gpu, seconds }), "Pause requested.");
}

function Lead({ machine }: { machine: MinerDetails }) {
  const { online, jobs, slots, agentVersion } = machine;
  return (
    <span class="fact-line">
      <span role="status">
        <Badge {...stateOf(machine)} />
      </span>
      {online ? (
        <span>
          {jobs.length} of {plural(slots, "job")} running
        </span>
      ) : (
        <span>
          last seen <Ago at={machine.seenAt} />
        </span>
      )}
      {agentVersion && <span>agent {agentVersion}</span>}
    </span>
  );
}

/** Answer whether the machine works. */
function stateOf({ online, paused, jobs, throttledUntil }: MinerDetails): BadgeProps {
  if (!online) return { tone: "bad", icon: "cross", word: "Offline" };
  if (paused || throttledUntil) return { tone: "wait", icon: "pause", word: paused ? "Paused" : "On hold" };
  if (jobs.length > 0) return { tone: "busy", icon: "play", word: "Working" };
  return { tone: "good", icon: "check", word: "Ready" };
}

interface MachineProps {
  machine: MinerDetails;
  /** The role that the page acts in. */
  by: Role;
  onPause: (target: PauseTarget) => void;
  onResume: (gpu?: string) => Promise<void>;
}

function Machine({ machine, by, onPause, onResume }: MachineProps) {
  const earnings = usePolled(
    (signal) => api(by).miners.earnings(machine.minerId, { days: CHART_DAYS, signal }),
    EARNINGS_SECONDS,
    [by, machine.minerId],
  );
  return (
    <div class="stack">
      {by === "miner" && <Fleet />}
      <Needs machine={machine} by={by} />
      <Numbers machine={machine} by={by} earnings={earnings.data} />
      {machine.jobs.length > 0 && (
        <Card title="Running now">
          <Running machine={machine} />
        </Card>
      )}
      <Card title="Where the last hour went">
        <Idle shares={machine.idle} />
      </Card>
      {earnings.data && <DayCharts earnings={earnings.data} />}
      <GpuChart machine={machine} by={by} />
      {machine.gpus.length > 0 ? (
        <div class="grid gpu-grid">
          {machine.gpus.map((gpu) => (
            <GpuCard
              key={gpu.uuid}
              gpu={gpu}
              onPause={() => onPause({ name: gpu.name, gpu: gpu.uuid })}
              onResume={() => onResume(gpu.uuid)}
            />
          ))}
        </div>
      ) : (
        <Notice tone="still" title="No NVIDIA GPU found">
          <p>
            The machine runs jobs on its processor, which is slower. If it has a GPU, run{" "}
            <code>aitbc-agent doctor</code> there to see what is missing.
          </p>
        </Notice>
      )}
      <Tabs
        label="About this machine"
        tabs={[
          {
            id: "reputation",
            name: "Reputation",
            content: () => <Reputation machine={machine} by={by} />,
          },
          { id: "selftest", name: "Self-test", content: () => <Selftest machine={machine} /> },
          { id: "details", name: "Details", content: () => <Details machine={machine} /> },
        ]}
      />
      {by === "admin" && <Settings machine={machine} by={by} />}
    </div>
  );
}

function Details({ machine }: { machine: MinerDetails }) {
  return (
    <Facts
      items={[
        ["Id", <Copyable key="id" text={machine.minerId} noun="miner id" />],
        ["Processor", plural(machine.cpuCores, "core")],
        ["Memory", size(machine.memory)],
        ["Free disk space", size(machine.diskFree)],
        ["Sandbox", machine.sandbox ?? "not available"],
        ["Joined", <Ago key="joined" at={machine.registeredAt} />],
      ]}
    />
  );
}

interface NumbersProps {
  machine: MinerDetails;
  by: Role;
  earnings: MinerEarnings | undefined;
}

function Numbers({ machine, by, earnings }: NumbersProps) {
  const today = earnings?.days.at(-1);
  const energy = machine.energy?.today;
  return (
    <Figures
      items={[
        {
          name: "Earned today",
          value: today ? <Money amount={today.amount} /> : "\u2026",
          note:
            energy?.net && machine.energy?.price !== null ? (
              <>
                <Money amount={energy.net} /> after electricity
              </>
            ) : (
              today && plural(today.jobs, "job")
            ),
          href: by === "miner" ? `${BASE}/machine/earnings` : undefined,
        },
        { name: "Total earned", value: <Money amount={machine.totalEarned} /> },
        { name: "Reputation", value: machine.reputation.toFixed(1), note: "of 5" },
        {
          name: "Services offered",
          value: machine.services.length,
          note: missing(machine),
          href: by === "miner" ? `${BASE}/machine/models?id=${machine.minerId}` : undefined,
        },
      ]}
    />
  );
}

function missing(machine: MinerDetails): string | undefined {
  const count = Object.keys(machine.unavailable).length;
  return count > 0 ? `${count} unavailable` : undefined;
}

function Running({ machine }: { machine: MinerDetails }) {
  return (
    <Table
      caption="Running jobs"
      rows={machine.jobs}
      rowKey={(job) => job.jobId}
      columns={[
        { title: "Service", cell: (job) => serviceName(job.serviceId) },
        {
          title: "Job",
          cell: (job) => <Copyable text={job.jobId} noun="job id" />,
        },
        { title: "Progress", cell: (job) => <Progress label="Progress" value={job.progress} /> },
        {
          title: "Started",
          cell: (job) => job.startedAt && <Ago at={job.startedAt} />,
          shrink: true,
          align: "end",
        },
      ]}
    />
  );
}

function NoMachine() {
  return (
    <Empty icon="machine" title="No machine belongs to this key">
      Start an agent with <code>aitbc-agent start</code>. The link that it prints signs you in as its owner.
    </Empty>
  );
}
