/** What a machine needs from its owner: one list, each entry with its remedy, the most urgent first. */
import type { MinerDetails } from "@aitbc/client";
import type { ComponentChildren } from "preact";
import { Coded } from "../../components/coded.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Notice, type NoticeProps } from "../../components/notice.tsx";
import { sentence, serviceName } from "../../format/names.ts";
import { plural } from "../../format/size.ts";
import { BASE } from "../../routes.ts";
import type { Role } from "../../session.ts";
import { describe } from "./commands.ts";
import { endsByHand } from "./pause.tsx";

interface Need {
  tone: NoticeProps["tone"];
  title: string;
  remedy: ComponentChildren;
}

export function Needs({ machine, by }: { machine: MinerDetails; by: Role }) {
  return (
    <div class="needs">
      {needsOf(machine, by).map(({ tone, title, remedy }) => (
        <Notice key={title} tone={tone} title={title}>
          {remedy}
        </Notice>
      ))}
    </div>
  );
}

function needsOf(machine: MinerDetails, by: Role): Need[] {
  return [...failures(machine), ...pauses(machine), ...advice(machine, by)];
}

function failures({ online, versionProblem, selftest }: MinerDetails): Need[] {
  const needs: Need[] = [];
  if (versionProblem) {
    needs.push({ tone: "bad", title: "Refused: its version does not fit", remedy: <p>{versionProblem}</p> });
  }
  if (!online) {
    needs.push({
      tone: "bad",
      title: "This machine is not connected",
      remedy: (
        <p>
          Check that the machine is on and that the agent is running (<code>aitbc-agent status</code>).
          Commands that you send now are carried out when it is back.
        </p>
      ),
    });
  }
  if (selftest && selftest.verdict !== "passed") {
    needs.push({
      tone: "bad",
      title: "It has failed its self-test",
      remedy: (
        <>
          <List texts={selftest.problems} />
          <p>
            <code>aitbc-agent selftest</code> on the machine tests it again, and says what to do.
          </p>
        </>
      ),
    });
  }
  return needs;
}

function pauses({ paused, throttledUntil }: MinerDetails): Need[] {
  const needs: Need[] = [];
  if (paused) {
    needs.push({
      tone: "wait",
      title: "Paused: accepts no new jobs",
      remedy: (
        <p>
          {sentence(paused)}
          {endsByHand(paused) ? "; press Resume when it may work again" : "; resumes by itself"}.
        </p>
      ),
    });
  }
  if (throttledUntil) {
    needs.push({
      tone: "wait",
      title: "Gets no jobs for a while",
      remedy: (
        <p>
          It has handed back too many jobs that it had accepted. It gets jobs again{" "}
          <Ago at={throttledUntil} />. <code>aitbc-agent logs</code> on the machine shows the reasons.
        </p>
      ),
    });
  }
  return needs;
}

function advice(machine: MinerDetails, by: Role): Need[] {
  const { versionAdvice, energy, unavailable, commands } = machine;
  const needs: Need[] = [];
  if (versionAdvice) {
    needs.push({ tone: "wait", title: "A newer version", remedy: <p>{versionAdvice}</p> });
  }
  if (energy && energy.unprofitable.length > 0) {
    needs.push({
      tone: "wait",
      title: "Accepts no jobs that are not worth their electricity",
      remedy: (
        <List
          texts={energy.unprofitable.map(
            ({ service, model, reason }) => `${model ?? serviceName(service)}: ${reason}`,
          )}
        />
      ),
    });
  }
  if (energy?.problem) {
    needs.push({
      tone: "wait",
      title: "The price of electricity may be an old one",
      remedy: <p>{energy.problem}</p>,
    });
  }
  const missing = Object.keys(unavailable);
  if (missing.length > 0) {
    needs.push({
      tone: "still",
      title: `Not offered: ${missing.map(serviceName).join(", ")}`,
      remedy:
        by === "miner" ? (
          <p>
            <a href={`${BASE}/machine/models?id=${machine.minerId}`}>Services</a> says what each of them
            lacks, and the command that installs it.
          </p>
        ) : (
          <List texts={Object.values(unavailable).flat()} />
        ),
    });
  }
  if (commands.length > 0) {
    needs.push({
      tone: "busy",
      title: `${plural(commands.length, "command")} not executed yet`,
      remedy: (
        <ul class="plain-list">
          {commands.map((command) => (
            <li key={command.commandId}>
              {describe(command, machine)}, <Ago at={command.createdAt} />
            </li>
          ))}
        </ul>
      ),
    });
  }
  return needs;
}

function List({ texts }: { texts: string[] }) {
  return (
    <ul class="plain-list">
      {texts.map((text) => (
        <li key={text}>
          <Coded text={text} />
        </li>
      ))}
    </ul>
  );
}
