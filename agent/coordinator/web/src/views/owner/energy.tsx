/** What is left of a machine's earnings after its electricity, as the machine reports it. */
import type { MinerEnergy } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Table } from "../../components/figures/table.tsx";

export function Energy({ energy }: { energy: MinerEnergy }) {
  return (
    <Card title="After electricity" note={price(energy)}>
      <Table
        caption="Earnings and electricity, by UTC day and month"
        rows={[energy.today, energy.month]}
        rowKey={(period) => period.period}
        columns={[
          { title: "", cell: (period) => (period === energy.today ? "Today" : "This month") },
          { title: "Earned", cell: (period) => <Money amount={period.earned} /> },
          { title: "Electricity", cell: (period) => amount(period.electricity) },
          { title: "Left", cell: (period) => amount(period.net) },
          { title: "Energy of jobs", cell: (period) => kwh(period.kwh), align: "end" },
          { title: "Without jobs", cell: (period) => kwh(period.idleKwh), align: "end" },
        ]}
      />
    </Card>
  );
}

function price({ price, currency }: MinerEnergy): string {
  return price === null ? "The price of electricity is not set" : `${price} ${currency ?? "credits"} per kWh`;
}

function amount(credits: string | null) {
  return credits === null ? "unknown" : <Money amount={credits} />;
}

function kwh(energy: number): string {
  return energy < 0.1 ? `${(energy * 1000).toPrecision(3)} Wh` : `${energy.toFixed(3)} kWh`;
}
