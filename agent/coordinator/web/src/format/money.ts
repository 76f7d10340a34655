/** Money is a decimal string with up to 8 decimals; it is shown as text and never becomes a float on the way. */

const AT_LEAST = 2;

/** "1000" as "1,000.00", "0.00012" as "0.00012"; `signed` puts a plus before what is gained. */
export function money(amount: string, signed = false): string {
  const [whole = "0", fraction = ""] = amount.replace(/^[+-]/, "").split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  const sign = amount.startsWith("-") ? "\u2212" : signed && /[1-9]/.test(amount) ? "+" : "";
  return `${sign}${grouped}.${fraction.padEnd(AT_LEAST, "0")}`;
}

/** With four decimals at most, the rest cut off: nobody is shown more than they have. */
export function shortened(amount: string): string {
  return amount.replace(/(\.\d{4})\d+$/, "$1");
}

/** Whether an input is an amount that the API takes. */
export function isMoney(text: string): boolean {
  return /^\d{1,12}(\.\d{1,8})?$/.test(text);
}
