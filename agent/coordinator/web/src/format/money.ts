/** Formats money, a decimal string with up to 8 decimals. It is never converted to a float. */

/** The unit of all amounts: money of this network, which its operator issues. */
export const CURRENCY = "credits";

const AT_LEAST = 2;
/** Decimals of a rounded amount below 1. */
const SMALL = 4;

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

/** Round to two decimals, below 1 to four, or to more where these would leave fewer than two digits of the amount. */
export function shortened(amount: string): string {
  const [, sign = "", whole = "0", fraction = ""] = /^(-?)(\d+)\.?(\d*)$/.exec(amount) ?? [];
  const zeros = fraction.search(/[1-9]/);
  const decimals = whole === "0" ? Math.max(SMALL, zeros + 2) : AT_LEAST;
  if (fraction.length <= decimals) return amount;
  const up = (fraction[decimals] ?? "0") >= "5" ? 1n : 0n;
  const rounded = String(BigInt(whole + fraction.slice(0, decimals)) + up).padStart(decimals + 1, "0");
  return `${sign}${rounded.slice(0, -decimals)}.${rounded.slice(-decimals)}`.replace(/\.?0+$/, "");
}

/** Return whether the API accepts a text as an amount. */
export function isMoney(text: string): boolean {
  return /^\d{1,12}(\.\d{1,8})?$/.test(text);
}
