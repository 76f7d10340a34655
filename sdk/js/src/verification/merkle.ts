/**
 * The Merkle tree behind the log: hashing, proofs, and their verification.
 *
 * Sources: RFC 6962 section 2.1 (hashing, the shape of proofs), RFC 9162 sections 2.1.3.2 and 2.1.4.2 (verification).
 * Numbers of leaves may be beyond 32 bits, so they are halved by division and not by shifts.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { sameBytes } from "./canonical.js";

export const HASH_SIZE = 32;
/** The root of the tree without leaves. */
export const EMPTY_ROOT: Uint8Array = sha256(new Uint8Array());

/** SHA-256(0x00 || leaf). */
export function leafHash(leaf: Uint8Array): Uint8Array {
  return sha256.create().update(Uint8Array.of(0)).update(leaf).digest();
}

/** SHA-256(0x01 || left || right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256.create().update(Uint8Array.of(1)).update(left).update(right).digest();
}

/** The hash over a full subtree whose lowest nodes are `hashes`, a power of two of them. */
export function fold(hashes: readonly Uint8Array[]): Uint8Array {
  let level = hashes;
  while (level.length > 1) {
    const above: Uint8Array[] = [];
    for (let index = 0; index + 1 < level.length; index += 2) {
      above.push(nodeHash(at(level, index), at(level, index + 1)));
    }
    level = above;
  }
  return at(level, 0);
}

/** Whether the leaf with hash `leaf` is number `index` (from 0) of the tree of `size` leaves under `root`. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  hashes: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!(0 <= index && index < size)) return false;
  let [node, last, result] = [index, size - 1, leaf];
  for (const sibling of hashes) {
    if (last === 0) return false;
    if (isOdd(node) || node === last) {
      result = nodeHash(sibling, result);
      while (!isOdd(node) && node > 0) [node, last] = [half(node), half(last)];
    } else {
      result = nodeHash(result, sibling);
    }
    [node, last] = [half(node), half(last)];
  }
  return last === 0 && sameBytes(result, root);
}

/** Whether the tree of `newSize` leaves under `newRoot` begins with the one of `oldSize` under `oldRoot`. */
export function verifyConsistency(
  oldSize: number,
  oldRoot: Uint8Array,
  newSize: number,
  newRoot: Uint8Array,
  hashes: readonly Uint8Array[],
): boolean {
  if (!(0 <= oldSize && oldSize <= newSize)) return false;
  if (oldSize === newSize) {
    const isRoot = oldSize > 0 || sameBytes(oldRoot, EMPTY_ROOT);
    return hashes.length === 0 && sameBytes(oldRoot, newRoot) && isRoot;
  }
  if (oldSize === 0) return hashes.length === 0 && sameBytes(oldRoot, EMPTY_ROOT);
  const [first, ...path] = isPowerOfTwo(oldSize) ? [oldRoot, ...hashes] : hashes;
  if (first === undefined) return false;
  let [node, last] = [oldSize - 1, newSize - 1];
  while (isOdd(node)) [node, last] = [half(node), half(last)];
  let [older, newer] = [first, first];
  for (const sibling of path) {
    if (last === 0) return false;
    if (isOdd(node) || node === last) {
      [older, newer] = [nodeHash(sibling, older), nodeHash(sibling, newer)];
      while (!isOdd(node) && node > 0) [node, last] = [half(node), half(last)];
    } else {
      newer = nodeHash(newer, sibling);
    }
    [node, last] = [half(node), half(last)];
  }
  return last === 0 && sameBytes(older, oldRoot) && sameBytes(newer, newRoot);
}

/** `nodes(level, index)`: the hash over the 2**level leaves from leaf index * 2**level on. */
export type NodeSource = (level: number, index: number) => Promise<Uint8Array>;

/** The root of the tree of the first `size` leaves. Reads as many nodes as `size` has bits that are set. */
export async function rootHash(nodes: NodeSource, size: number): Promise<Uint8Array> {
  return size > 0 ? rangeHash(nodes, 0, size) : EMPTY_ROOT;
}

/** The hashes that show the tree of `newSize` leaves to begin with that of `oldSize` (RFC 6962, section 2.1.2). */
export async function consistencyProof(
  nodes: NodeSource,
  oldSize: number,
  newSize: number,
): Promise<Uint8Array[]> {
  if (!(0 <= oldSize && oldSize <= newSize)) {
    throw new RangeError(`a tree of ${newSize} leaves does not continue one of ${oldSize}`);
  }
  if (oldSize === 0 || oldSize === newSize) return [];
  const hashes: Uint8Array[] = [];
  let [start, end] = [0, newSize];
  while (end > oldSize) {
    const middle = start + split(end - start);
    if (oldSize <= middle) {
      hashes.push(await rangeHash(nodes, middle, end));
      end = middle;
    } else {
      hashes.push(await rangeHash(nodes, start, middle));
      start = middle;
    }
  }
  if (start > 0) hashes.push(await rangeHash(nodes, start, end));
  return hashes.reverse();
}

/** The hash over leaves from `start` to before `end`; `start` is a multiple of every full subtree in it. */
async function rangeHash(nodes: NodeSource, start: number, end: number): Promise<Uint8Array> {
  const count = end - start;
  if (isPowerOfTwo(count)) return nodes(Math.log2(count), start / count);
  const middle = start + split(count);
  return nodeHash(await rangeHash(nodes, start, middle), await rangeHash(nodes, middle, end));
}

/** The largest power of two below `count`. */
function split(count: number): number {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
}

function isPowerOfTwo(number: number): boolean {
  return Number.isInteger(Math.log2(number)) && 2 ** Math.log2(number) === number;
}

function isOdd(number: number): boolean {
  return number % 2 === 1;
}

function half(number: number): number {
  return Math.floor(number / 2);
}

function at(hashes: readonly Uint8Array[], index: number): Uint8Array {
  const hash = hashes[index];
  if (hash === undefined) throw new RangeError("there is no such hash");
  return hash;
}
