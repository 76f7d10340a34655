/** What a machine like the own one earns in an hour and a day online, before and after electricity, and from how many jobs. */
import type { MinerEnergy, MinerOutlook } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Figures } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Table } from "../../components/figures/table.tsx";
import { computed, digits } from "../../format/money.ts";
import { serviceName } from "../../format/names.ts";
import { count, plural } from "../../format/size.ts";
import { useLoad } from "../../load.ts";
import { api } from "../../session.ts";

type Range = NonNullable<MinerOutlook["perHour"]>;

export function Outlook({ minerId }: { minerId: string }) {
  const loaded = useLoad(
    async (signal) => {
      const { miners } = api("miner");
      const [outlook, machine] = await Promise.all([
        miners.outlook(minerId, { signal }),
        miners.get(minerId, { signal }),
      ]);
      return { outlook, left: leftOf(machine.energy) };
    },
    [minerId],
  );
  return loaded.data ? <Shown {...loaded.data} /> : null;
}

function Shown({ outlook, left }: { outlook: MinerOutlook; left: number | undefined }) {
  const { perHour, perDay, services } = outlook;
  if (!perHour || !perDay) {
    return (
      <Card title="What a machine like this earns">
        <p>{outlook.missing}</p>
      </Card>
    );
  }
  const basis = `${plural(outlook.jobs, "paid job")} of ${plural(outlook.machines, "machine")} with ${outlook.hardware} in ${outlook.days} days`;
  return (
    <Card title="What a machine like this earns" note={`From ${basis}`}>
      <Figures
        items={[
          { name: "An hour online", value: <Span range={perHour} />, note: note(perHour, left) },
          { name: "A day online", value: <Span range={perDay} />, note: note(perDay, left) },
        ]}
      />
      <Table
        caption="What an hour online earned, by service"
        rows={services}
        rowKey={({ serviceId }) => serviceId}
        columns={[
          { title: "Service", cell: ({ serviceId }) => serviceName(serviceId) },
          { title: "Paid jobs", cell: ({ jobs }) => count(jobs), align: "end" },
          { title: "Earned an hour", amount: (service) => service.perHour },
        ]}
      />
    </Card>
  );
}

function Span({ range: { low, high } }: { range: Range }) {
  const from = digits(low);
  return (
    <>
      {from !== digits(high) && `${from} to `}
      <Money amount={high} />
    </>
  );
}

function note({ typical }: Range, left: number | undefined) {
  return (
    <>
      on average <Money amount={typical} />
      {left === undefined ? (
        ", before electricity"
      ) : (
        <>
          , <Money amount={computed(Number(typical) * left)} /> after electricity
        </>
      )}
    </>
  );
}

/** Return the share of this month's earnings that this machine's electricity has left; undefined if it is not known. */
function leftOf(energy: MinerEnergy | null | undefined): number | undefined {
  const month = energy?.month;
  // Without measured electricity of a known price, nothing was taken off.
  if (!month || month.net === null || month.kwh === 0 || Number(month.earned) === 0) return undefined;
  return Number(month.net) / Number(month.earned);
}
