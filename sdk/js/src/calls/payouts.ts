/** `client.payouts`: batches of payments to miners, and the payments of one miner. */

import { type CallOptions, fetchJson, fetchRaw, part } from "../http/transport.js";
import type {
  MinerPayouts,
  PayoutAddresses,
  PayoutBatch,
  PayoutBatchDetails,
  PayoutBatchList,
} from "../models.js";
import { type JsonObject, snakeCased } from "../verification/shape.js";
import { Calls, type PageOptions } from "./calls.js";

const BATCHES = "/v1/admin/payouts";

/** A new batch of payments. */
export interface NewPayoutBatch {
  /** The name of a configured adapter. */
  adapter: string;
  /** What one credit is worth in the currency: a decimal string; `payouts.rates` by default. */
  rate?: string | undefined;
  /** One of the adapter's currencies; its only one by default. */
  currency?: string | undefined;
  /** Earnings after this time are not paid: RFC 3339, now by default. */
  cutOff?: string | undefined;
  /** The smallest payment, in credits. */
  minimum?: string | undefined;
  maxPayments?: number | undefined;
  note?: string | undefined;
}

/** The outcome of a payment, as an administrator knows it from the bank or the processor. */
export interface PayoutOutcome {
  payoutId: string;
  outcome: "confirmed" | "failed";
  reason?: string | undefined;
  reference?: string | undefined;
}

/** Payouts. Batches are for administrators, a miner's payments also for its owner. */
export class Payouts extends Calls {
  /** Return batches without their payments, newest first, and the configured adapters. */
  batches(
    options: { status?: PayoutBatch["status"] | undefined } & PageOptions = {},
  ): Promise<PayoutBatchList> {
    return this.read(BATCHES, options);
  }

  /** Return a batch with its payments, transfers and manifest. */
  batch(batchId: string, options: CallOptions = {}): Promise<PayoutBatchDetails> {
    return this.read(`${BATCHES}/${part(batchId)}`, options);
  }

  /** Return the batch that `create` would create, and the miners that it omits. Changes nothing. */
  preview(batch: NewPayoutBatch, options: CallOptions = {}): Promise<PayoutBatchDetails> {
    return this.post(BATCHES, { ...batch, dryRun: true }, { repeatable: true, ...options });
  }

  /** Move what miners have earned into a batch, which waits for approval. */
  create(batch: NewPayoutBatch, options: CallOptions = {}): Promise<PayoutBatchDetails> {
    return this.post(BATCHES, batch, options);
  }

  /** Put a batch's manifest into the log, and send its payments. A repetition changes nothing. */
  approve(batchId: string, options: CallOptions = {}): Promise<PayoutBatchDetails> {
    return this.#decide(batchId, "approve", options);
  }

  /** Move a batch's money back to the miners, until its adapter begins. A repetition changes nothing. */
  cancel(batchId: string, options: CallOptions = {}): Promise<PayoutBatchDetails> {
    return this.#decide(batchId, "cancel", options);
  }

  /** Report outcomes of a batch whose adapter does not report them itself. A failed payment's amount returns to its miner. */
  report(
    batchId: string,
    outcomes: readonly PayoutOutcome[],
    options: CallOptions = {},
  ): Promise<PayoutBatchDetails> {
    const path = `${BATCHES}/${part(batchId)}/outcomes`;
    return this.post(path, { outcomes: outcomes.map(snakeCased) }, { repeatable: true, ...options });
  }

  /** Return the payments to a miner, newest first, and what it can be paid, is on hold, on its way, and paid out. */
  ofMiner(minerId: string, options: PageOptions = {}): Promise<MinerPayouts> {
    return this.read(`/v1/miners/${part(minerId)}/payouts`, options);
  }

  /** Return a miner's payout address, and the change of it that has not taken effect. */
  address(minerId: string, options: CallOptions = {}): Promise<PayoutAddresses> {
    return this.read(addressPath(minerId), options);
  }

  /** Set a miner's payout address by an envelope that its identity key has signed (`aitbc-agent payouts address`). */
  setAddress(minerId: string, envelope: object, options: CallOptions = {}): Promise<PayoutAddresses> {
    const path = addressPath(minerId);
    return fetchJson(this.session, { method: "PUT", path, json: envelope, repeatable: true, ...options });
  }

  /** Return the proof that a payment is part of a batch in the log, with the format's own names. `verifyPayout` verifies it. */
  async proof(payoutId: string, options: CallOptions = {}): Promise<JsonObject> {
    const path = `/v1/payouts/${part(payoutId)}/proof`;
    return (await fetchRaw(this.session, { path, ...options })) as JsonObject;
  }

  #decide(
    batchId: string,
    decision: "approve" | "cancel",
    options: CallOptions,
  ): Promise<PayoutBatchDetails> {
    const path = `${BATCHES}/${part(batchId)}/${decision}`;
    return this.post(path, undefined, { repeatable: true, ...options });
  }
}

function addressPath(minerId: string): string {
  return `/v1/miners/${part(minerId)}/payout-address`;
}
