/** What machines offer, one row each. A row leads to a new job for its offer. */
import type { Offer, Service } from "@aitbc/client";
import { Price } from "../../components/figures/money.tsx";
import { type Column, Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Icon } from "../../components/icon.tsx";
import { cores, memory, serviceName } from "../../format/names.ts";
import { count, plural } from "../../format/size.ts";
import { BASE } from "../../routes.ts";
import type { MarketRow } from "./client_rows.ts";

export const ACTION = {
  title: "Action",
  action: () => (
    <span class="row-action" aria-hidden="true">
      New job <Icon name="forward" />
    </span>
  ),
};

/** Columns that are shown if any row has a value. */
const SOMETIMES: { value: (row: MarketRow) => unknown; column: Column<MarketRow> }[] = [
  { value: ({ service }) => service?.models.length, column: { title: "Models", cell: models } },
  { value: ({ service }) => service?.speed, column: { title: "Speed", cell: speed, align: "end" } },
  {
    value: ({ offer }) => !offer.standing,
    column: { title: "Ends", cell: ({ offer }) => <Ends offer={offer} />, align: "end", shrink: true },
  },
];

export function Offers({ rows, services }: { rows: MarketRow[]; services: Service[] }) {
  const byId = new Map(services.map((service) => [service.serviceId, service]));
  const nameOf = (jobType: string) => (byId.has(jobType) ? serviceName(jobType) : jobType);
  return (
    <Table
      caption="Offers of machines"
      rows={rows}
      rowKey={({ offer }) => offer.offerId}
      href={({ offer: { offerId, jobType } }) =>
        `${BASE}/new${byId.has(jobType) ? `/${jobType}?offer=${offerId}` : ""}`
      }
      columns={[
        { title: "Service", cell: ({ offer }) => nameOf(offer.jobType) },
        {
          title: "Machine",
          cell: ({ offer, miner }) => <span title={offer.minerId}>{miner?.name ?? offer.minerId}</span>,
        },
        { title: "Card", cell: card, minor: true },
        ...SOMETIMES.filter(({ value }) => rows.some(value)).map(({ column }) => column),
        { title: "Reputation", cell: ({ offer }) => reputation(offer.reputation), align: "end" },
        {
          title: "Price",
          cell: ({ offer }) => <Price unitPrice={offer.price} of={byId.get(offer.jobType) ?? {}} />,
          align: "end",
        },
        ACTION,
      ]}
    />
  );
}

function card({ offer: { requirements }, miner }: MarketRow) {
  const parts = [
    miner?.gpus.join(", ") || (miner && "no GPU"),
    requirements.minGpuMemory && `${memory(requirements.minGpuMemory)} GPU memory`,
    requirements.minCpu && `${cores(requirements.minCpu)} CPUs`,
  ];
  return <span class="quiet">{parts.filter(Boolean).join(", ")}</span>;
}

function models({ service }: MarketRow) {
  const names = service?.models ?? [];
  if (names.length === 0) return null;
  return names.length === 1 ? (
    names[0]
  ) : (
    <span title={names.join("\n")}>{plural(names.length, "model")}</span>
  );
}

function speed({ service }: MarketRow) {
  if (!service?.speed) return null;
  const { metric, value } = service.speed;
  return `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} ${metric}`;
}

function reputation(value: number | undefined): string {
  return value === undefined ? "new" : `${value.toFixed(1)} of 5`;
}

function Ends({ offer }: { offer: Offer }) {
  if (offer.standing) return <span class="quiet">no end</span>;
  return (
    <span>
      {offer.jobsLeft !== undefined && `${count(offer.jobsLeft)} left, `}
      {offer.expiresAt && <Ago at={offer.expiresAt} />}
    </span>
  );
}
