/** `client.wallet`: the balance and the transactions. */

import type { CallOptions } from "../http/transport.js";
import type { TransactionList, Wallet as WalletState } from "../models.js";
import { Calls, type PageOptions } from "./calls.js";

/** The balance and the transactions. */
export class Wallet extends Calls {
  /** Return the balance, and the amount held for unfinished jobs. A miner owner's balance is the miner's earnings. */
  get(options: CallOptions = {}): Promise<WalletState> {
    return this.read("/v1/wallet", options);
  }

  /** Return a page of transactions, newest first. Pass the `next` of a page as `before` for the following one. */
  transactions(options: PageOptions = {}): Promise<TransactionList> {
    return this.read("/v1/wallet/transactions", options);
  }
}
