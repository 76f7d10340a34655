/** The frame: which area and entry an address belongs to, the letters of pages, and the matching of the command menu. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { matching } from "../src/commands/match.ts";
import { ACCOUNTS, areaOf, currentPage, EARNINGS, type PageEntry } from "../src/routes.ts";
import type { Role } from "../src/session.ts";

const pages = ["/", "/jobs", "/new", "/machine", "/machine/earnings", "/network", "/network/accounts"].map(
  (path) => ({ path }) as PageEntry,
);
const every: Role[] = ["client", "miner", "admin"];

describe("an address", () => {
  test("belongs to an area, if the session may open it", () => {
    expect(areaOf("/dashboard/machine/models", every)).toBe("machine");
    expect(areaOf("/dashboard/machines", every)).toBe("client");
    expect(areaOf("/dashboard/network/", every)).toBe("network");
    expect(areaOf("/dashboard/", every)).toBe("client");
    expect(areaOf("/dashboard/verify", ["miner"])).toBe("machine");
    expect(areaOf("/dashboard/verify", [])).toBeUndefined();
  });

  test("belongs to the entry with the longest path, and a tab to that of the first tab", () => {
    const entry = (address: string) => currentPage(address, pages)?.path;
    expect(entry("/dashboard/jobs/job_1")).toBe("/jobs");
    expect(entry("/dashboard/machine/models")).toBe("/machine");
    expect(entry(`/dashboard${EARNINGS[1]?.path}`)).toBe("/machine/earnings");
    for (const { path } of ACCOUNTS) expect(entry(`/dashboard${path}`)).toBe("/network/accounts");
    expect(ACCOUNTS.at(-1)).toEqual({ path: "/network/trail", name: "Trail" });
    expect(entry("/dashboard/nowhere")).toBeUndefined();
    expect(entry("/dashboard/")).toBe("/");
  });
});

describe("the command menu", () => {
  const texts = [
    "API keys",
    "New job: Transcription",
    "Accounts",
    "Wallet",
    "Keys and tokens",
    "(draft) talk",
  ];
  const found = (query: string) => matching(query, texts, (text) => text);

  test("finds letters in their order, beginnings of words first", () => {
    expect(found("nt")[0]).toBe("New job: Transcription");
    expect(found("keys")).toEqual(["Keys and tokens", "API keys"]);
    expect(found("wlt")).toEqual(["Wallet"]);
    expect(found("(d")).toEqual(["(draft) talk"]);
    expect(found("zzz")).toEqual([]);
  });

  test("shows all without a query, in their order", () => expect(found(" ")).toEqual(texts));
});

test("only the tokens have colours, sizes of type, weights and radii", () => {
  const folder = new URL("../src/styles/", import.meta.url);
  const literal = /#[0-9a-f]{3,8}\b|\brgb|(font-size|font-weight|border-radius): [0-9.]+(?!%)[a-z;]/;
  const lines = readdirSync(folder)
    .filter((file) => file !== "tokens.css" && file !== "fonts.css")
    .flatMap((file) => readFileSync(new URL(file, folder), "utf8").split("\n"));
  // Masks have no colour: what is opaque stays.
  expect(lines.filter((line) => literal.test(line) && !line.includes("#000 "))).toEqual([]);
});
