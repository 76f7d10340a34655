/** The form of receipts on the wire and in exported bundles, apart from their verification, which a page can load later. */

import { type Json, snakeName } from "./shape.js";

/** The `format` of an exported bundle. */
export const BUNDLE_FORMAT = "https://aitbc.bubuit.net/receipt-bundle/v2";

/** Convert a receipt to the API's names, which are the signed ones. Any other value is returned unchanged. */
export function wireReceipt(receipt: unknown): Json {
  const isOurs = typeof receipt === "object" && receipt !== null && "receiptId" in receipt;
  return (isOurs ? wire(receipt) : receipt) as Json;
}

function wire(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(wire);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) =>
      // The envelope has DSSE's names.
      name === "envelope" ? [name, item] : [snakeName(name), wire(item)],
    ),
  );
}
