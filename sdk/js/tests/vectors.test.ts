/** Both SDKs accept and refuse the same bytes, with the same messages. */

import Big from "big.js";
import { describe, expect, test } from "vitest";
import { VerificationError } from "../src/errors.js";
import type { Envelope } from "../src/models.js";
import { canonicalJson, decodeBase64, parseJson, sha256Hex } from "../src/verification/canonical.js";
import { openEnvelope, pae, verifyDetached } from "../src/verification/dsse.js";
import { formatVkey, parseVkey } from "../src/verification/keys.js";
import { openPayoutAddress, verifyPayout } from "../src/verification/leaves/payouts.js";
import { parseSettlement } from "../src/verification/leaves/settlement.js";
import { comparisonSha256, parseVerdict } from "../src/verification/leaves/verdict.js";
import { openCheckpoint, parseProof, receiptLeaf, verifyProof } from "../src/verification/log.js";
import { verifyConsistency, verifyInclusion } from "../src/verification/merkle.js";
import { findCosignature, parseNote } from "../src/verification/notes.js";
import { parseQuantity } from "../src/verification/quantities.js";
import type { Json } from "../src/verification/shape.js";
import { jobPrice, parseDecimal } from "../src/verification/statement.js";
import { changed, fromBase64, fromHex, vectors } from "./vectors.js";

const utf8 = (text: string) => new TextEncoder().encode(text);
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function refused(call: () => unknown): boolean {
  try {
    call();
  } catch (error) {
    if (error instanceof VerificationError) return true;
    throw error;
  }
  return false;
}

describe("canonical JSON", () => {
  const { good, bad, bad_base64 } = vectors<{
    good: { text: string; canonical: string }[];
    bad: string[];
    bad_base64: string[];
  }>("canonical");

  test.each(good)("$text has one form", ({ text: source, canonical }) => {
    expect(text(canonicalJson(parseJson(source)))).toBe(canonical);
    expect(text(canonicalJson(parseJson(canonical)))).toBe(canonical);
  });

  test.each(bad)("%j is refused", (source) => {
    expect(refused(() => canonicalJson(parseJson(source)))).toBe(true);
  });

  test.each([undefined, () => 1, 1n, new Date(), Number.NaN, [undefined], { a: undefined }, new Map()])(
    "%s is not JSON",
    (value) => {
      expect(refused(() => canonicalJson(value))).toBe(true);
    },
  );

  test("refuses deep nesting instead of crashing", () => {
    let value: unknown = [];
    for (let depth = 0; depth < 100_000; depth++) value = [value];
    expect(refused(() => canonicalJson(value))).toBe(true);
  });

  test.each(bad_base64)("%j is not canonical base64", (source) => {
    expect(refused(() => decodeBase64(source))).toBe(true);
  });
});

describe("quantities", () => {
  const { good, bad } = vectors<{ good: { text: string; value: string }[]; bad: string[] }>("quantities");

  test.each(good)("$text is $value", ({ text: source, value }) => {
    expect(Big(parseQuantity(source)).eq(value)).toBe(true);
  });

  test.each(bad)("%j is refused", (source) => {
    expect(refused(() => parseQuantity(source))).toBe(true);
  });
});

describe("payouts", () => {
  const { log_key, proofs, addresses } = vectors<{
    log_key: string;
    proofs: { proof: Json; failing: string[] }[];
    addresses: { envelope: Json; public_key: string; valid: boolean }[];
  }>("payouts");

  test("proofs of payments fail in the same checks", () => {
    for (const { proof, failing } of proofs) {
      const { checks } = verifyPayout(proof, log_key);
      const failed = new Set(checks.filter(({ ok }) => !ok).map(({ name }) => name));
      expect([...failed].sort(), JSON.stringify(proof)).toEqual(failing);
    }
  });

  test("addresses are those that their miner signed", () => {
    for (const { envelope, public_key, valid } of addresses) {
      expect(refused(() => openPayoutAddress(envelope, fromBase64(public_key)))).toBe(!valid);
    }
  });
});

