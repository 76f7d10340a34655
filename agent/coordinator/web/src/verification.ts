/** Verifying receipts in this browser: the SDK's code, on the bundle's bytes; nothing of it is asked of the coordinator. */
import { type ReceiptBundle, type Verification, verifyReceipt } from "@aitbc/client";
import { publicApi } from "./session.ts";

export interface Outcome {
  verification: Verification;
  /** The log's public key that was trusted. */
  logKey: string;
}

/** Check a bundle (also as the text of its file) against a log's public key: the given one, or the one of this coordinator. */
export async function verified(bundle: ReceiptBundle | string, logKey?: string): Promise<Outcome> {
  const key = logKey || (await publicApi().health()).logKey;
  return { verification: await verifyReceipt(bundle, { logKey: key }), logKey: key };
}
