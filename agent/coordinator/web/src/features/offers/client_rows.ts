/** The rows of the prices: each offer with what is known about its machine. */
import type { MarketMiner, Offer, Service } from "@aitbc/client";

export interface MarketRow {
  offer: Offer;
  miner: MarketMiner | undefined;
  /** The miner's service that the offer is for; undefined if it is for jobs of a name. */
  service: MarketMiner["services"][number] | undefined;
}

/** Join offers with their miners, in the order of the services; each service's offers stay in theirs, which is cheapest first. */
export function rowsOf(offers: Offer[], miners: MarketMiner[], services: Service[]): MarketRow[] {
  const byId = new Map(miners.map((miner) => [miner.minerId, miner]));
  const order = services.map(({ serviceId }) => serviceId);
  // Offers for jobs of other names come last.
  const at = ({ jobType }: Offer) => order.indexOf(jobType) + 1 || order.length + 1;
  return offers
    .map((offer) => {
      const miner = byId.get(offer.minerId);
      return { offer, miner, service: miner?.services.find(({ serviceId }) => serviceId === offer.jobType) };
    })
    .sort((one, other) => at(one.offer) - at(other.offer));
}
