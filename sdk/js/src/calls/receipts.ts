/** `client.receipts`: get and export receipts, or have the coordinator verify one. `verifyReceipt` verifies offline. */

import { TimeoutError } from "../errors.js";
import { getResults } from "../http/jobs.js";
import { type CallOptions, fetchRaw, part, pause } from "../http/transport.js";
import type { Receipt, ReceiptBundle, ReceiptVerification } from "../models.js";
import { BUNDLE_FORMAT, wireReceipt } from "../verification/bundle.js";
import type { Policy } from "../verification/policy.js";
import type { Json, JsonObject } from "../verification/shape.js";
import { Calls } from "./calls.js";
import { getProof } from "./log.js";
import { requireOwnReceipt } from "./reading.js";

/** Milliseconds between polls for cosignatures. */
const WITNESS_PAUSE_MS = 1000;
const WITNESS_TIMEOUT_MS = 60_000;

/** Get and export receipts, or have the coordinator verify one. */
export class Receipts extends Calls {
  /** Return the receipt of a completed job. Throws `VerificationError` if it is not about what this client sealed as this job. */
  async get(jobId: string, options: CallOptions = {}): Promise<Receipt> {
    const receipt = await this.read<Receipt>(`/v1/receipts/${part(jobId)}`, options);
    await requireOwnReceipt(this.session, jobId, wireReceipt(receipt) as JsonObject);
    return receipt;
  }

  /**
   * Have the coordinator verify a receipt, given whole or as its id and signature.
   *
   * This trusts the coordinator, unlike `verifyReceipt`.
   */
  verify(
    receipt: Receipt | Pick<Receipt, "receiptId" | "signature"> | JsonObject,
    options: CallOptions = {},
  ): Promise<ReceiptVerification> {
    const body = { receipt: wireReceipt(receipt) };
    return this.post("/v1/receipts/verify", body, { repeatable: true, ...options });
  }

  /**
   * Return the bundle of a completed job (receipt, results, proof) to save as a file. `verifyReceipt` verifies it offline.
   *
   * With a `policy`, wait until the required witnesses have cosigned a checkpoint that includes the receipt. Throws
   * `TimeoutError` if they have not within `timeoutMs` (60 s), and `VerificationError` if the policy does not name the log, or
   * if receipt and results are not about what this client sealed as this job.
   */
  async export(
    jobId: string,
    options: { policy?: Policy | undefined; timeoutMs?: number | undefined } & CallOptions = {},
  ): Promise<ReceiptBundle> {
    const { policy, signal, timeoutMs = WITNESS_TIMEOUT_MS } = options;
    const path = `/v1/receipts/${part(jobId)}`;
    const receipt = (await fetchRaw(this.session, { path, signal })) as JsonObject;
    const { results } = await getResults(this.session, jobId, options);
    await requireOwnReceipt(this.session, jobId, receipt, results as Json);
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const proof = await getProof(this.session, String(receipt.receipt_id), options);
      if (policy === undefined || (await accepted(policy, proof))) {
        return { format: BUNDLE_FORMAT, receipt, results, proof };
      }
      if (performance.now() >= deadline) {
        throw new TimeoutError(
          `No checkpoint with the receipt of ${jobId} has the cosignatures that the policy requires. Try again later.`,
        );
      }
      await pause(WITNESS_PAUSE_MS, signal);
    }
  }
}

async function accepted(policy: Policy, proof: string): Promise<boolean> {
  // Loaded on demand: a client that only submits jobs verifies nothing.
  const { parseProof } = await import("../verification/log.js");
  const { note } = parseProof(proof);
  policy.open(note);
  return policy.isMetBy(policy.cosignedBy(note));
}