describe("verdicts", () => {
  const opinion = {
    audit_id: "audit_1",
    kind: "check",
    receipt_id: "receipt_2",
    verdict: "fail",
    comparison_sha256: "a".repeat(64),
  };
  const verdict = {
    _type: "https://aitbc.bubuit.net/verdict/v1",
    audit_id: "audit_1",
    parent: null,
    kind: "check",
    job_id: "job_1",
    receipt_id: "receipt_1",
    miner_id: `miner_${"a".repeat(26)}`,
    service: "llm_inference",
    model: null,
    verdict: "fail",
    opinions: [opinion],
    odd_ones: [],
    sanction: { probability: "3.2e-09", forfeited: "0.5" },
    decided_at: "2026-11-28T00:00:00Z",
  };

  test("have one form", () => {
    const parsed = parseVerdict(canonicalJson(verdict));
    expect([parsed.receiptId, parsed.opinions.length, parsed.sanction?.forfeited]).toEqual([
      "receipt_1",
      1,
      "0.5",
    ]);
    const others = [
      { receipt_id: "receipt_2" },
      { parent: "audit_0" },
      { kind: "second_opinion" },
      { verdict: "maybe" },
      { sanction: { probability: "0", forfeited: "0.5" } },
      { opinions: Array(9).fill(opinion) },
      { _type: "another" },
    ];
    for (const other of others)
      expect(refused(() => parseVerdict(canonicalJson({ ...verdict, ...other })))).toBe(true);
    expect(refused(() => parseVerdict(utf8(JSON.stringify(verdict, null, 1))))).toBe(true);
  });

  test("have the digest of what was compared", () => {
    // sha256 of {"distances":{"ssim_loss":0.02},"limits":{},"reason":"r","where":"w"}
    const found = { distances: { ssim_loss: 0.02 }, limits: {}, where: "w", reason: "r" };
    expect(comparisonSha256(found)).toBe("140d1879187fea26429955f7f43247c33764cdf8cc72355d12ce787270861777");
  });
});

describe("money", () => {
  const { prices, good, bad } = vectors<{
    prices: { units: string; unit_price: string; max_cost: string; price: string }[];
    good: string[];
    bad: string[];
  }>("money");

  test.each(prices)("$units at $unit_price cost $price", ({ units, unit_price, max_cost, price }) => {
    expect(jobPrice(units, unit_price, max_cost)).toBe(price);
  });

  test.each(good)("%s is an amount", (amount) => {
    expect(parseDecimal(amount, "It")).toBe(amount);
  });

  test.each(bad)("%j is refused", (amount) => {
    expect(refused(() => parseDecimal(amount, "It"))).toBe(true);
  });
});

test("accepts exactly the valid settlements", () => {
  for (const { leaf, valid } of vectors<{ leaf: string; valid: boolean }[]>("settlements")) {
    expect([leaf, refused(() => parseSettlement(utf8(leaf)))]).toEqual([leaf, !valid]);
  }
});

describe("proofs", () => {
  interface Inclusion {
    leaf_hash: string;
    index: number;
    size: number;
    hashes: string[];
    root: string;
    valid: boolean;
  }
  interface Consistency {
    old_size: number;
    old_root: string;
    new_size: number;
    new_root: string;
    hashes: string[];
    valid: boolean;
  }
  const { inclusion, consistency, long_entries } = vectors<{
    inclusion: Inclusion[];
    consistency: Consistency[];
    long_entries: { payload_bytes: number; leaf_bytes: number; leaf_sha256: string }[];
  }>("proofs");

  test("of inclusion", () => {
    for (const { leaf_hash, index, size, hashes, root, valid } of inclusion) {
      const found = verifyInclusion(fromHex(leaf_hash), index, size, hashes.map(fromHex), fromHex(root));
      expect([index, size, hashes, found]).toEqual([index, size, hashes, valid]);
    }
  });

  test("of consistency", () => {
    for (const { old_size, old_root, new_size, new_root, hashes, valid } of consistency) {
      const found = verifyConsistency(
        old_size,
        fromHex(old_root),
        new_size,
        fromHex(new_root),
        hashes.map(fromHex),
      );
      expect([old_size, new_size, hashes, found]).toEqual([old_size, new_size, hashes, valid]);
    }
  });

  test.each(long_entries)("entries of $payload_bytes bytes have the same leaf", (entry) => {
    const leaf = receiptLeaf({
      payloadType: "application/vnd.in-toto+json",
      payload: Buffer.alloc(entry.payload_bytes, "x").toString("base64"),
      signatures: [{ keyid: "", sig: Buffer.alloc(64).toString("base64") }],
    });
    expect([leaf.length, sha256Hex(leaf)]).toEqual([entry.leaf_bytes, entry.leaf_sha256]);
  });
});

