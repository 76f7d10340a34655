/**
 * An amount of money, given as the API's decimal string.
 *
 *   <Money amount="0.04" />
 *   <Money amount="1.5" signed />               with a plus sign
 *   <Money amount="999.97633719" short />       999.9763, with all decimals in the tooltip; for balances and totals
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
