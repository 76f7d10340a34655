/** `client.receipts`: fetch and export receipts, or ask the coordinator about one. What verifies offline is `verifyReceipt`. */

import type { Receipt, ReceiptVerification } from "../models.js";
import { wireReceipt } from "../receipts.js";
import type { JsonObject } from "../shape.js";
import { type CallOptions, fetchJson, part, type Session } from "../transport.js";

/** Receipts: fetch, export, ask the coordinator to verify. */
export class Receipts {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** The receipt of a completed job. */
  get(jobId: string, options: CallOptions = {}): Promise<Receipt> {
    return fetchJson(this.#session, { path: `/v1/receipts/${part(jobId)}`, ...options });
  }

  /**
   * Ask the coordinator whether a receipt is valid: a whole one, or its id and signature.
   *
   * This trusts the coordinator; `verifyReceipt` does not need to.
   */
  verify(
    receipt: Receipt | Pick<Receipt, "receiptId" | "signature"> | JsonObject,
    options: CallOptions = {},
  ): Promise<ReceiptVerification> {
    const json = { receipt: wireReceipt(receipt) };
    const path = "/v1/receipts/verify";
    return fetchJson(this.#session, { method: "POST", path, json, repeatable: true, ...options });
  }
}
