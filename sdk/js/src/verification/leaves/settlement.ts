/** Settlements: the leaf of the log for each job whose escrow has been settled. */

import { scaled } from "../../decimals.js";
import { FormatError } from "../../errors.js";
import { canonicalJson, parseJson, sameBytes } from "../canonical.js";
import { parseDecimal } from "../statement.js";
import { exact, JOB_ID, MINER_ID, text, utcTime } from "../strict.js";

export const SETTLEMENT_TYPE = "https://aitbc.bubuit.net/settlement/v1";

/**
 * The settlement of a job's escrow: `held` is exactly `paid` + `refunded`. Amounts are decimal strings.
 *
 * `paid` is the job's price, of which the coordinator receives `fee` and the owner of `minerId` the rest. `refunded` is
 * returned to the client, who is not named. `receiptId` is null unless the job completed; `minerId` is null if nothing was
 * paid.
 */
export interface Settlement {
  transactionId: string;
  jobId: string;
  receiptId: string | null;
  minerId: string | null;
  outcome: "completed" | "failed" | "cancelled";
  held: string;
  paid: string;
  fee: string;
  refunded: string;
  settledAt: string;
}

const FIELDS = [
  ...(["_type", "transaction_id", "job_id", "receipt_id", "miner_id", "outcome"] as const),
  ...(["held", "paid", "fee", "refunded", "settled_at"] as const),
] as const;

/** Parse a settlement's leaf. Throws `FormatError` unless it is canonical and its values are consistent. */
export function parseSettlement(leaf: Uint8Array): Settlement {
  const parsed = parseJson(leaf);
  const fields = exact(parsed, FIELDS, "The settlement");
  const outcome = text(fields.outcome, "The settlement's outcome");
  if (outcome !== "completed" && outcome !== "failed" && outcome !== "cancelled") {
    throw new FormatError("The settlement's outcome is not one that a job can have.");
  }
  const jobId = text(fields.job_id, "The settlement's job_id", JOB_ID);
  const suffix = jobId.slice("job_".length);
  const settlement = {
    transactionId: `tx_${suffix}`,
    jobId,
    receiptId: outcome === "completed" ? `receipt_${suffix}` : null,
    minerId: fields.miner_id === null ? null : text(fields.miner_id, "The settlement's miner_id", MINER_ID),
    outcome,
    held: parseDecimal(fields.held, "The settlement's held"),
    paid: parseDecimal(fields.paid, "The settlement's paid"),
    fee: parseDecimal(fields.fee, "The settlement's fee"),
    refunded: parseDecimal(fields.refunded, "The settlement's refunded"),
    settledAt: utcTime(fields.settled_at, "The settlement's settled_at"),
  } as const;
  if (fields.receipt_id !== settlement.receiptId) {
    throw new FormatError("The settlement's receipt_id is not the one of its job and outcome.");
  }
  requireSums(settlement);
  const ours = fields._type === SETTLEMENT_TYPE && fields.transaction_id === settlement.transactionId;
  if (!ours || !sameBytes(canonicalJson(parsed), leaf)) {
    throw new FormatError("The settlement is not in its canonical form.");
  }
  return settlement;
}

function requireSums({ minerId, held, paid, fee, refunded }: Settlement): void {
  if ((minerId !== null) !== scaled(paid) > 0n) {
    throw new FormatError("The settlement must name a miner if something is paid, and otherwise none.");
  }
  if (scaled(paid) + scaled(refunded) !== scaled(held) || scaled(fee) > scaled(paid)) {
    throw new FormatError("The settlement's amounts do not add up.");
  }
}
