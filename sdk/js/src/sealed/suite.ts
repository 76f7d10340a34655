/**
 * The primitives of sealed jobs: HPKE, key derivation, AES-GCM, salted digests and padded JSON.
 *
 * docs/reference/sealed-jobs.md fixes the bytes. Everything is in Web Cryptography, which browsers offer in secure contexts
 * only: https, or this machine.
 */

import { hexToBytes } from "@noble/hashes/utils.js";
import { AEAD_AES_128_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from "hpke";
import { joined } from "../bytes.js";
import { ConfigurationError, FormatError, VerificationError } from "../errors.js";
import { canonicalJson, parseJson, sha256Hex, utf8 } from "../verification/canonical.js";
import { newDigest } from "../verification/digest.js";
import type { JsonObject } from "../verification/shape.js";

/** DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM (RFC 9180), in base mode. */
export const suite: CipherSuite<CryptoKey> = new CipherSuite(
  KEM_DHKEM_X25519_HKDF_SHA256,
  KDF_HKDF_SHA256,
  AEAD_AES_128_GCM,
);

export const VERSION = 1;
export const KEY_SIZE = 32;
export const SECRET_SIZE = 32;
export const TAG_SIZE = 16;
/** The media type of artifacts that hold sealed files. */
export const MEDIA_TYPE = "application/vnd.aitbc.sealed";

const CAPSULE_SIZE = KEY_SIZE + SECRET_SIZE + TAG_SIZE;
const LABEL = "aitbc.net/sealed/v1 ";
const AES_BITS = 128;
const SALT_SIZE = 32;
const BLOCK = 64;
const PADDING = 256;
const SPACE = 0x20;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;
const ZERO: Uint8Array<ArrayBuffer> = new Uint8Array(12);

type Bytes = Uint8Array<ArrayBuffer>;

/** Return the browser's cryptography. Throws `ConfigurationError` where it is not offered. */
export function subtle(): SubtleCrypto {
  const found = globalThis.crypto?.subtle;
  if (found === undefined) {
    throw new ConfigurationError(
      "Sealing needs the browser's cryptography, which it offers only to pages over https or from this machine.",
    );
  }
  return found;
}

/** Return the id of an X25519 public key: the hex of the first 16 bytes of its SHA-256. */
export function keyId(publicKey: Uint8Array): string {
  return sha256Hex(publicKey).slice(0, 32);
}

/** Seal a secret of 32 bytes for a public key. `info` is bound to it. Throws `FormatError` for a key that is none. */
export async function sealCapsule(
  publicKey: Uint8Array,
  info: JsonObject,
  secret: Uint8Array,
): Promise<Uint8Array> {
  subtle();
  try {
    const key = await suite.DeserializePublicKey(publicKey);
    const { encapsulatedSecret, ciphertext } = await suite.Seal(key, secret, { info: canonicalJson(info) });
    return joined([encapsulatedSecret, ciphertext]);
  } catch (error) {
    throw new FormatError("A public key is not a valid X25519 key.", { cause: error });
  }
}

/** Return the secret in a capsule. Throws `VerificationError` if the key, the `info` or a byte differs. */
export async function openCapsule(
  pair: CryptoKeyPair,
  info: JsonObject,
  capsule: Uint8Array,
): Promise<Uint8Array> {
  subtle();
  if (capsule.length !== CAPSULE_SIZE) throw new FormatError("A capsule does not have 80 bytes.");
  const [secret, ciphertext] = [capsule.subarray(0, KEY_SIZE), capsule.subarray(KEY_SIZE)];
  try {
    return await suite.Open(pair, secret, ciphertext, { info: canonicalJson(info) });
  } catch (error) {
    throw new VerificationError("A capsule does not open: it was made for another key or job.", {
      cause: error,
    });
  }
}

/** Return `size` bytes that follow from a secret and a label. */
export async function derive(
  secret: Uint8Array,
  label: string,
  options: { salt?: Uint8Array; size: number },
): Promise<Bytes> {
  const ikm = await subtle().importKey("raw", secret as Bytes, "HKDF", false, ["deriveBits"]);
  const { salt = new Uint8Array(), size } = options;
  const parameters = { name: "HKDF", hash: "SHA-256", salt: salt as Bytes, info: utf8(LABEL + label) };
  return new Uint8Array(await subtle().deriveBits(parameters, ikm, size * 8));
}

/** Return an AES key that follows from a secret and a label. */
export async function deriveKey(
  secret: Uint8Array,
  label: string,
  salt: Uint8Array = new Uint8Array(),
): Promise<CryptoKey> {
  const key = await derive(secret, label, { salt, size: AES_BITS / 8 });
  return subtle().importKey("raw", key, "AES-GCM", false, ["encrypt", "decrypt"]);
}

/** Return AES-128-GCM of the plaintext, with the tag at its end. */
export async function encrypt(
  key: CryptoKey,
  plaintext: Uint8Array,
  nonce: Uint8Array = ZERO,
): Promise<Bytes> {
  const parameters = { name: "AES-GCM", iv: nonce as Bytes };
  return new Uint8Array(await subtle().encrypt(parameters, key, plaintext as Bytes));
}

/** Return the plaintext. Throws `VerificationError` if a bit differs. */
export async function decrypt(
  key: CryptoKey,
  ciphertext: Uint8Array,
  nonce: Uint8Array = ZERO,
): Promise<Bytes> {
  const parameters = { name: "AES-GCM", iv: nonce as Bytes };
  try {
    return new Uint8Array(await subtle().decrypt(parameters, key, ciphertext as Bytes));
  } catch (error) {
    throw new VerificationError("A sealed part does not open: it was changed, or belongs elsewhere.", {
      cause: error,
    });
  }
}

/** A salted digest (HMAC-SHA256) to which a plaintext is added piece by piece. */
export interface SaltedDigest {
  update(bytes: Uint8Array): void;
  /** Return the digest in lower-case hex. */
  hex(): string;
}

/** Return the salted digest of a request's part. Web Cryptography has no HMAC in pieces. */
export async function saltedDigest(secret: Uint8Array, label: string): Promise<SaltedDigest> {
  const salt = new Uint8Array(BLOCK);
  salt.set(await derive(secret, `salt:${label}`, { size: SALT_SIZE }));
  const inner = newDigest();
  inner.update(salt.map((byte) => byte ^ INNER_PAD));
  return {
    update: (bytes) => inner.update(bytes),
    hex: () => {
      const outer = salt.map((byte) => byte ^ OUTER_PAD);
      return sha256Hex(joined([outer, hexToBytes(inner.hex())]));
    },
  };
}

/** Return the salted digest of a whole plaintext. */
export async function salted(secret: Uint8Array, label: string, plaintext: Uint8Array): Promise<string> {
  const digest = await saltedDigest(secret, label);
  digest.update(plaintext);
  return digest.hex();
}

/** Return JSON with spaces up to a multiple of 256 bytes, so that its length says little about its content. */
export function padded(value: object): Bytes {
  const text = utf8(JSON.stringify(value));
  const result = new Uint8Array(Math.ceil(text.length / PADDING) * PADDING).fill(SPACE);
  result.set(text);
  return result;
}

/** Return the object in padded JSON. Throws `FormatError`. */
export function unpadded(plaintext: Uint8Array): JsonObject {
  let end = plaintext.length;
  while (end > 0 && plaintext[end - 1] === SPACE) end -= 1;
  const value = parseJson(plaintext.subarray(0, end));
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FormatError("A sealed part is not a JSON object.");
  }
  return value;
}
