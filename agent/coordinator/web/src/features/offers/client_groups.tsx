/** The offers of one service, and those of one miner. Each row leads to a new job for its offer. */
import type { MarketMiner, Offer } from "@aitbc/client";
import { Price } from "../../components/figures/money.tsx";
import { type Column, Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Icon } from "../../components/icon.tsx";
import { CURRENCY } from "../../format/money.ts";
import { cores, memory, serviceName } from "../../format/names.ts";
import { type Sold, thing } from "../../format/sale_units.ts";
import { count, plural } from "../../format/size.ts";
import { BASE } from "../../routes.ts";
import { SERVICE_ICONS } from "../../views/new/tiles.tsx";
import type { MarketRow } from "./client_rows.ts";

/** What the work of a service is counted by, by service id. */
type Units = Map<string, Sold>;

export function ServiceGroup({ jobType, rows, units }: { jobType: string; rows: MarketRow[]; units: Units }) {
  const sold = soldBy(jobType, units);
  return (
    <section class="stack market-group" aria-labelledby={`market-${jobType}`}>
      <div class="row">
        <Icon name={SERVICE_ICONS[jobType] ?? "jobs"} />
        <h2 id={`market-${jobType}`}>{jobName(jobType, units)}</h2>
      </div>
      <Table
        caption={`Offers for ${jobName(jobType, units)}, cheapest first`}
        rows={rows}
        rowKey={({ offer }) => offer.offerId}
        href={(row) => newJob(row.offer, units)}
        columns={[
          { title: "Miner", cell: (row) => <MinerName row={row} /> },
          { title: "Machine", cell: machine, minor: true },
          { title: "Models", cell: models },
          { title: "Speed", cell: speed, align: "end" },
          { title: "Reputation", cell: ({ offer }) => reputation(offer.reputation), align: "end" },
          {
            title: `Price (${CURRENCY} per ${thing(sold)})`,
            cell: ({ offer }) => <Price unitPrice={offer.price} of={sold} bare />,
            align: "end",
          },
          ...LAST,
        ]}
      />
    </section>
  );
}

interface MinerGroupProps {
  minerId: string;
  miner: MarketMiner | undefined;
  rows: MarketRow[];
  units: Units;
}

export function MinerGroup({ minerId, miner, rows, units }: MinerGroupProps) {
  const name = miner?.name ?? minerId;
  return (
    <section class="stack market-group" aria-labelledby={`market-${minerId}`}>
      <div class="row">
        <Icon name="machine" />
        <h2 id={`market-${minerId}`}>{name}</h2>
        <span class="quiet small">
          {[miner?.gpus.join(", "), `reputation ${reputation(rows[0]?.offer.reputation)}`]
            .filter(Boolean)
            .join(" \u00b7 ")}
        </span>
      </div>
      <Table
        caption={`Offers of ${name}`}
        rows={rows}
        rowKey={({ offer }) => offer.offerId}
        href={(row) => newJob(row.offer, units)}
        columns={[
          { title: "Service", cell: ({ offer }) => jobName(offer.jobType, units) },
          { title: "Models", cell: models },
          { title: "Speed", cell: speed, align: "end" },
          {
            title: "Price",
            cell: ({ offer }) => <Price unitPrice={offer.price} of={soldBy(offer.jobType, units)} />,
            align: "end",
          },
          ...LAST,
        ]}
      />
    </section>
  );
}

/** When the offer ends, and what a click does. The row itself is the link. */
const LAST: Column<MarketRow>[] = [
  { title: "Ends", cell: ({ offer }) => <Ends offer={offer} />, align: "end", shrink: true },
  {
    title: "Action",
    action: () => (
      <span class="row-action" aria-hidden="true">
        New job <Icon name="forward" />
      </span>
    ),
  },
];

function newJob({ offerId, jobType }: Offer, units: Units): string {
  return `${BASE}/new${units.has(jobType) ? `/${jobType}?offer=${offerId}` : ""}`;
}

/** An offer is for a service or for jobs of any name. */
function jobName(jobType: string, units: Units): string {
  return units.has(jobType) ? serviceName(jobType) : jobType;
}

function soldBy(jobType: string, units: Units): Sold {
  return units.get(jobType) ?? {};
}

function MinerName({ row: { offer, miner } }: { row: MarketRow }) {
  return <span title={offer.minerId}>{miner?.name ?? offer.minerId}</span>;
}

function machine({ offer: { requirements }, miner }: MarketRow) {
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
  if (!service?.speed) return <span class="quiet">not measured</span>;
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
