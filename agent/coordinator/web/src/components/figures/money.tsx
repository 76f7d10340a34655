/**
 * An amount of money with its currency, given as the API's decimal string.
 *
 *   <Money amount="0.04" />                     0.04 credits
 *   <Money amount="1.5" signed />               with a plus sign
 *   <Money amount="999.97633719" short />       999.98 credits, with all decimals in the tooltip; for balances and totals
 *
 * Columns of amounts are `amount` columns of a <Table>, which aligns their decimals.
 */
import { CURRENCY, digits, money, shortened } from "../../format/money.ts";

export interface MoneyProps {
  amount: string;
  signed?: boolean;
  short?: boolean;
}

export function Money({ amount, signed = false, short = false }: MoneyProps) {
  return (
    <data class="money" value={amount} title={short ? money(amount) : undefined}>
      {digits(short ? shortened(amount) : amount, { signed })} <span class="money-unit">{CURRENCY}</span>
    </data>
  );
}
