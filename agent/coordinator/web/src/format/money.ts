/** Formats money, a decimal string with up to 8 decimals. It is never converted to a float. */

/** The unit of all amounts: money of this network, which its operator issues. */
export const CURRENCY = "credits";

const AT_LEAST = 2;

export interface MoneyFormat {
  /** Put a plus before positive amounts. */
  signed?: boolean;
  /** Pad with zeros to this many decimals, so that the amounts of a column align. */
  decimals?: number;
}

/** Format "1000" as "1,000.00" and "0.00012" as "0.00012", without the currency. */
export function digits(amount: string, { signed = false, decimals = AT_LEAST }: MoneyFormat = {}): string {
  const [whole = "0", fraction = ""] = amount.replace(/^[+-]/, "").split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  const sign = amount.startsWith("-") ? "\u2212" : signed && /[1-9]/.test(amount) ? "+" : "";
  return `${sign}${grouped}.${fraction.padEnd(Math.max(AT_LEAST, decimals), "0")}`;
}

/** Format "1000" as "1,000.00 credits". */
export function money(amount: string, format: MoneyFormat = {}): string {
  return `${digits(amount, format)} ${CURRENCY}`;
}

/** Return the number of decimals with which all amounts are shown in full. */
export function decimalsOf(amounts: string[]): number {
  return Math.max(AT_LEAST, ...amounts.map((amount) => amount.split(".")[1]?.length ?? 0));
}

/** Truncate to two decimals, below 1 to four, so that an amount is never shown larger than it is. */
export function shortened(amount: string): string {
  return amount.replace(/^(-?0\.\d{4}|-?[1-9]\d*\.\d{2})\d+$/, "$1");
}

/** Return whether the API accepts a text as an amount. */
export function isMoney(text: string): boolean {
  return /^\d{1,12}(\.\d{1,8})?$/.test(text);
}
