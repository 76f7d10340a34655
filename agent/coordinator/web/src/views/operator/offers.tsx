/** All active offers. */
import { useState } from "preact/hooks";
import { SelectField } from "../../components/controls/field.tsx";
import { Empty } from "../../components/empty.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { serviceName } from "../../format/names.ts";
import { useGathered } from "../../jobs.ts";
import { useLive } from "../../live.ts";
import { useLoad } from "../../load.ts";
import { BASE } from "../../routes.ts";
import { api, publicApi } from "../../session.ts";
import { jobType, OfferState } from "../owner/offers.tsx";

const MOST = 200;

export default function AllOffers() {
  const [type, setType] = useState("");
  const services = useLoad((signal) => publicApi().registry.services({ signal }));
  const offers = useLoad(
    (signal) => api("admin").marketplace.offers({ jobType: type || undefined, limit: MOST, signal }),
    [type],
  );
  const reload = useGathered(offers.reload);
  useLive("admin", (event) => {
    if (event.type === "marketplace_update" || event.type === "resync") reload();
  });
  const options = [
    { value: "", label: "All services" },
    ...(services.data?.services ?? []).map(({ serviceId }) => ({
      value: serviceId,
      label: serviceName(serviceId),
    })),
  ];
  return (
    <Page
      title="All offers"
      back={{ href: `${BASE}/network`, name: "Network" }}
      lead={`Prices that miners ask now, cheapest first, at most ${MOST}.`}
    >
      <div class="filters">
        <SelectField label="Service" quiet value={type} onInput={setType} options={options} />
      </div>
      <Loaded from={offers} lines={6} height="2.75rem">
        {({ offers: list }) =>
          list.length > 0 ? (
            <Table
              caption="Offers"
              rows={list}
              rowKey={(offer) => offer.offerId}
              columns={[
                { title: "For", cell: jobType },
                { title: "Price per unit", amount: (offer) => offer.price },
                {
                  title: "Miner",
                  cell: ({ minerId }) => <a href={`${BASE}/network/miners/${minerId}`}>{minerId}</a>,
                },
                { title: "Reputation", cell: (offer) => offer.reputation?.toFixed(1), align: "end" },
                { title: "Jobs left", cell: (offer) => offer.jobsLeft ?? "unlimited", align: "end" },
                {
                  title: "Ends",
                  cell: (offer) => (offer.expiresAt ? <Ago at={offer.expiresAt} /> : "never"),
                },
                { title: "Status", cell: (offer) => <OfferState offer={offer} />, shrink: true },
              ]}
            />
          ) : (
            <Empty icon="market" title="No offers">
              Online miners offer their configured prices; owners can create further offers.
            </Empty>
          )
        }
      </Loaded>
    </Page>
  );
}
