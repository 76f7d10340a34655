/** What a machine needs from its owner: one list, each entry with its remedy, the most urgent first. */
import type { MinerDetails } from "@aitbc/client";
import { Coded } from "../../components/coded.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Notice } from "../../components/notice.tsx";
import { sentence, serviceName } from "../../format/names.ts";
import { plural } from "../../format/size.ts";
import { BASE } from "../../routes.ts";
import type { Role } from "../../session.ts";
import { describe } from "./commands.ts";
import { endsByHand } from "./pause.tsx";

export function Needs({ machine, by }: { machine: MinerDetails; by: Role }) {
  return (
    <div class="stack" data-gap="2">
      <Failures machine={machine} />
      <Pauses machine={machine} />
      <Advice machine={machine} />
      <NotOffered machine={machine} by={by} />
      <WaitingCommands machine={machine} />
    </div>
  );
}

function Failures({ machine: { online, versionProblem, selftest } }: { machine: MinerDetails }) {
  return (
    <>
      {versionProblem && (
        <Notice tone="bad" title="Refused: its version does not fit">
          <p>{versionProblem}</p>
        </Notice>
      )}
      {!online && (
        <Notice tone="bad" title="This machine is not connected">
          <p>
            Check that the machine is on and that the agent is running (<code>aitbc-agent status</code>).
            Commands that you send now are carried out when it is back.
          </p>
        </Notice>
      )}
      {selftest && selftest.verdict !== "passed" && (
        <Notice tone="bad" title="It has failed its self-test">
          <List texts={selftest.problems} />
          <p>
            <code>aitbc-agent selftest</code> on the machine tests it again, and says what to do.
          </p>
        </Notice>
      )}
    </>
  );
}

function Pauses({ machine: { paused, throttledUntil } }: { machine: MinerDetails }) {
  return (
    <>
      {paused && (
        <Notice tone="wait" title="Paused: accepts no new jobs">
          <p>
            {sentence(paused)}
            {endsByHand(paused) ? "; press Resume when it may work again" : "; resumes by itself"}.
          </p>
        </Notice>
      )}
      {throttledUntil && (
        <Notice tone="wait" title="Gets no jobs for a while">
          <p>
            It has handed back too many jobs that it had accepted. It gets jobs again{" "}
            <Ago at={throttledUntil} />. <code>aitbc-agent logs</code> on the machine shows the reasons.
          </p>
        </Notice>
      )}
    </>
  );
}

function Advice({ machine: { versionAdvice, energy } }: { machine: MinerDetails }) {
  const unprofitable = energy?.unprofitable ?? [];
  const reasons = unprofitable.map(
    ({ service, model, reason }) => `${model ?? serviceName(service)}: ${reason}`,
  );
  return (
    <>
      {versionAdvice && (
        <Notice tone="wait" title="A newer version">
          <p>{versionAdvice}</p>
        </Notice>
      )}
      {reasons.length > 0 && (
        <Notice tone="wait" title="Accepts no jobs that are not worth their electricity">
          <List texts={reasons} />
        </Notice>
      )}
      {energy?.problem && (
        <Notice tone="wait" title="The price of electricity may be an old one">
          <p>{energy.problem}</p>
        </Notice>
      )}
    </>
  );
}

function NotOffered({ machine: { minerId, unavailable }, by }: { machine: MinerDetails; by: Role }) {
  const services = Object.keys(unavailable);
  if (services.length === 0) return null;
  return (
    <Notice tone="still" title={`Not offered: ${services.map(serviceName).join(", ")}`}>
      {by === "miner" ? (
        <p>
          <a href={`${BASE}/machine/models?id=${minerId}`}>Services</a> says what each of them lacks, and the
          command that installs it.
        </p>
      ) : (
        <List texts={Object.values(unavailable).flat()} />
      )}
    </Notice>
  );
}

function WaitingCommands({ machine }: { machine: MinerDetails }) {
  const { commands } = machine;
  if (commands.length === 0) return null;
  return (
    <Notice tone="busy" title={`${plural(commands.length, "command")} not executed yet`}>
      <ul class="stack" data-gap="1">
        {commands.map((command) => (
          <li key={command.commandId}>
            {describe(command, machine)}, <Ago at={command.createdAt} />
          </li>
        ))}
      </ul>
    </Notice>
  );
}

function List({ texts }: { texts: string[] }) {
  return (
    <ul class="stack" data-gap="1">
      {texts.map((text) => (
        <li key={text}>
          <Coded text={text} />
        </li>
      ))}
    </ul>
  );
}
