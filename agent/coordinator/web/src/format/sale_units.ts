/**
 * The work of services in what people buy: prices for an hour of audio, and quantities such as 12.4 minutes of audio.
 *
 * Miners meter in small units, which prices, receipts and settings have. Each service declares its units of sale as multiples of them.
 */
import type { SaleUnit } from "@aitbc/client";
import { type Decimal, decimal, less, product, quotient, rounded } from "./decimal.ts";
import { CURRENCY, grouped, isMoney, LEAST, priceDigits, withCurrency } from "./money.ts";

/** Significant digits of a quantity of work. */
const QUANTITY = 3;

/** What has units of sale: a service, or what a machine or an offer says about one. Those of older versions have only a unit. */
export interface Sold {
  saleUnits?: SaleUnit[] | undefined;
  unit?: string | null | undefined;
}

/** Return what people count the work by, smallest first; without a declaration, the metering unit. */
export function saleUnitsOf({ saleUnits, unit }: Sold): [SaleUnit, ...SaleUnit[]] {
  const [first, ...larger] = saleUnits ?? [];
  return first
    ? [first, ...larger]
    : [{ name: unit ?? "unit", plural: `${unit ?? "unit"}s`, detail: null, units: "1" }];
}

/** Return what a price is for: "hour of audio", "picture of 1024x1024 at 20 steps". */
export function thing(sold: Sold): string {
  const { name, detail } = soldBy(sold);
  return detail ? `${name} ${detail}` : name;
}

/** Return the exact price of what people buy, from that of a metered unit. */
export function priceOf(unitPrice: string, sold: Sold): Decimal {
  return product(decimal(unitPrice), decimal(soldBy(sold).units));
}

/** Format the price of a metered unit as one of what people buy: "0.42 credits per hour of audio". */
export function price(unitPrice: string, sold: Sold): string {
  return `${withCurrency(priceDigits(priceOf(unitPrice, sold)))} per ${thing(sold)}`;
}

/** Explain the price of a metered unit that a person enters: "In credits per audio second: 0.36 credits per hour of audio." */
export function priceHelp(entered: string, sold: Sold): string {
  const means = isMoney(entered.trim()) ? `: ${price(entered.trim(), sold)}` : "";
  return `In ${CURRENCY} per ${sold.unit ?? "unit"}${means}.`;
}

/** Format metered work, in the largest unit of which there is at least one: "12.4 minutes of audio". */
export function quantity(units: string, sold: Sold): string {
  const saleUnits = saleUnitsOf(sold);
  const work = decimal(units);
  const saleUnit = saleUnits.findLast(({ units }) => !less(work, decimal(units))) ?? saleUnits[0];
  const count = quotient(work, decimal(saleUnit.units));
  const number =
    work.digits > 0n && less(count, decimal(LEAST))
      ? `< ${LEAST}`
      : grouped(rounded(count, QUANTITY, "near"));
  const words = number === "1" ? saleUnit.name : saleUnit.plural;
  return [number, words, saleUnit.detail].filter(Boolean).join(" ");
}

/** Prices are for the largest unit. */
function soldBy(sold: Sold): SaleUnit {
  const saleUnits = saleUnitsOf(sold);
  return saleUnits.at(-1) ?? saleUnits[0];
}
