/** `client.wallet`: the balance and the transactions. */

import { type CallOptions, fetchJson, type Session } from "../http/transport.js";
import type { TransactionList, Wallet as WalletState } from "../models.js";

/** The balance and the transactions. */
export class Wallet {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Return the balance, and the amount held for unfinished jobs. A miner owner's balance is the miner's earnings. */
  get(options: CallOptions = {}): Promise<WalletState> {
    return fetchJson(this.#session, { path: "/v1/wallet", ...options });
  }

  /** Return a page of transactions, newest first. Pass the `next` of a page as `before` for the following one. */
  transactions(
    options: { limit?: number | undefined; before?: string | undefined } & CallOptions = {},
  ): Promise<TransactionList> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: "/v1/wallet/transactions", query, signal });
  }
}
