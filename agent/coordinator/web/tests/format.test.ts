/** Formatting of amounts, times and sizes, and the views of answers and of a running job. */
import { readFileSync } from "node:fs";
import type { JobEvent } from "@aitbc/client";
import { CODE_FENCE, ITALIC_UND, PARAGRAPH } from "streaming-markdown";
import { describe, expect, test } from "vitest";
import { niceCeiling } from "../src/components/figures/chart.tsx";
import { decimalsOf, digits, isMoney, money, shortened } from "../src/format/money.ts";
import { serviceName, shortId, units } from "../src/format/names.ts";
import { plural, size } from "../src/format/size.ts";
import { ago, duration, position } from "../src/format/time.ts";
import { withoutReasoning } from "../src/results/answer.tsx";
import { type Node, parsed, safeAddress } from "../src/results/markdown.ts";
import { bucketed } from "../src/throughput.ts";
import { INITIAL, reduce } from "../src/views/job/progress.ts";

test("formats money with its currency, all decimals and thousands separators", () => {
  expect(["1000", "0.00012", "-1234567.5", "0"].map((amount) => digits(amount))).toEqual([
    "1,000.00",
    "0.00012",
    "\u22121,234,567.50",
    "0.00",
  ]);
  expect(money("5", { signed: true })).toBe("+5.00 credits");
  expect(money("0", { signed: true })).toBe("0.00 credits");
  const rounded = {
    "999.97633719": "999.98",
    "999.9997": "1000",
    "0.01234567": "0.0123",
    "0.00029512": "0.0003",
    "0.00000081": "0.00000081",
    "0.99999": "1",
    "-0.00001": "-0.00001",
    "-12.345": "-12.35",
    "0.2": "0.2",
    "5": "5",
  };
  expect(Object.fromEntries(Object.keys(rounded).map((amount) => [amount, shortened(amount)]))).toEqual(
    rounded,
  );
  expect(["1", "0.00000001", "1.", "-1", "1e5", "0.000000001"].map(isMoney)).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test("aligns the decimals of a column", () => {
  const column = ["0.0001", "1000", "2.5"];
  const decimals = decimalsOf(column);
  expect(column.map((amount) => digits(amount, { decimals }))).toEqual(["0.0001", "1,000.0000", "2.5000"]);
  expect(decimalsOf(["3"])).toBe(2);
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

test("formats numbers with their units, and ids", () => {
  expect([units(1, "token"), units("97", "gpu second (cpu second without a GPU)")]).toEqual([
    "1 token",
    "97 gpu seconds",
  ]);
  expect([plural(1, "job"), plural(1200, "job")]).toEqual(["1 job", "1,200 jobs"]);
  expect([812, 3_565_158, 2 ** 40].map(size)).toEqual(["812 B", "3.4 MiB", "1 TiB"]);
  expect([serviceName("llm_inference"), serviceName("my_service")]).toEqual(["Language model", "My service"]);
  expect(shortId("job_06h17560p9fcdfi9s78j9rant0")).toBe("job_06h1\u2026rant0");
});

test("ends a chart's scale at a round number", () => {
  expect([0, 1, 3, 4.2, 11, 99].map(niceCeiling)).toEqual([1, 1, 4, 5, 20, 100]);
});

test("counts events by the time step in which they happened", () => {
  const now = Date.parse("2026-11-25T12:01:00Z");
  const minutes = (count: number) => now - count * 60_000;
  const points = bucketed([minutes(0), minutes(1), minutes(3), minutes(90)], "hour", now);
  expect(points.length).toBe(30);
  expect(points.slice(-2).map(({ value }) => value)).toEqual([1, 2]);
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
