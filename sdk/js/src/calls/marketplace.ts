/** `client.marketplace`: offers of miners, jobs given to them, statistics. */

import { type CallOptions, fetchJson, part, type Session } from "../http/transport.js";
import type { MarketStats, Offer, OfferAccepted, OfferEnded, OfferList } from "../models.js";
import { snakeCased } from "../verification/shape.js";

const OFFERS = "/v1/marketplace/offers";

/** A new offer. */
export interface NewOffer {
  /** A service's id, or the name of jobs. */
  jobType: string;
  /** For each metered unit: a decimal string. */
  price: string;
  maxJobs: number;
  /** Seconds. */
  duration: number;
  /** What the miner has at least, as quantities (`"4Gi"`, `"2000m"`). */
  requirements?: { minGpuMemory?: string | undefined; minCpu?: string | undefined } | undefined;
}

/** Which offers to list. */
export interface OfferQuery extends CallOptions {
  jobType?: string | undefined;
  /** Only those that cost at most so much a unit. */
  maxPrice?: string | undefined;
  limit?: number | undefined;
  /** A miner's own ones in any state, the newest first. */
  mine?: boolean | undefined;
  /** Go on after a page of one's own: its `next`. */
  before?: string | undefined;
}

/** The marketplace: offers of miners, jobs given to them, statistics. */
export class Marketplace {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Offer to run jobs of a type or name, with the key of a miner's owner. The call is not repeated once the coordinator
   * may have got it.
   */
  createOffer(offer: NewOffer, options: CallOptions = {}): Promise<Offer> {
    return fetchJson(this.#session, { method: "POST", path: OFFERS, json: snakeCased(offer), ...options });
  }

  /** Offers that can be accepted now, the cheapest first. */
  offers(options: OfferQuery = {}): Promise<OfferList> {
    const { jobType, maxPrice, limit, mine, before, signal } = options;
    const query = { job_type: jobType, max_price: maxPrice, limit, mine: mine || undefined, before };
    return fetchJson(this.#session, { path: OFFERS, query, signal });
  }

  /**
   * Give a submitted job to an offer; `bidPrice` is the most that a unit may cost.
   *
   * Returns the job's payment, which is pending until the job ends. The same again gets the same payment, so the call
   * is repeated when its answer is lost. Throws `OfferNotAvailable`, whose details say why.
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

  /** Take one's own offer from the market; jobs that have accepted it still run. */
  withdraw(offerId: string, options: CallOptions = {}): Promise<OfferEnded> {
    const path = `${OFFERS}/${part(offerId)}`;
    return fetchJson(this.#session, { method: "DELETE", path, repeatable: true, ...options });
  }

  /** Statistics of the whole market. */
  stats(options: CallOptions = {}): Promise<MarketStats> {
    return fetchJson(this.#session, { path: "/v1/marketplace/stats", ...options });
  }
}
