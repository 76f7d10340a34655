/**
 * Money, as the API tells it: a decimal string.
 *
 *   <Money amount="0.04" />
 *   <Money amount="1.5" signed />               with a plus
 *   <Money amount="999.97633719" short />       999.9763, the rest in the tooltip; for balances and sums
 */
import { money, shortened } from "../../format/money.ts";

export interface MoneyProps {
  amount: string;
  signed?: boolean;
  short?: boolean;
}

export function Money({ amount, signed = false, short = false }: MoneyProps) {
  return (
    <data value={amount} title={short ? money(amount) : undefined}>
      {money(short ? shortened(amount) : amount, signed)}
    </data>
  );
}
