/** The encodings of public keys: a miner's id, and the vkey of a log or a witness. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { joined } from "../bytes.js";
import { FormatError } from "../errors.js";
import { decodeBase64, encodeBase64, utf8 } from "./canonical.js";
import { PUBLIC_KEY_SIZE } from "./dsse.js";

/** The signature type of a log's Ed25519 key in C2SP signed notes. */
export const ED25519_TYPE = 1;
/** The signature type of a witness's Ed25519 key: timestamped cosignatures (https://c2sp.org/tlog-cosignature). */
export const COSIGNATURE_TYPE = 4;

/** The key of a log or of a witness. */
export type KeyType = typeof ED25519_TYPE | typeof COSIGNATURE_TYPE;

/** Unicode's white space, which has more characters than JavaScript's `\s` and lacks the byte order mark. */
export const WHITE_SPACE =
  "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

const MINER_ID_CHARACTERS = 26;
const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";
const ORIGIN = new RegExp(`^[^${WHITE_SPACE}+\\x00-\\x1f\\x7f\\ud800-\\udfff]{1,255}$`, "u");
const KEY_ID = /^[0-9a-f]{8}$/;
const VKEY = /^([^+]*)\+([^+]*)\+(.*)$/s;
const KINDS: Readonly<Record<KeyType, string>> = {
  [ED25519_TYPE]: "it signs notes, as logs do (type 1)",
  [COSIGNATURE_TYPE]: "it cosigns checkpoints, as witnesses do (type 4)",
};

/** Return a miner's id: `miner_` and the first 26 characters of the lower-case base32 of the key's SHA-256. */
export function minerId(publicKey: Uint8Array): string {
  requireSize(publicKey);
  const bits = [...sha256(publicKey)].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  let id = "";
  for (let index = 0; index < MINER_ID_CHARACTERS; index++) {
    id += BASE32[Number.parseInt(bits.slice(5 * index, 5 * index + 5), 2)];
  }
  return `miner_${id}`;
}

/** Return the key id (four bytes in hex) of an Ed25519 key called `name` in a signed note. */
export function keyId(name: string, publicKey: Uint8Array, type: KeyType = ED25519_TYPE): string {
  const named = joined([utf8(`${name}\n`), Uint8Array.of(type), publicKey]);
  return bytesToHex(sha256(named).subarray(0, 4));
}

/**
 * Encode a public key as a C2SP vkey: `origin+<8 hex of key id>+<base64 of type || public key>`.
 *
 * Source: https://c2sp.org/signed-note. Throws `FormatError` for an origin with white space or a plus sign.
 */
export function formatVkey(origin: string, publicKey: Uint8Array, type: KeyType = ED25519_TYPE): string {
  requireSize(publicKey);
  if (!ORIGIN.test(origin)) {
    throw new FormatError("An origin has 1 to 255 characters without white space and plus signs.");
  }
  const encoded = encodeBase64(joined([Uint8Array.of(type), publicKey]));
  return `${origin}+${keyId(origin, publicKey, type)}+${encoded}`;
}

/**
 * Return the name (a log's origin) and the public key (32 bytes) of a vkey.
 *
 * Throws `FormatError` for a malformed vkey, a wrong key id, or a key of another `type`.
 */
export function parseVkey(
  vkey: string,
  type: KeyType = ED25519_TYPE,
): { name: string; publicKey: Uint8Array<ArrayBuffer> } {
  const what = type === ED25519_TYPE ? "log" : "witness";
  const found = VKEY.exec(vkey);
  if (found === null) throw new FormatError(`A ${what} key has the form name+keyid+base64.`);
  const [, name = "", identifier = "", encoded = ""] = found;
  if (!ORIGIN.test(name) || !KEY_ID.test(identifier)) {
    throw new FormatError(`The ${what} key's name or key id is malformed.`);
  }
  const data = decodeBase64(encoded);
  const kind = data[0];
  if (data.length !== 1 + PUBLIC_KEY_SIZE || (kind !== ED25519_TYPE && kind !== COSIGNATURE_TYPE)) {
    throw new FormatError(`The ${what} key is not an Ed25519 key.`);
  }
  if (kind !== type) throw new FormatError(`${name} is not the key of a ${what}: ${KINDS[kind]}.`);
  const publicKey = data.slice(1);
  if (keyId(name, publicKey, type) !== identifier) {
    throw new FormatError(
      `The ${what} key's id does not agree with its name and key: it was changed or mistyped.`,
    );
  }
  return { name, publicKey };
}

function requireSize(publicKey: Uint8Array): void {
  if (publicKey.length !== PUBLIC_KEY_SIZE) throw new FormatError("An Ed25519 public key has 32 bytes.");
}
