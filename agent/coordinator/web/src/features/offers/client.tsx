/** Prices for clients: what each service costs, and which machines offer it. */
import type { Service } from "@aitbc/client";
import { Empty } from "../../components/empty.tsx";
import { Price } from "../../components/figures/money.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { ServiceFilter } from "../../components/service-filter.tsx";
import { useFilters } from "../../filters.ts";
import { CURRENCY } from "../../format/money.ts";
import { serviceName } from "../../format/names.ts";
import { thing } from "../../format/sale_units.ts";
import { count } from "../../format/size.ts";
import { isTrade, useReload } from "../../jobs.ts";
import { usePolled } from "../../poll.ts";
import { BASE } from "../../routes.ts";
import { api, publicApi } from "../../session.ts";
import { ACTION, Offers } from "./client_offers.tsx";
import { rowsOf } from "./client_rows.ts";

const MOST = 200;
/** Miners appear and disappear without an event. */
const POLL_SECONDS = 20;

export default function Market() {
  const [filters, setFilters] = useFilters();
  const type = filters.type ?? "";
  const services = usePolled((signal) => publicApi().registry.services({ signal }), POLL_SECONDS);
  const market = usePolled(
    async (signal) => {
      const { marketplace } = api("client");
      const [{ offers }, { miners }] = await Promise.all([
        marketplace.offers({ jobType: type || undefined, limit: MOST, signal }),
        marketplace.miners({ limit: MOST, signal }),
      ]);
      return { offers, miners };
    },
    POLL_SECONDS,
    [type],
  );
  useReload("client", market.reload, isTrade);
  const known = services.data?.services ?? [];
  return (
    <Page
      title="Prices"
      lead="What jobs cost now. A job goes to the cheapest machine that can run it, unless you choose one."
    >
      <Loaded from={services} lines={6} height="2.75rem">
        {({ services }) => <Services services={services} />}
      </Loaded>
      <section class="stack" aria-labelledby="machines">
        <h2 id="machines">Choose the machine yourself</h2>
        <div class="filters">
          <ServiceFilter value={type} onInput={(type) => setFilters({ type })} />
        </div>
        <Loaded from={market} lines={6} height="2.75rem">
          {({ offers, miners }) =>
            offers.length > 0 ? (
              <Offers rows={rowsOf(offers, miners, known)} services={known} />
            ) : (
              <Empty icon="market" title="Nobody offers this now">
                Machines that come online appear here by themselves.
              </Empty>
            )
          }
        </Loaded>
      </section>
    </Page>
  );
}

/** What each service costs, in what people buy. Each row leads to its form. */
function Services({ services }: { services: Service[] }) {
  return (
    <Table
      caption="Prices of services"
      rows={services}
      rowKey={({ serviceId }) => serviceId}
      href={({ serviceId }) => `${BASE}/new/${serviceId}`}
      columns={[
        { title: "Service", cell: ({ serviceId }) => serviceName(serviceId) },
        { title: "Per", cell: (service) => thing(service) },
        {
          title: `Cheapest (${CURRENCY})`,
          cell: (service) =>
            service.price ? (
              <Price unitPrice={service.price.lowest} of={service} bare />
            ) : (
              <span class="quiet">nobody offers it now</span>
            ),
          align: "end",
          named: true,
        },
        {
          title: `Typical (${CURRENCY})`,
          cell: (service) => service.price && <Price unitPrice={service.price.typical} of={service} bare />,
          align: "end",
          minor: true,
        },
        { title: "Machines", cell: ({ minersOnline }) => count(minersOnline), align: "end", named: true },
        ACTION,
      ]}
    />
  );
}
