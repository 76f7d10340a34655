/** Exact arithmetic with decimal strings, because amounts and units must not pass through floating point. */

import { FormatError } from "./errors.js";

/** Signed numbers have at most this many decimals. */
const DECIMALS = 30;
const NUMBER = /^(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,3}))?$/;

/** Return a decimal number times 10^30. Throws `FormatError` for other texts, and for more decimals. */
export function scaled(text: string): bigint {
  const [, sign, whole, fraction = "", exponent = "0"] = NUMBER.exec(text) ?? [];
  const shift = DECIMALS + Number(exponent) - fraction.length;
  if (whole === undefined || shift < 0) throw new FormatError(`${text} is not a decimal number.`);
  const value = BigInt(whole + fraction) * 10n ** BigInt(shift);
  return sign ? -value : value;
}

/** Return the product of two numbers that are not negative, rounded up to so many decimals. */
export function productRoundedUp(one: string, other: string, decimals: number): string {
  const step = 10n ** BigInt(2 * DECIMALS - decimals);
  const steps = (scaled(one) * scaled(other) + step - 1n) / step;
  return shortest(steps * 10n ** BigInt(DECIMALS - decimals));
}

/** Return the product of two numbers that are not negative, rounded down to so many decimals. */
export function productRoundedDown(one: string, other: string, decimals: number): string {
  const steps = (scaled(one) * scaled(other)) / 10n ** BigInt(2 * DECIMALS - decimals);
  return shortest(steps * 10n ** BigInt(DECIMALS - decimals));
}

/** Return the shortest text of a number that is not negative, given times 10^30: "1.5", not "1.50". */
export function shortest(value: bigint): string {
  const digits = value.toString().padStart(DECIMALS + 1, "0");
  const fraction = digits.slice(-DECIMALS).replace(/0+$/, "");
  return digits.slice(0, -DECIMALS) + (fraction && `.${fraction}`);
}
