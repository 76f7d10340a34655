/**
 * DSSE 1.0.2 envelopes with one Ed25519 signature, which covers the payload and its type.
 *
 * Source: https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
 */

import { hashes, verify } from "@noble/ed25519";
import { sha512 } from "@noble/hashes/sha2.js";
import { joined } from "../bytes.js";
import { FormatError, VerificationError } from "../errors.js";
import { decodeBase64, utf8 } from "./canonical.js";
import { exact, items } from "./strict.js";

// The package contains no hash function.
hashes.sha512 = sha512;

export const PUBLIC_KEY_SIZE = 32;
export const SIGNATURE_SIZE = 64;

/** Return the pre-authentication encoding: the bytes that a DSSE signature covers. */
export function pae(payloadType: string, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const size = utf8(payloadType).length;
  return joined([utf8(`DSSEv1 ${size} ${payloadType} ${payload.length} `), payload]);
}

/**
 * Return whether `signature` (base64) is the Ed25519 signature of `publicKey` (32 bytes) over the PAE of `payload`. A
 * malformed signature or key is not valid.
 */
export function verifyDetached(
  payloadType: string,
  payload: Uint8Array,
  signature: string,
  publicKey: Uint8Array,
): boolean {
  let bytes: Uint8Array;
  try {
    bytes = decodeBase64(signature);
  } catch {
    return false;
  }
  return verifyBytes(pae(payloadType, payload), bytes, publicKey);
}

/** Return whether `signature` (64 bytes) is the Ed25519 signature of `publicKey` (32 bytes) over `message` itself. */
export function verifyBytes(message: Uint8Array, signature: Uint8Array, publicKey: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_SIZE || publicKey.length !== PUBLIC_KEY_SIZE) return false;
  try {
    // Strict as RFC 8032: no alternative encodings of a signature or key, no keys of small order.
    return verify(signature, message, publicKey, { zip215: false });
  } catch {
    return false;
  }
}

/**
 * Return the payload and the base64 signature of an envelope in its exact form, NOT yet verified.
 *
 * Throws `FormatError` for any other form: missing or unknown fields, another payload type, not exactly one signature, or a
 * `keyid` other than "".
 */
export function readEnvelope(
  envelope: unknown,
  payloadType: string,
): { payload: Uint8Array<ArrayBuffer>; signature: string } {
  const fields = exact(envelope, ["payload", "payloadType", "signatures"], "The envelope");
  if (fields.payloadType !== payloadType) {
    throw new FormatError(`The envelope's payloadType is not ${payloadType}.`);
  }
  const signatures = items(fields.signatures, "The envelope's signatures");
  if (signatures.length !== 1) throw new FormatError("The envelope does not have exactly one signature.");
  const { keyid, sig } = exact(signatures[0], ["keyid", "sig"], "The envelope's signature");
  if (keyid !== "") throw new FormatError("The envelope's signature has a keyid.");
  if (typeof fields.payload !== "string" || typeof sig !== "string") {
    throw new FormatError("The envelope's payload or signature is not a string.");
  }
  if (decodeBase64(sig).length !== SIGNATURE_SIZE) {
    throw new FormatError("The envelope's signature does not have 64 bytes.");
  }
  return { payload: decodeBase64(fields.payload), signature: sig };
}

/**
 * Return the payload of an envelope that `publicKey` (32 bytes) signed.
 *
 * Throws `FormatError` for a wrong form or type (see `readEnvelope`), and `VerificationError` for a wrong signature.
 */
export function openEnvelope(
  envelope: unknown,
  publicKey: Uint8Array,
  payloadType: string,
): Uint8Array<ArrayBuffer> {
  const { payload, signature } = readEnvelope(envelope, payloadType);
  if (!verifyDetached(payloadType, payload, signature, publicKey)) {
    throw new VerificationError("The envelope's signature does not verify under the given key.");
  }
  return payload;
}
