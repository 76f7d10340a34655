/** Verifies receipts in this browser with the SDK. The coordinator takes no part in it. The code is loaded with the first receipt. */
import type { ReceiptBundle, Verification } from "@aitbc/client";
import { endFirst } from "./first_steps.ts";
import { publicApi } from "./session.ts";

export interface Outcome {
  verification: Verification;
  /** The log's public key that the verification trusted. */
  logKey: string;
}

/** Save a value as a JSON file. */
export function saved(value: object, name: string): void {
  savedText(JSON.stringify(value, null, 2), "application/json", name);
}

/** Save a text as a file. */
export function savedText(text: string, mediaType: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: mediaType }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

/**
 * Verify a bundle (parsed, or its file's text) with the given log key or, without one, this coordinator's. With `sealed`, this
 * browser's key also opens the results.
 */
export async function verified(
  bundle: ReceiptBundle | string,
  logKey?: string,
  sealed = false,
): Promise<Outcome> {
  const key = logKey || (await publicApi().health()).logKey;
  const { verifyReceipt } = await import("./verifying.ts");
  const replyKey = sealed ? await (await import("./features/sealing/keys.ts")).storedKey() : undefined;
  const verification = await verifyReceipt(bundle, { logKey: key, replyKey });
  // The last of the first steps.
  if (verification.valid) endFirst();
  return { verification, logKey: key };
}
