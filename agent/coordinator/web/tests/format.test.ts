/** Formatting of amounts, times and sizes, and the views of answers and of a running job. */
import { readFileSync } from "node:fs";
import type { JobEvent, SaleUnit } from "@aitbc/client";
import { CODE_FENCE, ITALIC_UND, PARAGRAPH } from "streaming-markdown";
import { describe, expect, test } from "vitest";
import { niceCeiling } from "../src/components/figures/chart.tsx";
import { decimal } from "../src/format/decimal.ts";
import { digits, exact, isMoney, money, priceDigits } from "../src/format/money.ts";
import { serviceName, shortId } from "../src/format/names.ts";
import { price, quantity } from "../src/format/sale_units.ts";
import { plural, size } from "../src/format/size.ts";
import { ago, duration, position } from "../src/format/time.ts";
import { entered, subjectOf } from "../src/format/trail.ts";
import { withoutReasoning } from "../src/results/answer.tsx";
import { type Node, parsed, safeAddress } from "../src/results/markdown.ts";
import { INITIAL, reduce } from "../src/views/job/progress.ts";

interface AmountVectors {
  amounts: { amount: string; text: string; price: string }[];
  services: {
    sale_units: SaleUnit[];
    work: { units: string; text: string }[];
    prices: { unit_price: string; text: string }[];
  }[];
}

const vectors: AmountVectors = JSON.parse(
  readFileSync(new URL("../../../../tests/vectors/amounts.json", import.meta.url), "utf8"),
);

test("writes amounts and prices as the Python SDK does", () => {
  for (const { amount, text, price } of vectors.amounts) {
    expect([amount, money(amount), priceDigits(decimal(amount))]).toEqual([amount, text, price]);
  }
});

test("writes the work and the prices of services as the Python SDK does", () => {
  for (const { sale_units: saleUnits, work, prices } of vectors.services) {
    for (const { units, text } of work) expect(quantity(units, { saleUnits })).toBe(text);
    for (const { unit_price, text } of prices) expect(price(unit_price, { saleUnits })).toBe(text);
  }
});

test("shows no less than there is, with four digits of a fraction, and all digits in the tooltip", () => {
  for (const { amount } of vectors.amounts) {
    const text = digits(amount.replace("-", ""));
    const shown = text.replaceAll(",", "").replace("< ", "");
    expect(Number(shown)).toBeGreaterThanOrEqual(Math.abs(Number(amount)));
    if (shown.includes("."))
      expect(shown.replace(/^0\.0*/, "").replace(".", "").length).toBeLessThanOrEqual(4);
    expect(
      exact(amount)
        .replaceAll(/,| credits?$/g, "")
        .replace("\u2212", "-"),
    ).toBe(amount);
  }
  expect(digits("5", { signed: true })).toBe("+5");
  expect(digits("0", { signed: true })).toBe("0");
});

test("counts the work of a service without a declaration in its metering unit", () => {
  expect(quantity("1", { unit: "cat" })).toBe("1 cat");
  expect(quantity("12.5", { unit: "cat", saleUnits: [] })).toBe("12.5 cats");
  expect(price("0.5", {})).toBe("0.5 credits per unit");
});

