/**
 * Money as people read it: few digits, and never less than there is. Amounts are the API's decimal strings; `exact` has all their digits.
 *
 * The Python SDK's `aitbc.figures.amounts` writes the same; tests/vectors/amounts.json fixes both.
 */
import { absolute, type Decimal, decimal, less, rounded, text } from "./decimal.ts";

/** The unit of all amounts: money of this network, which its operator issues. */
export const CURRENCY = "credits";

/** Digits of an amount that has a fraction. Those before the point are never rounded off, since a balance is not approximate. */
const SIGNIFICANT = 4;
/** Amounts and quantities below it are only said to be so. */
export const LEAST = "0.01";
/** Digits of a price below `LEAST`, which is not clipped, so that prices can be compared. */
const FINE = 2;

export interface MoneyFormat {
  /** Put a plus before positive amounts. */
  signed?: boolean;
}

/** Format an amount without its currency: "1,235", "12.35", "0.5", "< 0.01". */
export function digits(amount: string, { signed = false }: MoneyFormat = {}): string {
  const value = decimal(amount);
  if (value.digits === 0n) return "0";
  const sign = value.digits < 0n ? "\u2212" : signed ? "+" : "";
  const size = absolute(value);
  return sign + (less(size, decimal(LEAST)) ? `< ${LEAST}` : grouped(rounded(size, SIGNIFICANT)));
}

/** Format an amount with its currency: "12.35 credits", "1 credit", "< 0.01 credits". */
export function money(amount: string, format: MoneyFormat = {}): string {
  return withCurrency(digits(amount, format));
}

/** Format an amount with its currency and all its digits, for tooltips. */
export function exact(amount: string): string {
  return withCurrency(allDigits(amount));
}

/** Format an amount of any currency with all its digits. */
export function allDigits(amount: string): string {
  return grouped(decimal(amount));
}

/** Format a price without its currency. Like an amount, but a small one has two digits: "0.00043". */
export function priceDigits(value: Decimal): string {
  return grouped(rounded(value, less(absolute(value), decimal(LEAST)) ? FINE : SIGNIFICANT));
}

export function withCurrency(text: string): string {
  return `${text} ${text === "1" ? CURRENCY.slice(0, -1) : CURRENCY}`;
}

/** Format a decimal with groups of three digits. */
export function grouped(value: Decimal): string {
  const [whole = "0", fraction] = text(value).split(".");
  const groups = whole.replace(/\B(?=(\d{3})+$)/g, ",").replace("-", "\u2212");
  return fraction ? `${groups}.${fraction}` : groups;
}

/** Return a computed amount as the API would write it. */
export function computed(amount: number): string {
  return text(decimal(amount.toFixed(8)));
}

/** Return whether the API accepts a text as an amount. */
export function isMoney(text: string): boolean {
  return /^\d{1,12}(\.\d{1,8})?$/.test(text);
}
