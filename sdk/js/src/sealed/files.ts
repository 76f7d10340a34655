/** Sealed files: chunks of 64 KiB under one key, each numbered, the last one marked. */

import { joined } from "../bytes.js";
import { VerificationError } from "../errors.js";
import { decrypt, encrypt, TAG_SIZE } from "./suite.js";

export const CHUNK = 65_536;

/** Return the size in bytes of the sealed form of a file of `size` bytes. */
export function sealedSize(size: number): number {
  return size + TAG_SIZE * Math.max(1, Math.ceil(size / CHUNK));
}

/** Seal a file, piece by piece. `onPlain` receives the plaintext on its way. */
export async function* sealFile(
  key: CryptoKey,
  content: AsyncIterable<Uint8Array>,
  onPlain?: (piece: Uint8Array) => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  let number = 0;
  for await (const { piece, last } of cut(content, CHUNK)) {
    onPlain?.(piece);
    yield await encrypt(key, piece, nonceOf(number++, last));
  }
}

/**
 * Open a sealed file, piece by piece. Throws `VerificationError` for a chunk that is changed, missing, moved or repeated. The
 * plaintext is complete only when the iteration has ended without an error.
 */
export async function* openFile(
  key: CryptoKey,
  content: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  let number = 0;
  for await (const { piece, last } of cut(content, CHUNK + TAG_SIZE)) {
    const plain = await decrypt(key, piece, nonceOf(number, last));
    if (number > 0 && plain.length === 0) {
      throw new VerificationError("A sealed file ends with an empty chunk.");
    }
    yield plain;
    number += 1;
  }
}

function nonceOf(number: number, last: boolean): Uint8Array {
  const nonce = new Uint8Array(12);
  // Files stay far below the 2^53 chunks that a number counts exactly.
  new DataView(nonce.buffer).setBigUint64(3, BigInt(number));
  nonce[11] = last ? 1 : 0;
  return nonce;
}

/** Cut a stream into pieces of `size` bytes; the last one may be shorter, and is empty only if the stream is. */
async function* cut(
  content: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<{ piece: Uint8Array; last: boolean }, void, undefined> {
  let pending: Uint8Array[] = [];
  let length = 0;
  for await (const next of content) {
    if (next.length === 0) continue;
    pending.push(next);
    length += next.length;
    // A full piece waits for the next byte, because it may be the last.
    if (length <= size) continue;
    let all = joined(pending);
    for (; all.length > size; all = all.subarray(size)) yield { piece: all.subarray(0, size), last: false };
    pending = [all];
    length = all.length;
  }
  yield { piece: joined(pending), last: true };
}
