/**
 * Signed notes: text followed by the signatures of named keys, including the cosignatures of witnesses.
 *
 * Sources: https://c2sp.org/signed-note and https://c2sp.org/tlog-cosignature (its Ed25519 form).
 */

import { bytesToHex } from "@noble/hashes/utils.js";
import { FormatError, VerificationError } from "../errors.js";
import { decodeBase64, decodeUtf8, utf8 } from "./canonical.js";
import { SIGNATURE_SIZE, verifyBytes } from "./dsse.js";
import { COSIGNATURE_TYPE, keyId, parseVkey, WHITE_SPACE } from "./keys.js";

/** Maximum characters of a note: enough for a hundred signatures of the largest kinds. */
export const MAX_NOTE: number = 2 ** 18;

const KEY_ID_SIZE = 4;
const TIMESTAMP_SIZE = 8;
const MAX_TIMESTAMP = 2n ** 63n - 1n;
const MAX_SIGNATURES = 100;
// biome-ignore lint/suspicious/noControlCharactersInRegex: matches control characters, which are not allowed in a note
const CONTROL = /[\x00-\x09\x0b-\x1f\x7f]/;
const SIGNATURE_LINE = new RegExp(`^\\u2014 ([^${WHITE_SPACE}+]+) ([^${WHITE_SPACE}]+)$`, "u");
const SURROGATE = /\p{Surrogate}/u;

/** A signature line: the claimed signer, its key id (4 bytes in hex), and the signature's bytes. */
export interface NoteSignature {
  name: string;
  keyId: string;
  signature: Uint8Array;
}

/** A well-formed note. Its signatures are NOT verified. `text` ends with a line break. */
export interface Note {
  text: string;
  signatures: readonly NoteSignature[];
}

/** Parse a signed note. Throws `FormatError` unless it has the exact form. */
export function parseNote(note: string | Uint8Array): Note {
  const content = unicode(note);
  if (content.length > MAX_NOTE) throw new FormatError("The signed note is too long.");
  const end = content.lastIndexOf("\n\n");
  const lines = content.slice(end + 2);
  if (end <= 0 || !lines.endsWith("\n") || CONTROL.test(content)) {
    throw new FormatError("This is not a signed note.");
  }
  return { text: content.slice(0, end + 1), signatures: parseSignatures(lines) };
}

function parseSignatures(lines: string): NoteSignature[] {
  const found = lines.slice(0, -1).split("\n");
  if (found.length > MAX_SIGNATURES) throw new FormatError("The signed note has too many signatures.");
  return found.map(parseSignature);
}

function parseSignature(line: string): NoteSignature {
  const [, name, encoded] = SIGNATURE_LINE.exec(line) ?? [];
  if (name === undefined || encoded === undefined) {
    throw new FormatError("The signed note has a malformed signature line.");
  }
  const data = decodeBase64(encoded);
  if (data.length <= KEY_ID_SIZE) throw new FormatError("The signed note has a signature that is too short.");
  return { name, keyId: bytesToHex(data.subarray(0, KEY_ID_SIZE)), signature: data.subarray(KEY_ID_SIZE) };
}

/**
 * Verify that the log with this vkey signed the note.
 *
 * Throws `VerificationError` if its signature is missing or wrong. Signatures of other keys are ignored.
 */
export function requireSignature(note: Note, logKey: string): void {
  const { name, publicKey } = parseVkey(logKey);
  const identifier = keyId(name, publicKey);
  const own = note.signatures.filter((item) => item.name === name && item.keyId === identifier);
  if (own.length === 0) throw new VerificationError("The note is not signed by the given log key.");
  if (!own.every((item) => verifyBytes(utf8(note.text), item.signature, publicKey))) {
    throw new VerificationError("The note's signature does not verify under the given log key.");
  }
}

/**
 * Return when a witness (a vkey of type 4) cosigned the note, in seconds since the epoch; undefined if it did not.
 *
 * Throws `VerificationError` if a signature line of that witness does not verify.
 */
export function findCosignature(note: Note, witness: string): number | undefined {
  const { name, publicKey } = parseVkey(witness, COSIGNATURE_TYPE);
  const identifier = keyId(name, publicKey, COSIGNATURE_TYPE);
  let newest: bigint | undefined;
  for (const item of note.signatures) {
    if (item.name !== name || item.keyId !== identifier) continue;
    const timestamp = BigInt(`0x${bytesToHex(item.signature.subarray(0, TIMESTAMP_SIZE))}`);
    const message = utf8(`cosignature/v1\ntime ${timestamp}\n${note.text}`);
    const rightSize = item.signature.length === TIMESTAMP_SIZE + SIGNATURE_SIZE;
    const signature = item.signature.subarray(TIMESTAMP_SIZE);
    if (!rightSize || timestamp > MAX_TIMESTAMP || !verifyBytes(message, signature, publicKey)) {
      throw new VerificationError(`The cosignature of ${name} does not verify.`);
    }
    if (newest === undefined || timestamp > newest) newest = timestamp;
  }
  return newest === undefined ? undefined : Number(newest);
}

/** Return a text that UTF-8 can encode. Throws `FormatError` for any other. */
export function unicode(value: string | Uint8Array): string {
  if (typeof value !== "string") return decodeUtf8(value);
  if (SURROGATE.test(value)) throw new FormatError("The text is not UTF-8.");
  return value;
}
