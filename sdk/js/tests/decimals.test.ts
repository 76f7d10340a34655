/** Decimal arithmetic agrees with that of the package big.js. */

import Big from "big.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { productRoundedUp, scaled, shortest } from "../src/decimals.js";
import { FormatError } from "../src/errors.js";

const decimal = fc
  .tuple(
    fc.bigInt({ min: 0n, max: 10n ** 20n - 1n }),
    fc.string({ unit: fc.constantFrom(..."0123456789"), maxLength: 30 }),
  )
  .map(([whole, fraction]) => (fraction ? `${whole}.${fraction}` : String(whole)));

test("products are rounded up to 8 decimals", () => {
  fc.assert(
    fc.property(decimal, decimal, (one, other) => {
      expect(productRoundedUp(one, other, 8)).toBe(Big(one).times(other).round(8, Big.roundUp).toFixed());
    }),
  );
});

test("numbers compare, and have one shortest text", () => {
  fc.assert(
    fc.property(decimal, decimal, (one, other) => {
      expect(Math.sign(Number(scaled(one) - scaled(other)))).toBe(Big(one).cmp(other));
      expect(shortest(scaled(one))).toBe(Big(one).toFixed());
    }),
  );
});

test("JSON's numbers with an exponent are read", () => {
  expect([1e-7, 2.5e21, -0.5].map((value) => scaled(String(value)))).toEqual([
    10n ** 23n,
    25n * 10n ** 50n,
    -5n * 10n ** 29n,
  ]);
  for (const text of ["", "1.", ".5", "1e-31", "0x1", "NaN", "1,5"])
    expect(() => scaled(text)).toThrow(FormatError);
});
