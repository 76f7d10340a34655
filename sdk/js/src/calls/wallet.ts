/** `client.wallet`: what can be spent or was earned, and every transaction behind it. */

import { type CallOptions, fetchJson, type Session } from "../http/transport.js";
import type { TransactionList, Wallet as WalletState } from "../models.js";

/** The wallet: balance and transactions. */
export class Wallet {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** The balance, and what is held for unfinished jobs. A miner's owner sees what the miner has earned. */
  get(options: CallOptions = {}): Promise<WalletState> {
    return fetchJson(this.#session, { path: "/v1/wallet", ...options });
  }

  /** Credits and payments, the newest first; `before` goes on after a page (its `next`). */
  transactions(
    options: { limit?: number | undefined; before?: string | undefined } & CallOptions = {},
  ): Promise<TransactionList> {
    const { signal, ...query } = options;
    return fetchJson(this.#session, { path: "/v1/wallet/transactions", query, signal });
  }
}
