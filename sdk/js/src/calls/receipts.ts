/** `client.receipts`: fetch and export receipts, or ask the coordinator about one. What verifies offline is `verifyReceipt`. */

import { TimeoutError } from "../errors.js";
import { type CallOptions, fetchJson, fetchRaw, part, pause, type Session } from "../http/transport.js";
import type { Receipt, ReceiptBundle, ReceiptVerification } from "../models.js";
import { parseProof } from "../verification/log.js";
import type { Policy } from "../verification/policy.js";
import { BUNDLE_FORMAT, wireReceipt } from "../verification/receipts.js";
import type { JsonObject } from "../verification/shape.js";
import { getResults } from "./jobs.js";
import { getProof } from "./log.js";

/** Milliseconds between two looks for cosignatures. */
const WITNESS_PAUSE_MS = 1000;
const WITNESS_TIMEOUT_MS = 60_000;

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

  /**
   * The bundle of a completed job (receipt, results, proof), as it is kept in a file. `verifyReceipt` checks it offline.
   *
   * With a `policy`, waits until the witnesses that it asks for have cosigned a checkpoint that has the receipt. Throws
   * `TimeoutError` when they have not within `timeoutMs` (60 s), `VerificationError` when the log is none of the
   * policy's.
   */
  async export(
    jobId: string,
    options: { policy?: Policy | undefined; timeoutMs?: number | undefined } & CallOptions = {},
  ): Promise<ReceiptBundle> {
    const { policy, signal, timeoutMs = WITNESS_TIMEOUT_MS } = options;
    const path = `/v1/receipts/${part(jobId)}`;
    const receipt = (await fetchRaw(this.#session, { path, signal })) as JsonObject;
    const { results } = await getResults(this.#session, jobId, signal);
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const proof = await getProof(this.#session, String(receipt.receipt_id), signal);
      if (policy === undefined || accepted(policy, proof)) {
        return { format: BUNDLE_FORMAT, receipt, results, proof };
      }
      if (performance.now() >= deadline) {
        throw new TimeoutError(
          `No checkpoint with the receipt of ${jobId} is cosigned as the policy asks; its witnesses may come later.`,
        );
      }
      await pause(WITNESS_PAUSE_MS, signal);
    }
  }
}

function accepted(policy: Policy, proof: string): boolean {
  const { note } = parseProof(proof);
  policy.open(note);
  return policy.isMetBy(policy.cosignedBy(note));
}
