/** Formats money, a decimal string with up to 8 decimals. It is never converted to a float. */

const AT_LEAST = 2;

/** Format "1000" as "1,000.00" and "0.00012" as "0.00012"; `signed` puts a plus before positive amounts. */
export function money(amount: string, signed = false): string {
  const [whole = "0", fraction = ""] = amount.replace(/^[+-]/, "").split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  const sign = amount.startsWith("-") ? "\u2212" : signed && /[1-9]/.test(amount) ? "+" : "";
  return `${sign}${grouped}.${fraction.padEnd(AT_LEAST, "0")}`;
}

/** Truncate to four decimals, so that an amount is never shown larger than it is. */
export function shortened(amount: string): string {
  return amount.replace(/(\.\d{4})\d+$/, "$1");
}

/** Return whether the API accepts a text as an amount. */
export function isMoney(text: string): boolean {
  return /^\d{1,12}(\.\d{1,8})?$/.test(text);
}
