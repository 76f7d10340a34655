/** The marketplace for clients: what miners offer, by service or by miner, and market statistics. */
import type { MarketMiner, Service } from "@aitbc/client";
import { SelectField } from "../../components/controls/field.tsx";
import { Segments } from "../../components/controls/segments.tsx";
import { Empty } from "../../components/empty.tsx";
import { Figures } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { useFilters } from "../../filters.ts";
import { serviceName } from "../../format/names.ts";
import { count } from "../../format/size.ts";
import { duration } from "../../format/time.ts";
import { isJobUpdate, isTrade, useReload } from "../../jobs.ts";
import { useLoad } from "../../load.ts";
import { usePolled } from "../../poll.ts";
import { api, publicApi } from "../../session.ts";
import { MinerGroup, ServiceGroup } from "./client_groups.tsx";
import { type Grouping, grouped, rowsOf } from "./client_rows.ts";

const MOST = 200;
/** Miners appear and disappear without an event. */
const POLL_SECONDS = 20;

const GROUPINGS = [
  { value: "service", label: "By service" },
  { value: "miner", label: "By miner" },
];

export default function Market() {
  const [filters, setFilters] = useFilters();
  const type = filters.type ?? "";
  const by: Grouping = filters.by === "miner" ? "miner" : "service";
  const services = useLoad((signal) => publicApi().registry.services({ signal }));
  const market = usePolled(
    async (signal) => {
      const { marketplace } = api("client");
      const [{ offers }, { miners }] = await Promise.all([
        marketplace.offers({ jobType: type || undefined, limit: MOST, signal }),
        marketplace.miners({ limit: MOST, signal }),
      ]);
      return { offers, miners };
    },
    () => POLL_SECONDS,
    [type],
  );
  useReload("client", market.reload, isTrade);
  const known = services.data?.services ?? [];
  return (
    <Page
      title="Marketplace"
      lead="What miners offer now, cheapest first. Choose one to submit a job to it; other jobs go to the cheapest miner that can run them."
    >
      <Statistics />
      <div class="filters">
        <Segments
          label="Group offers"
          value={by}
          onInput={(by) => setFilters({ by: by === "miner" ? by : undefined })}
          options={GROUPINGS}
        />
        <SelectField
          label="Service"
          quiet
          value={type}
          onInput={(type) => setFilters({ type })}
          options={[
            { value: "", label: "All services" },
            ...known.map(({ serviceId }) => ({ value: serviceId, label: serviceName(serviceId) })),
          ]}
        />
      </div>
      <Loaded from={market} lines={6} height="2.75rem">
        {({ offers, miners }) =>
          offers.length > 0 ? (
            <Groups rows={rowsOf(offers, miners)} by={by} services={known} miners={miners} />
          ) : (
            <Empty icon="market" title="No offers">
              No online miner offers this. New offers appear here automatically.
            </Empty>
          )
        }
      </Loaded>
    </Page>
  );
}

interface GroupsProps {
  rows: ReturnType<typeof rowsOf>;
  by: Grouping;
  services: Service[];
  miners: MarketMiner[];
}

function Groups({ rows, by, services, miners }: GroupsProps) {
  const units = new Map(services.map((service) => [service.serviceId, service]));
  return grouped(rows, by, services).map(({ id, rows }) =>
    by === "service" ? (
      <ServiceGroup key={id} jobType={id} rows={rows} units={units} />
    ) : (
      <MinerGroup
        key={id}
        minerId={id}
        miner={miners.find(({ minerId }) => minerId === id)}
        rows={rows}
        units={units}
      />
    ),
  );
}

function Statistics() {
  const stats = useLoad((signal) => api("client").marketplace.stats({ signal }));
  useReload("client", stats.reload, isJobUpdate);
  return (
    <Loaded from={stats} lines={1} height="5rem">
      {(stats) => (
        <Figures
          items={[
            { name: "Miners online", value: count(stats.activeMiners) },
            { name: "Active jobs", value: count(stats.activeJobs) },
            { name: "Completed", value: count(stats.completedJobs) },
            { name: "Failed", value: count(stats.failedJobs) },
            {
              name: "Typical time",
              value: stats.completedJobs > 0 ? duration(stats.averageCompletionTime) : "\u2013",
            },
            { name: "Total paid", value: <Money amount={stats.totalVolume} /> },
          ]}
        />
      )}
    </Loaded>
  );
}
