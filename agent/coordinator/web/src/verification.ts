/** Verifies receipts in this browser with the SDK. The coordinator takes no part in it. */
import { type ReceiptBundle, type Verification, verifyReceipt } from "@aitbc/client";
import { publicApi } from "./session.ts";

export interface Outcome {
  verification: Verification;
  /** The log's public key that the verification trusted. */
  logKey: string;
}

/** Verify a bundle (parsed, or its file's text) with the given log key or, without one, this coordinator's. */
export async function verified(bundle: ReceiptBundle | string, logKey?: string): Promise<Outcome> {
  const key = logKey || (await publicApi().health()).logKey;
  return { verification: await verifyReceipt(bundle, { logKey: key }), logKey: key };
}
