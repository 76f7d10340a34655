/** Kubernetes quantities, in which jobs and offers specify CPU, memory and GPU. */

import { FormatError } from "../errors.js";

const SUFFIXES: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};
const QUANTITY = /^([0-9]{1,18}(?:\.[0-9]{1,9})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$/;

/** Parse a Kubernetes quantity (`"1000m"`, `"2Gi"`, `"1.5"`) as a number. Throws `FormatError`, which gives examples. */
export function parseQuantity(text: string): number {
  const [, digits, suffix = ""] = QUANTITY.exec(text) ?? [];
  if (digits === undefined) {
    throw new FormatError(`${JSON.stringify(text)} is not a quantity; write it like "2", "500m" or "2Gi".`);
  }
  // Dividing by 1000 rounds once; multiplying by 0.001 would round twice.
  return suffix === "m" ? Number(digits) / 1000 : Number(digits) * (SUFFIXES[suffix] ?? 1);
}
