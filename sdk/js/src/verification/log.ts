/**
 * Checkpoints of an append-only log and inclusion proofs of its leaves, verified with only the log's public key.
 *
 * Sources: https://c2sp.org/tlog-checkpoint and https://c2sp.org/tlog-proof.
 */

import { FormatError, VerificationError } from "../errors.js";
import { canonicalJson, decodeBase64, sha256Hex } from "./canonical.js";
import { parseVkey } from "./keys.js";
import { HASH_SIZE, leafHash, verifyInclusion } from "./merkle.js";
import { type Note, parseNote, requireSignature, unicode } from "./notes.js";
import { MAX_ENTRY } from "./tiles.js";

const PROOF_HEADER = "c2sp.org/tlog-proof@v1";
const MAX_PROOF_HASHES = 63;
const NUMBER = /^(?:0|[1-9][0-9]{0,18})$/;
const BODY_LINES = 3;

/** The state of a log: `size` leaves under the Merkle root `root` (32 bytes). */
export interface Checkpoint {
  origin: string;
  size: number;
  root: Uint8Array;
}

/** A parsed proof, NOT yet verified: leaf number `index` and its path to the root of `note`. */
export interface Proof {
  index: number;
  hashes: readonly Uint8Array[];
  note: Note;
}

/**
 * Return the leaf of a receipt: the canonical JSON of the miner's envelope.
 *
 * A log entry has at most 65,535 bytes. In the leaf of a larger envelope (thousands of output files), `payloadSHA256`, the
 * lower-case hex digest of the payload's bytes, replaces the payload.
 */
export function receiptLeaf(envelope: object): Uint8Array<ArrayBuffer> {
  const leaf = canonicalJson({ ...envelope });
  if (leaf.length <= MAX_ENTRY) return leaf;
  const { payload, ...rest } = envelope as { payload: string };
  return canonicalJson({ ...rest, payloadSHA256: sha256Hex(decodeBase64(payload)) });
}

/** Parse the checkpoint in a note's text, NOT verified. Throws `FormatError`. */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = text.replace(/\n$/, "").split("\n");
  const [origin = "", size = "", root = ""] = lines;
  if (lines.length < BODY_LINES || lines.includes("")) {
    throw new FormatError("The checkpoint lacks its origin, size or root.");
  }
  return {
    origin,
    size: number(size, "The checkpoint's size"),
    root: hash(root, "The checkpoint's root"),
  };
}

/** Return a checkpoint that `logKey` (a vkey) signed. Throws `FormatError` or `VerificationError`. */
export function openCheckpoint(checkpoint: string | Uint8Array | Note, logKey: string): Checkpoint {
  const isText = typeof checkpoint === "string" || checkpoint instanceof Uint8Array;
  const note = isText ? parseNote(checkpoint) : checkpoint;
  requireSignature(note, logKey);
  const opened = parseCheckpoint(note.text);
  if (opened.origin !== parseVkey(logKey).name) {
    throw new VerificationError("The checkpoint is another log's.");
  }
  return opened;
}

/** Parse a `tlog-proof@v1`, NOT verified. Throws `FormatError`. */
export function parseProof(proof: string | Uint8Array): Proof {
  const content = unicode(proof);
  const end = content.indexOf("\n\n");
  const [header, ...lines] = content.slice(0, Math.max(0, end)).split("\n");
  if (end < 0 || header !== PROOF_HEADER) {
    throw new FormatError(`The proof does not begin with ${PROOF_HEADER}.`);
  }
  if (lines[0]?.startsWith("extra ")) decodeBase64((lines.shift() ?? "").slice("extra ".length));
  const first = lines.shift();
  if (!first?.startsWith("index ")) throw new FormatError("The proof lacks its index.");
  const index = number(first.slice("index ".length), "The proof's index");
  if (lines.length > MAX_PROOF_HASHES) throw new FormatError("The proof has too many hashes.");
  const hashes = lines.map((line) => hash(line, "A hash of the proof"));
  return { index, hashes, note: parseNote(content.slice(end + 2)) };
}

/** Verify that `proof` leads from `leaf` to the root of `checkpoint`. Throws `VerificationError`. */
export function requireInclusion(leaf: Uint8Array, proof: Proof, checkpoint: Checkpoint): void {
  if (!verifyInclusion(leafHash(leaf), proof.index, checkpoint.size, proof.hashes, checkpoint.root)) {
    throw new VerificationError("The proof does not lead from the leaf to the checkpoint's root.");
  }
}

/**
 * Verify a `tlog-proof@v1` that the log of `logKey` (a vkey) contains `leaf`. Returns the leaf's index and the checkpoint.
 *
 * Throws `FormatError` or `VerificationError`.
 */
export function verifyProof(
  leaf: Uint8Array,
  proof: string | Uint8Array,
  logKey: string,
): { index: number; checkpoint: Checkpoint } {
  const parsed = parseProof(proof);
  const checkpoint = openCheckpoint(parsed.note, logKey);
  requireInclusion(leaf, parsed, checkpoint);
  return { index: parsed.index, checkpoint };
}

/** Parse a number of leaves, which is at most 2^53 - 1: larger integers are not exact in JavaScript. */
function number(value: string, where: string): number {
  if (!NUMBER.test(value) || !Number.isSafeInteger(Number(value))) {
    throw new FormatError(`${where} is not a number.`);
  }
  return Number(value);
}

function hash(value: string, where: string): Uint8Array {
  const data = decodeBase64(value);
  if (data.length !== HASH_SIZE) throw new FormatError(`${where} does not have 32 bytes.`);
  return data;
}
