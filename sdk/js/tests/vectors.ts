/** The vectors that both SDKs are tested with. */

import { readFileSync } from "node:fs";

/** What one file in tests/vectors holds. */
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

/** `data` with some of its bytes changed in turn: one flipped bit, and neighbours that text tolerates most easily. */
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
