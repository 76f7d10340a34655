/** The keys of sealed jobs: a miner's, signed by its identity, and the client's, with which it opens answers. */

import { hexToBytes } from "@noble/hashes/utils.js";
import { joined } from "../bytes.js";
import { FormatError, VerificationError } from "../errors.js";
import { decodeBase64, parseJson } from "../verification/canonical.js";
import { openEnvelope } from "../verification/dsse.js";
import { minerId as idOf } from "../verification/keys.js";
import { exact, MINER_ID, text, utcTime } from "../verification/strict.js";
import { derive, KEY_SIZE, keyId, SECRET_SIZE, subtle, suite } from "./suite.js";

const PAYLOAD_TYPE = "application/vnd.aitbc.encryption-key+json";
const FIELDS = ["created_at", "expires_at", "key_id", "miner_id", "origin", "public_key"] as const;
/** The beginning of a PKCS #8 private key of X25519 (RFC 8410), before the 32 bytes of the key. */
const PKCS8 = hexToBytes("302e020100300506032b656e04220420");
const REQUEST_ID_SIZE = 16;

/** A miner's public key for sealed jobs, verified. Times are RFC 3339 UTC strings. */
export interface EncryptionKey {
  minerId: string;
  keyId: string;
  publicKey: Uint8Array<ArrayBuffer>;
  createdAt: string;
  expiresAt: string;
  origin: string;
}

/** What a coordinator answers for a miner's key. Only the envelope counts; the rest are copies. */
export interface EncryptionKeyAnswer {
  identityKey: string;
  envelope: unknown;
}

/**
 * Return the key in a coordinator's answer for a miner. The coordinator is not trusted: the miner's id follows from its
 * identity key, which signs the encryption key.
 *
 * Throws `VerificationError` if the key belongs to another miner, was changed or has expired at `now` (a time in
 * milliseconds, by default the current one).
 */
export function verifyEncryptionKey(
  answer: EncryptionKeyAnswer,
  minerId: string,
  now: number = Date.now(),
): EncryptionKey {
  const identity = decodeBase64(text(answer.identityKey, "The answer's identity_key"));
  if (identity.length !== KEY_SIZE || idOf(identity) !== minerId) {
    throw new VerificationError(
      `The coordinator returned the key of another miner than ${minerId}. Do not use it.`,
    );
  }
  const key = readKey(openEnvelope(answer.envelope, identity, PAYLOAD_TYPE));
  if (key.minerId !== minerId) {
    throw new VerificationError("The encryption key names another miner than the one that signed it.");
  }
  if (Date.parse(key.expiresAt) <= now) {
    throw new VerificationError(`The encryption key of ${minerId} expired at ${key.expiresAt}.`);
  }
  return key;
}

function readKey(payload: Uint8Array): EncryptionKey {
  const fields = exact(parseJson(payload), FIELDS, "The encryption key");
  const word = (name: (typeof FIELDS)[number], pattern?: RegExp) =>
    text(fields[name], `The encryption key's ${name}`, pattern);
  const publicKey = decodeBase64(word("public_key"));
  if (publicKey.length !== KEY_SIZE || word("key_id") !== keyId(publicKey)) {
    throw new FormatError("The encryption key's key_id is not the digest of its public key.");
  }
  return {
    minerId: word("miner_id", MINER_ID),
    keyId: word("key_id"),
    publicKey,
    createdAt: utcTime(fields.created_at, "The encryption key's created_at"),
    expiresAt: utcTime(fields.expires_at, "The encryption key's expires_at"),
    origin: word("origin"),
  };
}

/**
 * The client's key pair. Its holder can open the answers to all requests that were sealed with it.
 *
 * A browser stores `pair` in IndexedDB, where a page can use but not read the private key. Elsewhere, `generate` with
 * `extractable`, store `exportPrivate()`, and `fromPrivate` it later.
 */
export class ReplyKey {
  private constructor(
    readonly pair: CryptoKeyPair,
    /** The public key, 32 bytes. */
    readonly publicKey: Uint8Array,
  ) {}

  /** Return a new key pair. */
  static async generate(options: { extractable?: boolean | undefined } = {}): Promise<ReplyKey> {
    subtle();
    return ReplyKey.of(await suite.GenerateKeyPair(options.extractable ?? false));
  }

  /** Use a stored pair. */
  static async of(pair: CryptoKeyPair): Promise<ReplyKey> {
    return new ReplyKey(pair, await suite.SerializePublicKey(pair.publicKey));
  }

  /** Use a private key of 32 bytes. */
  static async fromPrivate(privateKey: Uint8Array): Promise<ReplyKey> {
    if (privateKey.length !== KEY_SIZE) throw new FormatError("A private key does not have 32 bytes.");
    const encoded = joined([PKCS8, privateKey]);
    const own = await subtle().importKey("pkcs8", encoded, "X25519", true, ["deriveBits"]);
    const { kty, crv, x } = await subtle().exportKey("jwk", own);
    const publicKey = await subtle().importKey("jwk", { kty, crv, x } as JsonWebKey, "X25519", true, []);
    return ReplyKey.of({ privateKey: own, publicKey });
  }

  /** Return the private key, 32 bytes. Throws if the pair is not extractable. */
  async exportPrivate(): Promise<Uint8Array> {
    return suite.SerializePrivateKey(this.pair.privateKey);
  }

  /** Return the secret of the request with this id, which only this key's holder can compute. */
  async requestSecret(requestId: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
    const parameters = { name: "X25519", public: this.pair.publicKey };
    const shared = await subtle().deriveBits(parameters, this.pair.privateKey, KEY_SIZE * 8);
    return derive(new Uint8Array(shared), "request secret", { salt: requestId, size: SECRET_SIZE });
  }
}

/** Return a new id for a request, 16 bytes. */
export function newRequestId(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(REQUEST_ID_SIZE));
}
