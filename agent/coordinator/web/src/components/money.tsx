/**
 * Money, as the API tells it: a decimal string.
 *
 *   <Money amount="0.04" />          0.04 with the rest of its decimals in the tooltip
 *   <Money amount="-1.5" signed />
 */
import { money } from "../format/money.ts";

export function Money({ amount, signed = false }: { amount: string; signed?: boolean }) {
  return <data value={amount}>{money(amount, signed)}</data>;
}
