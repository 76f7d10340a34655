/** `client.marketplace`: offers and market statistics. */

import { type CallOptions, fetchJson, part } from "../http/transport.js";
import type {
  MarketMinerList,
  MarketStats,
  Offer,
  OfferAccepted,
  OfferEnded,
  OfferList,
  ServiceSupplyList,
} from "../models.js";
import { Calls, type OffsetOptions } from "./calls.js";

const OFFERS = "/v1/marketplace/offers";

/** A new offer. */
export interface NewOffer {
  /** A service's id or a job name. */
  jobType: string;
  /** Price of a metered unit: a decimal string. */
  price: string;
  maxJobs: number;
  /** Seconds. */
  duration: number;
  /** Minimum resources of the miner, as quantities (`"4Gi"`, `"2000m"`). */
  requirements?: { minGpuMemory?: string | undefined; minCpu?: string | undefined } | undefined;
}

/** Which offers to list. */
export interface OfferQuery extends CallOptions {
  jobType?: string | undefined;
  /** Only offers up to this price per unit. */
  maxPrice?: string | undefined;
  limit?: number | undefined;
  /** The miner's own offers in any state, newest first. */
  mine?: boolean | undefined;
  /** The `next` of a page of own offers, for the following page. */
  before?: string | undefined;
}

/** The marketplace: offers and market statistics. */
export class Marketplace extends Calls {
  /**
   * Create an offer for jobs of a type or name, with the key of a miner's owner. The call is not retried if the coordinator
   * may have received it.
   */
  createOffer(offer: NewOffer, options: CallOptions = {}): Promise<Offer> {
    return this.post(OFFERS, offer, options);
  }

  /** Return the active offers, cheapest first. */
  offers(options: OfferQuery = {}): Promise<OfferList> {
    return this.read(OFFERS, { ...options, mine: options.mine || undefined });
  }

  /**
   * Accept an offer with a submitted job; `bidPrice` is the maximum price of a unit.
   *
   * Returns the job's payment, which is pending until the job ends. The call is idempotent and therefore retried. Throws
   * `OfferNotAvailable`, with the reason in its details.
   */
  accept(
    offerId: string,
    bid: { jobId: string; bidPrice: string },
    options: CallOptions = {},
  ): Promise<OfferAccepted> {
    return this.post(`${OFFERS}/${part(offerId)}/accept`, bid, { repeatable: true, ...options });
  }

  /** Withdraw an own offer. Jobs that have accepted it still run. */
  withdraw(offerId: string, options: CallOptions = {}): Promise<OfferEnded> {
    const path = `${OFFERS}/${part(offerId)}`;
    return fetchJson(this.session, { method: "DELETE", path, repeatable: true, ...options });
  }

  /** Return every service with its models: what is available now, the lowest price, and the typical speed. */
  services(options: CallOptions = {}): Promise<ServiceSupplyList> {
    return this.read("/v1/marketplace/services", options);
  }

  /** Return the market's miners, optionally only those that offer a service. Available miners come first. */
  miners(options: { service?: string | undefined } & OffsetOptions = {}): Promise<MarketMinerList> {
    return this.read("/v1/marketplace/miners", options);
  }

  /** Return statistics of the whole market. */
  stats(options: CallOptions = {}): Promise<MarketStats> {
    return this.read("/v1/marketplace/stats", options);
  }
}
