/**
 * Parsers of untrusted data accept an input or throw this package's errors, and agree with the Python SDK: the tests replay
 * its fuzzer's corpus, which contains the verdict for each input.
 *
 * `FUZZ_SECONDS=600 npx vitest run fuzz` searches for new inputs, ten minutes for each parser.
 */

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { VerificationError } from "../src/errors.js";
import { verifyAttestation } from "../src/verification/attestation.js";
import {
  canonicalJson,
  decodeBase64,
  decodeUtf8,
  encodeBase64,
  parseJson,
} from "../src/verification/canonical.js";
import { openEnvelope } from "../src/verification/dsse.js";
import { COSIGNATURE_TYPE, parseVkey } from "../src/verification/keys.js";
import { parseSettlement } from "../src/verification/leaves/settlement.js";
import { parseCheckpoint, parseProof } from "../src/verification/log.js";
import { parseNote } from "../src/verification/notes.js";
import { parsePolicy } from "../src/verification/policy.js";
import { parseStatement } from "../src/verification/statement.js";
import { parseTilePath } from "../src/verification/tiles.js";
import { fromBase64, vectors } from "./vectors.js";

const SECONDS = Number(process.env.FUZZ_SECONDS ?? "0");
const RUNS = 2000;

const { bundle, log_key } = vectors<{
  // biome-ignore lint/suspicious/noExplicitAny: the vectors have no type
  bundle: any;
  log_key: string;
}>("receipts");
const minerKey = decodeBase64(bundle.receipt.signature.public_key);
const logKey = parseVkey(log_key).publicKey;

/** The parsers by the names of their corpora. */
const TARGETS: Record<string, (data: Uint8Array<ArrayBuffer>) => unknown> = {
  attestation: (data) => verifyAttestation(parseJson(data), logKey),
  base64: (data) => {
    const text = decodeUtf8(data);
    expect(encodeBase64(decodeBase64(text))).toBe(text);
  },
  checkpoint: (data) => parseCheckpoint(decodeUtf8(data)),
  dsse: (data) => openEnvelope(parseJson(data), minerKey, "application/vnd.in-toto+json"),
  json: (data) => canonicalJson(parseJson(data)),
  note: (data) => parseNote(data),
  policy: parsePolicy,
  proof: (data) => parseProof(data),
  settlement: (data) => parseSettlement(data),
  statement: (data) => parseStatement(data),
  tile: (data) => parseTilePath(decodeUtf8(data)),
  vkey: (data) => parseVkey(decodeUtf8(data)),
  witness_key: (data) => parseVkey(decodeUtf8(data), COSIGNATURE_TYPE),
};

interface Entry {
  accepted: boolean;
  data: Uint8Array<ArrayBuffer>;
}

function corpus(name: string): Entry[] {
  const path = new URL(`../../../tests/fuzzing/corpus/${name}.txt`, import.meta.url);
  const lines = readFileSync(path, "ascii").split("\n").slice(0, -1);
  return lines.map((line) => ({ accepted: line[0] === "+", data: fromBase64(line.slice(2)) }));
}

function accepts(name: string, data: Uint8Array<ArrayBuffer>): boolean {
  try {
    TARGETS[name]?.(data);
  } catch (error) {
    if (error instanceof VerificationError) return false;
    throw error;
  }
  return true;
}

/** Generate inputs of the corpus with up to four pieces replaced. */
function changed(entries: Entry[]): fc.Arbitrary<Uint8Array<ArrayBuffer>> {
  const change = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    removed: fc.nat(12),
    inserted: fc.uint8Array({ maxLength: 6 }),
  });
  return fc
    .tuple(fc.constantFrom(...entries), fc.array(change, { minLength: 1, maxLength: 4 }))
    .map(([entry, changes]) =>
      changes.reduce((data, { at, removed, inserted }) => {
        const start = Math.floor(at * data.length);
        return Uint8Array.from([...data.slice(0, start), ...inserted, ...data.slice(start + removed)]);
      }, entry.data),
    );
}

describe.each(Object.keys(TARGETS))("%s", (name) => {
  const entries = corpus(name);

  test("accepts exactly the inputs that the Python SDK accepts", () => {
    expect(entries.length).toBeGreaterThan(0);
    const wrong = entries.filter((entry) => accepts(name, entry.data) !== entry.accepted);
    expect(wrong.map((entry) => `${entry.accepted} ${encodeBase64(entry.data)}`)).toEqual([]);
  });

  test(
    "accepts or refuses changed inputs",
    () => {
      const limits =
        SECONDS > 0
          ? { numRuns: Number.MAX_SAFE_INTEGER, interruptAfterTimeLimit: SECONDS * 1000 }
          : { numRuns: RUNS };
      fc.assert(
        fc.property(changed(entries), (data) => {
          accepts(name, data);
        }),
        limits,
      );
    },
    (SECONDS + 60) * 1000,
  );
});
