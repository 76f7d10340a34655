/** Exact decimals, since money is never a float. */

export interface Decimal {
  /** All digits. */
  digits: bigint;
  /** How many of them are behind the point. */
  decimals: number;
}

/** Decimals of a quotient: more than any amount has. */
const QUOTIENT = 30;

/** Parse "-12.50". Throws for anything else, such as an exponent. */
export function decimal(text: string): Decimal {
  const match = /^[+-]?\d+(?:\.(\d+))?$/.exec(text);
  if (!match) throw new RangeError(`${text} is not a decimal number`);
  return { digits: BigInt(text.replace(".", "").replace("+", "")), decimals: match[1]?.length ?? 0 };
}

export function difference(a: Decimal, b: Decimal): Decimal {
  const decimals = Math.max(a.decimals, b.decimals);
  const scaled = (value: Decimal) => value.digits * 10n ** BigInt(decimals - value.decimals);
  return { digits: scaled(a) - scaled(b), decimals };
}

export function product(a: Decimal, b: Decimal): Decimal {
  return { digits: a.digits * b.digits, decimals: a.decimals + b.decimals };
}

export function quotient(a: Decimal, b: Decimal): Decimal {
  const digits = (a.digits * 10n ** BigInt(QUOTIENT + b.decimals)) / b.digits;
  return { digits, decimals: a.decimals + QUOTIENT };
}

export function less(a: Decimal, b: Decimal): boolean {
  return a.digits * 10n ** BigInt(b.decimals) < b.digits * 10n ** BigInt(a.decimals);
}

export function absolute({ digits, decimals }: Decimal): Decimal {
  return { digits: digits < 0n ? -digits : digits, decimals };
}

/** Write a decimal with all its digits: "1234.5". */
export function text({ digits, decimals }: Decimal): string {
  const all = String(digits < 0n ? -digits : digits).padStart(decimals + 1, "0");
  const whole = all.slice(0, all.length - decimals);
  const fraction = all.slice(all.length - decimals).replace(/0+$/, "");
  return `${digits < 0n ? "-" : ""}${whole}${fraction && `.${fraction}`}`;
}

/**
 * Round to so many significant digits, but never within the whole part: away from zero, or ("near") to the nearest.
 */
export function rounded(value: Decimal, significant: number, how: "away" | "near" = "away"): Decimal {
  const { digits, decimals } = absolute(value);
  const leading = String(digits).length - 1 - decimals;
  const wanted = digits === 0n ? 0 : Math.max(0, significant - 1 - leading);
  if (wanted >= decimals) return value;
  const step = 10n ** BigInt(decimals - wanted);
  const up = how === "away" ? digits % step > 0n : (digits % step) * 2n >= step;
  const result = digits / step + (up ? 1n : 0n);
  return { digits: value.digits < 0n ? -result : result, decimals: wanted };
}
