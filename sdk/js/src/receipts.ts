/** Receipts: verified by anybody, offline, with nothing but the log's public key. */

import { type Json, snakeName } from "./shape.js";

/** A receipt with the API's names, which are those that are signed. */
export function wireReceipt(receipt: object): { [name: string]: Json } {
  return wire(receipt) as { [name: string]: Json };
}

function wire(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(wire);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) =>
      // The envelope's names are DSSE's own.
      name === "envelope" ? [name, item] : [snakeName(name), wire(item)],
    ),
  );
}
