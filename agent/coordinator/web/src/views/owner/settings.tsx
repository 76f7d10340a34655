/** How to change what only the machine itself can change: prices, the schedule, and engines. */
import type { MinerDetails } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";

export function Settings({ machine }: { machine: MinerDetails }) {
  const services = machine.services.slice(0, 2);
  const prices = services.map(({ serviceId, unitPrice }) => `${serviceId} = "${unitPrice}"`);
  return (
    <Card title="Prices, schedule and engines">
      <p>
        These settings are changed on the machine, in the file that <code>aitbc-agent config show</code>{" "}
        names; they apply from the agent's next start. <code>aitbc-agent config check</code> finds mistakes.
      </p>
      <dl class="facts">
        <dt>Prices</dt>
        <dd>
          <Copyable text="aitbc-agent bench --apply" noun="command" /> benchmarks the machine and sets a price
          for each service. Or write them into the file:
          <Lines of={["[miner.prices]", ...prices]} />
        </dd>
        <dt>Schedule</dt>
        <dd>
          Times at which the machine accepts no jobs; for now, use “Pause” on the machine's page.
          <Lines of={["[miner.pause]", 'schedule = ["Mon-Fri 09:00-18:00"]']} />
        </dd>
        <dt>Engines</dt>
        <dd>
          <Copyable text="aitbc-agent engines list" noun="command" /> shows faster engines for the services,
          and <code>aitbc-agent engines install NAME</code> installs one.
        </dd>
      </dl>
    </Card>
  );
}

function Lines({ of }: { of: string[] }) {
  return (
    <div class="secret">
      {of.map((line) => (
        <div key={line}>{line}</div>
      ))}
    </div>
  );
}