test("accepts the amounts that the API accepts", () => {
  expect(["1", "0.00000001", "1.", "-1", "1e5", "0.000000001"].map(isMoney)).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test("formats times and durations", () => {
  const now = Date.parse("2026-11-25T12:00:00Z");
  const times = ["11:59:59.5", "11:59:48", "11:57:00", "09:59:00", "14:00:00", "12:00:30"];
  expect(times.map((time) => ago(`2026-11-25T${time}Z`, now))).toEqual([
    "now",
    "12 s ago",
    "3 min ago",
    "2 h ago",
    "in 2 h",
    "in 30 s",
  ]);
  expect(ago("2026-11-20T12:00:00Z", now)).toBe("5 days ago");
  expect([0.25, 2.034, 59.97, 125, 7860].map(duration)).toEqual([
    "250 ms",
    "2.03 s",
    "1 min",
    "2 min 5 s",
    "2 h 11 min",
  ]);
  expect([0, 63.42, 3723.4].map(position)).toEqual(["0:00.0", "1:03.4", "1:02:03.4"]);
});

test("formats numbers with their nouns, and ids", () => {
  expect([plural(1, "job"), plural(1200, "job")]).toEqual(["1 job", "1,200 jobs"]);
  expect([812, 3_565_158, 2 ** 40].map(size)).toEqual(["812 B", "3.4 MiB", "1 TiB"]);
  expect([serviceName("llm_inference"), serviceName("my_service")]).toEqual(["Language model", "My service"]);
  expect(shortId("job_06h17560p9fcdfi9s78j9rant0")).toBe("job_06h1\u2026rant0");
});

test("ends a chart's scale at a round number", () => {
  expect([0, 1, 3, 4.2, 11, 99].map(niceCeiling)).toEqual([1, 1, 4, 5, 20, 100]);
});

describe("Markdown", () => {
  const texts = (text: string): unknown => {
    const simple = (node: Node | string): unknown =>
      typeof node === "string" ? node : [node.token, ...node.children.map(simple)];
    return parsed(text).children.map(simple);
  };

  test("separates code from text, also while it is written", () => {
    expect(texts("Look:\n```python\nprint(1)\n```\nDone.")).toEqual([
      [PARAGRAPH, "Look:"],
      [CODE_FENCE, "print(1)"],
      [PARAGRAPH, "Done."],
    ]);
    expect(texts("```python\nprint(1)\npri")).toEqual([[CODE_FENCE, "print(1)\npri"]]);
  });

  test.each([
    ["[Foo](https://example.org/wiki/Foo_(bar)) next", "https://example.org/wiki/Foo_(bar)", " next"],
    ["[a](https://example.org/a_(b)_c_(d)e).", "https://example.org/a_(b)_c_(d)e", "."],
    ["[a](https://example.org/(b(c)d)e)", "https://example.org/(b(c)d)e", ""],
    ["[a](https://example.org/b) (c)", "https://example.org/b", " (c)"],
  ])("reads the whole address of %s", (text, address, after) => {
    const [paragraph] = parsed(text).children as [Node];
    const [link, rest = ""] = paragraph.children as [Node, string?];
    expect([link.attributes.href, rest]).toEqual([address, after]);
  });

  test("shows HTML and underscores inside words as they are", () => {
    expect(texts("a <b onclick=x>snake_case_word</b> and _this_")).toEqual([
      [PARAGRAPH, "a <b onclick=x>snake_case_word</b> and ", [ITALIC_UND, "this"]],
    ]);
  });

  test("links only to web pages and e-mail addresses", () => {
    expect(["https://example.com", "mailto:a@example.com"].map(safeAddress)).toEqual([
      "https://example.com",
      "mailto:a@example.com",
    ]);
    const others = ["javascript:alert(1)", "data:text/html,x", "/v1/jobs", undefined];
    expect(others.map(safeAddress)).toEqual([undefined, undefined, undefined, undefined]);
  });

  test("separates the reasoning from the answer", () => {
    expect(withoutReasoning("<think>Hm.</think>\nParis.")).toEqual({ reasoning: "Hm.", answer: "\nParis." });
    expect(withoutReasoning("<think>Hm")).toEqual({ reasoning: "Hm", answer: "" });
    expect(withoutReasoning("Paris.")).toEqual({ reasoning: "", answer: "Paris." });
  });
});

describe("the progress of a job", () => {
  const token = (text: string, offset: number): JobEvent => ({ kind: "token", data: { text, offset } });

  test("contains each piece of text once, with offsets in code points", () => {
    const progress = [token("\u{1f600} a", 0), token(" b", 3), token(" b", 3)].reduce(reduce, INITIAL);
    expect(progress.text).toBe("\u{1f600} a b");
  });

  test("separates the reasoning from the text", () => {
    const part = (reasoning: string, index: number): JobEvent => ({
      kind: "part",
      data: { reasoning, index },
    });
    const events = [part("Let me ", 0), part("see.", 0), part("another answer's", 1), token("Paris", 0)];
    expect(events.reduce(reduce, INITIAL)).toMatchObject({ reasoning: "Let me see.", text: "Paris" });
  });

  test("contains the latest output of each name, with the runner's extra fields", () => {
    const output = (size: number): JobEvent => ({
      kind: "output",
      data: {
        artifact_id: "sha256:0",
        name: "frame_1.png",
        media_type: "image/png",
        size,
        extra: { frame: 1 },
      },
    });
    const progress = [output(1), output(2)].reduce(reduce, INITIAL);
    expect(progress.outputs).toMatchObject([{ name: "frame_1.png", size: 2, frame: 1 }]);
  });

  test("starts over with a new run", () => {
    const job = { status: "submitted" } as JobEvent["job"];
    const progress = [token("half", 0), { kind: "job_update", job, data: {} }].reduce(reduce, INITIAL);
    expect(progress).toEqual({ ...INITIAL, job });
  });
});

test("draws every icon that pages may name", () => {
  const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8");
  const names = [...read("../src/components/icon.tsx").matchAll(/\| "(\w+)"/g)].map(([, name]) => name);
  const drawn = [...read("../index.html").matchAll(/id="icon-(\w+)"/g)].map(([, name]) => name);
  expect(names.length).toBeGreaterThan(40);
  expect(drawn).toEqual(names);
});

test("names what an administrator has changed, with its page if it has one, and what was entered", () => {
  expect(subjectOf("/v1/admin/miners/miner_ab12/exclude")).toEqual({ id: "miner_ab12", page: "miners" });
  expect(subjectOf("/v1/admin/payouts/batch_1/approve")).toEqual({ id: "batch_1", page: "payouts" });
  expect(subjectOf("/v1/admin/accounts/account_1/credit")).toEqual({ id: "account_1", page: undefined });
  expect(subjectOf("/v1/admin/accounts")).toBeUndefined();
  expect(entered({ amount: "10", expiresIn: 60, max_uses: 1, force: true, open: false })).toBe(
    "amount 10, expires in 60, max uses 1, force, not open",
  );
  expect(entered({ accountId: "account_06h35dnb53lp338mdaba7ics58" })).toBe("account_06h3\u2026ics58");
  expect(entered({})).toBe("");
});
