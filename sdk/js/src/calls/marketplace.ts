/** `client.marketplace`: offers and market statistics. */

import { type CallOptions, fetchJson, part, type Session } from "../http/transport.js";
import type {
  MarketMinerList,
  MarketStats,
  Offer,
  OfferAccepted,
  OfferEnded,
  OfferList,
  ServiceSupplyList,
} from "../models.js";
import { snakeCased } from "../verification/shape.js";

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
export class Marketplace {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Create an offer for jobs of a type or name, with the key of a miner's owner. The call is not retried if the coordinator
   * may have received it.
   */
  createOffer(offer: NewOffer, options: CallOptions = {}): Promise<Offer> {
    return fetchJson(this.#session, { method: "POST", path: OFFERS, json: snakeCased(offer), ...options });
  }

  /** Return the active offers, cheapest first. */
  offers(options: OfferQuery = {}): Promise<OfferList> {
    const { jobType, maxPrice, limit, mine, before, signal } = options;
    const query = { job_type: jobType, max_price: maxPrice, limit, mine: mine || undefined, before };
    return fetchJson(this.#session, { path: OFFERS, query, signal });
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
    const path = `${OFFERS}/${part(offerId)}/accept`;
    const json = snakeCased(bid);
    return fetchJson(this.#session, { method: "POST", path, json, repeatable: true, ...options });
  }

  /** Withdraw an own offer. Jobs that have accepted it still run. */
  withdraw(offerId: string, options: CallOptions = {}): Promise<OfferEnded> {
    const path = `${OFFERS}/${part(offerId)}`;
    return fetchJson(this.#session, { method: "DELETE", path, repeatable: true, ...options });
  }

  /** Return every service with its models: what is available now, the lowest price, and the typical speed. */
  services(options: CallOptions = {}): Promise<ServiceSupplyList> {
    return fetchJson(this.#session, { path: "/v1/marketplace/services", ...options });
  }

  /** Return the market's miners, optionally only those that offer a service. Available miners come first. */
  miners(
    options: {
      service?: string | undefined;
      limit?: number | undefined;
      offset?: number | undefined;
    } & CallOptions = {},
  ): Promise<MarketMinerList> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: "/v1/marketplace/miners", query, signal });
  }

  /** Return statistics of the whole market. */
  stats(options: CallOptions = {}): Promise<MarketStats> {
    return fetchJson(this.#session, { path: "/v1/marketplace/stats", ...options });
  }
}
