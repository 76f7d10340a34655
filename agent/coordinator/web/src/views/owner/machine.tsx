/** A machine's page: what it does, why it is idle, its GPUs, and how to pause it. */
import type { MinerDetails } from "@aitbc/client";
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
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { sentence, serviceName } from "../../format/names.ts";
import { plural, size } from "../../format/size.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api, type Role } from "../../session.ts";
import "../../styles/machine.css";
import { describe } from "./commands.ts";
import { Energy } from "./energy.tsx";
import { Fleet } from "./fleet.tsx";
import { GpuCard } from "./gpu.tsx";
import { Idle } from "./idle.tsx";
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
          <Button icon="pause" onClick={() => setPausing({ name: data.name })}>
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
  if (!machine.online) {
    return (
      <>
        Offline; last seen <Ago at={machine.seenAt} />.
      </>
    );
  }
  return <>Online{machine.agentVersion && `, agent ${machine.agentVersion}`}.</>;
}

interface MachineProps {
  machine: MinerDetails;
  /** The role that the page acts in. */
  by: Role;
  onPause: (target: PauseTarget) => void;
  onResume: (gpu?: string) => Promise<void>;
}

function Machine({ machine, by, onPause, onResume }: MachineProps) {
  return (
    <div class="stack">
      {by === "miner" && <Fleet />}
      {machine.versionProblem && (
        <Notice tone="bad" title="Refused: its version does not fit">
          <p>{machine.versionProblem}</p>
        </Notice>
      )}
      {machine.versionAdvice && <Notice tone="wait">{machine.versionAdvice}</Notice>}
      <State machine={machine} />
      <Numbers machine={machine} by={by} />
      {machine.energy && <Energy energy={machine.energy} />}
      <Card title="Where the last hour went">
        <Idle shares={machine.idle} />
      </Card>
      <Card title="Running now" note={`${machine.jobs.length} of ${plural(machine.slots, "slot")} in use`}>
        <Running machine={machine} />
      </Card>
      <section class="stack" aria-labelledby="gpus">
        <h2 id="gpus">GPUs</h2>
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
      </section>
      <Selftest machine={machine} />
      <Reputation machine={machine} by={by} />
      <Card title="The machine">
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
      </Card>
      {by === "admin" && <Settings machine={machine} by={by} />}
    </div>
  );
}

function State({ machine }: { machine: MinerDetails }) {
  return (
    <>
      {!machine.online && (
        <Notice tone="bad" title="This machine is not connected">
          <p>
            Check that the machine is on and that the agent is running (<code>aitbc-agent status</code>).
            Commands that you send now are carried out when it is back.
          </p>
        </Notice>
      )}
      {machine.paused && (
        <Notice tone="wait" title="Paused: accepts no new jobs">
          <p>
            {sentence(machine.paused)}
            {!endsByHand(machine.paused) && "; resumes automatically"}.
          </p>
        </Notice>
      )}
      {machine.throttledUntil && (
        <Notice tone="wait" title="Gets no jobs for a while">
          <p>
            It has handed back too many jobs that it had accepted. It gets jobs again{" "}
            <Ago at={machine.throttledUntil} />. The log of its agent has the reasons.
          </p>
        </Notice>
      )}
      {machine.commands.length > 0 && (
        <Notice tone="busy" title={`${plural(machine.commands.length, "command")} not executed yet`}>
          <ul class="plain-list">
            {machine.commands.map((command) => (
              <li key={command.commandId}>
                {describe(command, machine)}, <Ago at={command.createdAt} />
              </li>
            ))}
          </ul>
        </Notice>
      )}
    </>
  );
}

function Numbers({ machine, by }: { machine: MinerDetails; by: Role }) {
  const earned = usePolled(
    (signal) => api(by).miners.earnings(machine.minerId, { days: 1, signal }),
    () => EARNINGS_SECONDS,
    [by, machine.minerId],
  );
  const today = earned.data?.days.at(-1);
  return (
    <Figures
      items={[
        {
          name: "Earned today",
          value: today ? <Money amount={today.amount} /> : "\u2026",
          note: today && plural(today.jobs, "job"),
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
  if (machine.jobs.length === 0) {
    return <p class="quiet">No job is running.</p>;
  }
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
