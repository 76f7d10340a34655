/** The market's rows, what is said of a job, the changes of a repeated job, and the history of the chat. */
import type { Job, JobDetails, MarketMiner, Offer, Service } from "@aitbc/client";
import { beforeEach, describe, expect, test } from "vitest";
import { rowsOf } from "../src/features/offers/client_rows.ts";
import { filteredBy, remedy, secondsLeft } from "../src/format/jobs.ts";
import { compactJson, withRanges } from "../src/format/json.ts";
import {
  type Conversation,
  conversations,
  forget,
  forgetAll,
  lastQuestion,
  openHistory,
  remember,
  type Turn,
  titleOf,
} from "../src/views/chat/history.ts";
import { changesOf, requestFor } from "../src/views/job/request.ts";

describe("the market", () => {
  const offer = (offerId: string, minerId: string, jobType: string) =>
    ({ offerId, minerId, jobType }) as Offer;
  const offers = [offer("1", "a", "my-images"), offer("2", "b", "llm"), offer("3", "a", "llm")];
  const miners = [
    { minerId: "a", name: "rig", services: [{ serviceId: "llm", unit: "token" }] },
  ] as MarketMiner[];
  const services = [{ serviceId: "whisper" }, { serviceId: "llm" }] as Service[];

  test("joins offers with their machine and its service, in the order of the services, those of other names last", () => {
    const rows = rowsOf(offers, miners, services);
    expect(rows.map(({ offer, miner, service }) => [offer.offerId, miner?.name, service?.unit])).toEqual([
      ["2", undefined, undefined],
      ["3", "rig", "token"],
      ["1", "rig", undefined],
    ]);
  });
});

describe("a job", () => {
  const job = (changes: Partial<Job>) => ({ attempts: 1, maxAttempts: 3, progress: 0, ...changes }) as Job;

  test("says how long it will take by its own progress, and before that by other jobs", () => {
    const times = { startedAt: "2026-01-01T00:00:00Z", estimatedCompletion: "2026-01-01T00:00:50Z" };
    const now = Date.parse("2026-01-01T00:00:40Z");
    expect(secondsLeft(job({ ...times, progress: 2 }), now)).toBe(10);
    expect(secondsLeft(job({ ...times, progress: 20 }), now)).toBe(160);
    expect(secondsLeft(job({}), now)).toBeUndefined();
  });

  test("says what to do after a failure of the machines, and of the request", () => {
    expect(remedy(job({ attempts: 3 }))).toBe(
      "All 3 attempts failed. Run it again later, or with another model or miner.",
    );
    expect(remedy(job({ attempts: 1 }))).toContain("Correct the request");
    expect(remedy(job({ attempts: 1, maxAttempts: 1 }))).toContain("Correct the request");
  });

  test("is counted with what a list is filtered by", () => {
    expect(filteredBy(3, ["failed", undefined, "Transcription"])).toBe("3 jobs (failed, Transcription)");
    expect(filteredBy(1, [undefined, ""])).toBe("1 job");
  });
});

describe("JSON", () => {
  test("has lists of values on one line, and cuts long ones on request", () => {
    expect(compactJson({ frames: [1, 2], text: "a [ b ]", sides: [{ a: 1 }], none: {} })).toBe(
      '{\n  "frames": [1, 2],\n  "text": "a [ b ]",\n  "sides": [\n    {\n      "a": 1\n    }\n  ],\n  "none": {}\n}',
    );
    const numbers = Array.from({ length: 300 }, (_, index) => index);
    expect(JSON.parse(compactJson({ numbers }))).toEqual({ numbers });
    expect(compactJson(numbers, { most: 2 })).toBe("[0, 1, \u2026 298 more]");
  });

  test("of frames is shown as ranges", () => {
    expect(withRanges([1, 2, 3, 7, 8, "a"])).toEqual(["1 to 3", 7, 8, "a"]);
    expect(withRanges([1.5, 2.5, 3.5])).toEqual([1.5, 2.5, 3.5]);
  });
});

describe("a repeated job", () => {
  test("sends what differs; what is left out returns to its default", () => {
    const earlier = { prompt: "a house", steps: 20, size: "64x64" };
    expect(changesOf(earlier, { prompt: "a house", steps: 30 })).toEqual({ steps: 30, size: null });
  });

  test("needs addresses again whose query is not shown", () => {
    const job = {
      parameters: { model: { source: "https://example.com/m.py?hidden", entrypoint: "m.py" }, steps: 3 },
      inputs: [{ field: "model.source", name: "m.py", url: "https://example.com/m.py?hidden" }],
    } as unknown as JobDetails;
    expect(requestFor(job)).toEqual({ model: { entrypoint: "m.py" }, steps: 3 });
  });
});

describe("the history of the chat", () => {
  const stored = new Map<string, string>();
  let limit = Number.POSITIVE_INFINITY;
  globalThis.localStorage = {
    getItem: (key: string) => stored.get(key) ?? null,
    removeItem: (key: string) => stored.delete(key),
    setItem: (key: string, value: string) => {
      if (value.length > limit) throw new DOMException("full", "QuotaExceededError");
      stored.set(key, value);
    },
  } as unknown as Storage;
  const say = (id: string, content: string) => remember(id, [{ role: "user", content }]);
  const titles = () => conversations.value.map(titleOf);

  beforeEach(() => {
    stored.clear();
    limit = Number.POSITIVE_INFINITY;
    openHistory("account");
  });

  test("has the newest conversation first, survives a reload, and can be deleted", () => {
    say("1", "one\nmore");
    say("2", "two");
    say("1", "one again");
    openHistory("account");
    expect(titles()).toEqual(["one again", "two"]);
    forget("1");
    expect(titles()).toEqual(["two"]);
    forgetAll();
    expect([titles(), stored.size]).toEqual([[], 0]);
  });

  test("belongs to one account", () => {
    say("1", "one");
    openHistory("another");
    expect(titles()).toEqual([]);
  });

  test("deletes the oldest conversations when the browser's storage is full", () => {
    say("1", "one");
    say("2", "two");
    limit = JSON.stringify(conversations.value satisfies Conversation[]).length;
    say("3", "six");
    expect(titles()).toEqual(["six", "two"]);
  });

  test("is empty if the stored text is damaged", () => {
    stored.set("aitbc.chat.account", "{");
    openHistory("account");
    expect(titles()).toEqual([]);
  });
});

test("the last question of a conversation can be asked again, without its answer", () => {
  const turns: Turn[] = [
    { role: "user", content: "one" },
    { role: "assistant", content: "1" },
    { role: "user", content: "two" },
    { role: "assistant", content: "", note: "failed", failed: true },
  ];
  expect(lastQuestion(turns)).toEqual({ question: "two", before: turns.slice(0, 2) });
  expect(lastQuestion([])).toEqual({ question: "", before: [] });
});
