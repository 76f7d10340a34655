/** All active offers. */
import type { Offer } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Empty } from "../../components/empty.tsx";
import { Price } from "../../components/figures/money.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { ServiceFilter } from "../../components/service-filter.tsx";
import { plural } from "../../format/size.ts";
import { isTrade, useReload } from "../../jobs.ts";
import { useLoad } from "../../load.ts";
import { BASE } from "../../routes.ts";
import { useSaleUnits } from "../../sale_units.ts";
import { api } from "../../session.ts";
import { jobType, OfferState } from "./owner.tsx";

const MOST = 200;

export default function AllOffers() {
  const [type, setType] = useState("");
  const offers = useLoad(
    (signal) => api("admin").marketplace.offers({ jobType: type || undefined, limit: MOST, signal }),
    [type],
  );
  useReload("admin", offers.reload, isTrade);
  const miners = useLoad((signal) => api("admin").miners.list({ signal }));
  const names = new Map((miners.data?.miners ?? []).map(({ minerId, name }) => [minerId, name]));
  const saleUnits = useSaleUnits();
  return (
    <Page
      title="Offers"
      back={{ href: `${BASE}/network`, name: "Network" }}
      lead={offers.data && answer(offers.data.offers)}
    >
      <div class="filters">
        <ServiceFilter value={type} onInput={setType} />
      </div>
      <Loaded from={offers} lines={6} height="2.75rem">
        {({ offers: list }) => (
          <Table
            caption="Offers"
            empty={
              <Empty icon="market" title="No offers">
                Online miners offer their configured prices; owners can create further offers.
              </Empty>
            }
            rows={list}
            rowKey={(offer) => offer.offerId}
            columns={[
              { title: "For", cell: jobType },
              {
                title: "Price",
                cell: (offer) => <Price unitPrice={offer.price} of={saleUnits(offer.jobType)} />,
                align: "end",
              },
              {
                title: "Miner",
                cell: ({ minerId }) => (
                  <a href={`${BASE}/network/miners/${minerId}`}>{names.get(minerId) ?? minerId}</a>
                ),
              },
              { title: "Reputation", cell: (offer) => offer.reputation?.toFixed(1), align: "end" },
              { title: "Jobs left", cell: (offer) => offer.jobsLeft ?? "unlimited", align: "end" },
              { title: "Ends", cell: (offer) => (offer.expiresAt ? <Ago at={offer.expiresAt} /> : "never") },
              { title: "Status", cell: (offer) => <OfferState offer={offer} />, shrink: true },
            ]}
          />
        )}
      </Loaded>
    </Page>
  );
}

/** Return in one sentence who offers how much. */
function answer(offers: Offer[]): string {
  if (offers.length === 0) return "No miner offers anything here now.";
  const miners = plural(new Set(offers.map(({ minerId }) => minerId)).size, "miner");
  if (offers.length >= MOST) return `The ${MOST} cheapest offers, of ${miners}.`;
  return `${plural(offers.length, "offer")} of ${miners}, cheapest first.`;
}
