/** The test vectors of both SDKs. */

import { readFileSync } from "node:fs";

/** Return the content of a file in tests/vectors. */
export function vectors<T>(name: string): T {
  const path = new URL(`../../../tests/vectors/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(path, "utf8")) as T;
}

/** Bytes from base64. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(text, "base64"));
}

/** Bytes from hex. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(text, "hex"));
}

/** Yield `data` with one byte changed at a time: a flipped bit, a changed case, and characters that parsers may tolerate. */
export function* changed(data: Uint8Array, step = 1): Generator<Uint8Array<ArrayBuffer>> {
  for (let position = 0; position < data.length; position += step) {
    const byte = data[position] ?? 0;
    for (const other of new Set([byte ^ 0x01, byte ^ 0x20, 0x20, 0x0a, 0x3d, 0x22])) {
      if (other === byte) continue;
      const copy = data.slice();
      copy[position] = other;
      yield copy;
    }
  }
}