describe("signed notes", () => {
  interface NoteVector {
    note: string;
    error?: string;
    origin?: string;
    size?: number;
    root?: string;
    cosigned_at?: number | "error" | null;
  }
  const { log_key, witness_key, notes, proof, bad_proofs } = vectors<{
    log_key: string;
    witness_key: string;
    notes: NoteVector[];
    proof: string;
    bad_proofs: string[];
  }>("notes");

  test("are parsed and verified as in the Python SDK", () => {
    for (const { note, error, ...expected } of notes) {
      if (error !== undefined) {
        expect(() => openCheckpoint(note, log_key)).toThrow(expect.objectContaining({ name: error }));
        continue;
      }
      const { origin, size, root } = openCheckpoint(note, log_key);
      const cosigned = () => findCosignature(parseNote(note), witness_key) ?? null;
      const cosigned_at = refused(cosigned) ? "error" : cosigned();
      const found = { origin, size, root: Buffer.from(root).toString("base64"), cosigned_at };
      expect([note, found]).toEqual([note, expected]);
    }
  });

  test("malformed proofs are refused", () => {
    expect(parseProof(proof).index).toBe(3);
    for (const bad of bad_proofs) expect([bad, refused(() => parseProof(bad))]).toEqual([bad, true]);
  });
});

describe("data made by independent packages", () => {
  const { jcs, dsse, log } = vectors<{
    jcs: { value: unknown; canonical: string }[];
    dsse: {
      payload_type: string;
      payload: string;
      pae_sha256: string;
      miner_public_key: string;
      envelope: Envelope;
    };
    log: {
      origin: string;
      vkey: string;
      root: string;
      checkpoint: string;
      proof: string;
      leaves_base64: string[];
      proven_leaf_index: number;
    };
  }>("vectors");
  const key = fromBase64(dsse.miner_public_key);
  const leaf = fromBase64(log.leaves_base64[log.proven_leaf_index] ?? "");

  test("is accepted", () => {
    for (const { value, canonical } of jcs) expect(text(canonicalJson(value))).toBe(canonical);
    expect(sha256Hex(pae(dsse.payload_type, utf8(dsse.payload)))).toBe(dsse.pae_sha256);
    expect(text(openEnvelope(dsse.envelope, key, dsse.payload_type))).toBe(dsse.payload);
    const { name, publicKey } = parseVkey(log.vkey);
    expect([name, formatVkey(name, publicKey)]).toEqual([log.origin, log.vkey]);
    expect(receiptLeaf(dsse.envelope)).toEqual(leaf);
    const { index, checkpoint } = verifyProof(leaf, log.proof, log.vkey);
    expect([index, checkpoint.size]).toEqual([log.proven_leaf_index, log.leaves_base64.length]);
    expect(Buffer.from(checkpoint.root).toString("base64")).toBe(log.root);
  });

  test("a payload or key changed in one byte is refused", () => {
    const sig = dsse.envelope.signatures[0]?.sig ?? "";
    const payload = utf8(dsse.payload);
    expect(verifyDetached(dsse.payload_type, payload, sig, key)).toBe(true);
    for (const other of changed(payload, 7)) {
      expect(verifyDetached(dsse.payload_type, other, sig, key)).toBe(false);
    }
    for (const other of changed(key, 3)) {
      expect(verifyDetached(dsse.payload_type, payload, sig, other)).toBe(false);
    }
  });

  test("an envelope's text changed in one byte is refused", () => {
    const source = canonicalJson(dsse.envelope);
    for (const other of changed(source, 5)) {
      expect([text(other), refused(() => openEnvelope(parseJson(other), key, dsse.payload_type))]).toEqual([
        text(other),
        true,
      ]);
    }
  });

  test("a log's key, checkpoint or proof changed in one byte is refused", () => {
    for (const other of changed(utf8(log.vkey))) expect(refused(() => parseVkey(text(other)))).toBe(true);
    for (const other of changed(utf8(log.checkpoint), 2)) {
      expect([text(other), refused(() => openCheckpoint(other, log.vkey))]).toEqual([text(other), true]);
    }
    for (const other of changed(utf8(log.proof), 5)) {
      expect([text(other), refused(() => verifyProof(leaf, other, log.vkey))]).toEqual([text(other), true]);
    }
  });
});
