/** Incremental SHA-256. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { nodeModuleNow } from "../http/platform.js";

/** A digest of the bytes so far. */
export interface Digest {
  update(bytes: Uint8Array): void;
  /** Return the digest in lower-case hex. */
  hex(): string;
}

/** Return a new digest. Uses Node's implementation where available, which is ten times as fast as JavaScript. */
export function newDigest(): Digest {
  const crypto = nodeModuleNow<typeof import("node:crypto")>("node:crypto");
  if (crypto !== undefined) {
    const hash = crypto.createHash("sha256");
    return { update: (bytes) => void hash.update(bytes), hex: () => hash.copy().digest("hex") };
  }
  const hash = sha256.create();
  return { update: (bytes) => void hash.update(bytes), hex: () => bytesToHex(hash.clone().digest()) };
}
