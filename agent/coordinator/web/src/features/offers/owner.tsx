/** The own machine's offers, and creating new ones. */
import type { Offer } from "@aitbc/client";
import { Button } from "../../components/controls/button.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { Empty } from "../../components/empty.tsx";
import { Price } from "../../components/figures/money.tsx";
import { Badge, type BadgeProps } from "../../components/figures/status.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { notify } from "../../components/toast.tsx";
import { serviceName } from "../../format/names.ts";
import { isTrade, useReload } from "../../jobs.ts";
import { useLoad } from "../../load.ts";
import { useSaleUnits } from "../../sale_units.ts";
import { api } from "../../session.ts";
import "../../styles/machine.css";
import { NewOffer } from "./owner_form.tsx";

const PAGE = 50;

const STATES: Record<Offer["status"], BadgeProps> = {
  active: { tone: "good", icon: "check", word: "Active" },
  exhausted: { tone: "busy", icon: "dash", word: "Used up" },
  expired: { tone: "still", icon: "wait", word: "Expired" },
  withdrawn: { tone: "still", icon: "cross", word: "Withdrawn" },
};

export default function OwnOffers() {
  const offers = useLoad((signal) => api("miner").marketplace.offers({ mine: true, limit: PAGE, signal }));
  useReload("miner", offers.reload, isTrade);
  const notifyOfNew = () => {
    offers.reload();
    notify("The offer was created.");
  };
  return (
    <Page
      title="Offers"
      lead="Sell a number of jobs of one kind at a fixed price, until a date. Clients assign jobs to the offer, and their money is held for you."
      actions={<NewOffer onMade={notifyOfNew} />}
    >
      <Loaded from={offers} lines={5} height="2.75rem">
        {({ offers: list }) => <Offers offers={list} onChange={offers.reload} />}
      </Loaded>
    </Page>
  );
}

function Offers({ offers, onChange }: { offers: Offer[]; onChange: () => void }) {
  const saleUnits = useSaleUnits();
  const withdraw = async (offer: Offer) => {
    const text = "It accepts no more jobs. Jobs already assigned to it still run at its price.";
    const title = `Withdraw the offer for ${jobType(offer)}?`;
    if (!(await ask({ title, text, action: "Withdraw" }))) return;
    await api("miner").marketplace.withdraw(offer.offerId);
    onChange();
    notify("The offer was withdrawn.");
  };
  return (
    <Table
      caption="Own offers"
      empty={
        <Empty icon="market" title="No offers yet">
          Without an offer, this machine gets jobs at the prices in its settings.
        </Empty>
      }
      rows={offers}
      rowKey={(offer) => offer.offerId}
      columns={[
        { title: "For", cell: jobType },
        {
          title: "Price",
          cell: (offer) => <Price unitPrice={offer.price} of={saleUnits(offer.jobType)} />,
          align: "end",
        },
        { title: "Jobs left", cell: (offer) => left(offer), align: "end" },
        { title: "Ends", cell: (offer) => (offer.expiresAt ? <Ago at={offer.expiresAt} /> : "never") },
        { title: "Status", cell: (offer) => <OfferState offer={offer} />, shrink: true },
        {
          title: "Withdraw",
          action: (offer) =>
            offer.status === "active" &&
            !offer.standing && (
              <Button size="small" kind="plain" onClick={() => withdraw(offer)}>
                Withdraw
              </Button>
            ),
        },
      ]}
    />
  );
}

/** Return the display name of an offer's service, or its job name. */
export function jobType(offer: Offer): string {
  const service = offer.jobType.replaceAll("-", "_");
  return offer.standing ? serviceName(service) : offer.jobType;
}

function left(offer: Offer): string {
  return offer.jobsLeft === undefined ? "unlimited" : `${offer.jobsLeft} of ${offer.maxJobs}`;
}

export function OfferState({ offer }: { offer: Offer }) {
  const state = STATES[offer.status];
  const word = offer.standing && offer.status === "active" ? "From settings" : state.word;
  return <Badge {...state} word={word} />;
}
