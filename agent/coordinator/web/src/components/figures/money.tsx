/**
 * An amount of money, given as the API's decimal string. All its digits are in the tooltip.
 *
 *   <Money amount="999.97633719" />             1,000 credits
 *   <Money amount="1.5" signed />               +1.5 credits
 *   <Money amount="1.5" bare />                 1.5, where a heading names the currency
 *
 * The price of a service's work, given for a metered unit, as one for what people buy.
 *
 *   <Price unitPrice="0.0001" of={service} />   0.36 credits per hour of audio
 *   <Price unitPrice="0.0001" of={service} bare />   0.36, where a heading names the rest
 *
 * Columns of amounts are `amount` columns of a <Table>.
 */
import { text } from "../../format/decimal.ts";
import { CURRENCY, digits, exact, priceDigits } from "../../format/money.ts";
import { priceOf, type Sold, thing } from "../../format/sale_units.ts";

export interface MoneyProps {
  amount: string;
  signed?: boolean;
  bare?: boolean;
}

export function Money({ amount, signed = false, bare = false }: MoneyProps) {
  return <Amount value={amount} title={exact(amount)} shown={digits(amount, { signed })} bare={bare} />;
}

export interface PriceProps {
  unitPrice: string;
  of: Sold;
  bare?: boolean;
}

export function Price({ unitPrice, of, bare = false }: PriceProps) {
  const value = priceOf(unitPrice, of);
  const title = `${exact(text(value))} per ${thing(of)}${of.unit ? `, ${exact(unitPrice)} per ${of.unit}` : ""}`;
  return (
    <>
      <Amount value={text(value)} title={title} shown={priceDigits(value)} bare={bare} />
      {!bare && ` per ${thing(of)}`}
    </>
  );
}

function Amount({
  value,
  title,
  shown,
  bare,
}: {
  value: string;
  title: string;
  shown: string;
  bare: boolean;
}) {
  return (
    <data class="money" value={value} title={title}>
      {shown}
      {!bare && <span class="money-unit"> {shown === "1" ? CURRENCY.slice(0, -1) : CURRENCY}</span>}
    </data>
  );
}
