/** The rows of the market: each offer with what is known about its miner, grouped by service or by miner. */
import type { MarketMiner, Offer, Service } from "@aitbc/client";

export type Grouping = "service" | "miner";

export interface MarketRow {
  offer: Offer;
  miner: MarketMiner | undefined;
  /** The miner's service that the offer is for; undefined if it is for jobs of a name. */
  service: MarketMiner["services"][number] | undefined;
}

export interface MarketGroup {
  id: string;
  rows: MarketRow[];
}

/** Join offers with their miners. */
export function rowsOf(offers: Offer[], miners: MarketMiner[]): MarketRow[] {
  const byId = new Map(miners.map((miner) => [miner.minerId, miner]));
  return offers.map((offer) => {
    const miner = byId.get(offer.minerId);
    return { offer, miner, service: miner?.services.find(({ serviceId }) => serviceId === offer.jobType) };
  });
}

/** Group rows in their order, which is cheapest first. Services are in the registry's order, other job types last. */
export function grouped(rows: MarketRow[], by: Grouping, services: Service[]): MarketGroup[] {
  const groups = new Map<string, MarketRow[]>();
  if (by === "service") for (const { serviceId } of services) groups.set(serviceId, []);
  for (const row of rows) {
    const id = by === "service" ? row.offer.jobType : row.offer.minerId;
    groups.set(id, [...(groups.get(id) ?? []), row]);
  }
  return [...groups].flatMap(([id, rows]) => (rows.length > 0 ? { id, rows } : []));
}
