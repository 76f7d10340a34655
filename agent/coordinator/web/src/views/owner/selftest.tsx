/** A machine's latest self-test, as the machine reports it. */
import type { MinerDetails, MinerSelftest } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Facts } from "../../components/figures/figures.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Notice } from "../../components/notice.tsx";
import { size } from "../../format/size.ts";

export function Selftest({ machine }: { machine: MinerDetails }) {
  const { selftest } = machine;
  if (!selftest) {
    return (
      <Card title="Self-test">
        <p>
          The machine has not tested itself yet. It does when it is idle; <code>aitbc-agent selftest</code>{" "}
          does at once.
        </p>
      </Card>
    );
  }
  const passed = selftest.verdict === "passed";
  return (
    <Card title="Self-test" note={<Ago at={selftest.beganAt} />}>
      <Notice tone={passed ? "good" : "bad"} title={passed ? "Passed" : "Failed"}>
        {selftest.problems.length > 0 && (
          <ul class="stack" data-gap="1">
            {selftest.problems.map((problem) => (
              <li key={problem}>{problem}</li>
            ))}
          </ul>
        )}
        {!passed && (
          <p>
            <code>aitbc-agent selftest</code> on the machine says what to do.
          </p>
        )}
      </Notice>
      <Facts items={facts(selftest.figures)} />
      {selftest.cards.map((card) => (
        <section key={card.uuid} aria-label={`Self-test of ${name(machine, card.uuid)}`}>
          <h3>{name(machine, card.uuid)}</h3>
          <Facts items={facts(card.figures)} />
        </section>
      ))}
    </Card>
  );
}

function name(machine: MinerDetails, uuid: string): string {
  return machine.gpus.find((gpu) => gpu.uuid === uuid)?.name ?? uuid;
}

type Figures = MinerSelftest["figures"];

const SHOWN: [string, string, (value: number) => string][] = [
  ["memory_checked", "Memory tested", size],
  ["upload", "To the card", (speed) => `${size(speed)}/s`],
  ["download", "From the card", (speed) => `${size(speed)}/s`],
  ["clock", "Clock under load", (clock) => `${clock} MHz`],
  ["temperature", "Hottest", (degrees) => `${degrees} °C`],
  ["power", "Most power", (watts) => `${Math.round(watts)} W`],
  ["encoded", "Encoding 720p", (pictures) => `${Math.round(pictures)} pictures/s`],
  ["decoded", "Decoding 720p", (pictures) => `${Math.round(pictures)} pictures/s`],
];

function facts(figures: Figures): [string, string | undefined][] {
  return SHOWN.map(([key, title, shown]) => {
    const value = figures[key];
    return [title, value === undefined ? undefined : shown(value)];
  });
}
