/** The size and content of this package when Vite bundles it for a page. */

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build, createLogger, type Rollup } from "vite";
import { expect, test } from "vitest";

const INDEX = JSON.stringify(new URL("../src/index.ts", import.meta.url).pathname);

/** Bundle a program with Vite, and return its chunks and warnings. */
async function bundled(source: string, define: Record<string, string> = {}) {
  const root = mkdtempSync(join(tmpdir(), "aitbc-"));
  writeFileSync(join(root, "main.ts"), source);
  const warnings: string[] = [];
  const customLogger = { ...createLogger("silent"), warn: (text: string) => void warnings.push(text) };
  const found = (await build({
    root,
    configFile: false,
    logLevel: "warn",
    customLogger,
    define,
    build: {
      write: false,
      target: "es2022",
      modulePreload: { polyfill: false },
      rollupOptions: { input: join(root, "main.ts"), preserveEntrySignatures: "strict" },
    },
  })) as Rollup.RollupOutput;
  const chunks = found.output.filter((item) => item.type === "chunk");
  const main = chunks.find(({ isEntry }) => isEntry);
  if (main === undefined) throw new Error("there is no entry");
  return { chunks, main, warnings, size: gzipSync(main.code).length };
}

/** The suffix of files that are being downloaded. */
const PARTIAL_FILE = /\.part["'`]/;

test("a page with the client is small and contains nothing of Node", async () => {
  const { chunks, main, warnings, size } = await bundled(
    `import { AITBCClient } from ${INDEX}; export const client = new AITBCClient();`,
  );
  expect(warnings).toEqual([]);
  expect(size).toBeLessThan(20_000);
  for (const { code } of chunks) expect(code).not.toMatch(/(?:from|import)\s*\(?["']node:/);
  // Resumable and direct uploads, downloads into files, sealed jobs, the log, and files and sockets of Node are loaded on demand.
  expect(main.code).not.toContain("Tus-Resumable");
  expect(main.code).not.toContain("direct-uploads");
  expect(main.code).not.toMatch(PARTIAL_FILE);
  expect(main.code).not.toContain("sealed-request");
  expect(main.dynamicImports.length).toBe(8);
});

test("a page that declares that it does not run in Node leaves out downloads into files", async () => {
  const { chunks, main } = await bundled(
    `import { AITBCClient } from ${INDEX}; export const client = new AITBCClient();`,
    { "globalThis.process": "undefined" },
  );
  for (const { code } of chunks) expect(code).not.toMatch(PARTIAL_FILE);
  expect(main.dynamicImports.length).toBe(6);
});

test("a page that only verifies receipts contains no client", async () => {
  const { chunks, main, warnings, size } = await bundled(
    `import { verifyReceipt } from ${INDEX}; export { verifyReceipt };`,
  );
  expect(warnings).toEqual([]);
  // What opens the content of sealed jobs is loaded on demand.
  expect(main.dynamicImports.length).toBe(1);
  expect(main.code).not.toContain("sealed-answer");
  for (const { code } of chunks) expect(code).not.toContain("/v1/jobs");
  expect(size).toBeLessThan(28_000);
});

test("a page that uses neither contains nothing of the package", async () => {
  const { main } = await bundled(`import * as aitbc from ${INDEX}; export const version = aitbc.VERSION;`);
  expect(main.code.length).toBeLessThan(300);
});
