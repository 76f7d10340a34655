/**
 * The Merkle tree of the log: hashing, proofs, and their verification.
 *
 * Sources: RFC 6962 section 2.1 (hashing, the shape of proofs), RFC 9162 sections 2.1.3.2 and 2.1.4.2 (verification).
 * Numbers of leaves may exceed 32 bits, so they are halved by division rather than by shifts.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { sameBytes } from "./canonical.js";

export const HASH_SIZE = 32;
/** The root of the tree without leaves. */
export const EMPTY_ROOT: Uint8Array = sha256(new Uint8Array());

/** Return SHA-256(0x00 || leaf). */
export function leafHash(leaf: Uint8Array): Uint8Array {
  return sha256.create().update(Uint8Array.of(0)).update(leaf).digest();
}

/** Return SHA-256(0x01 || left || right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256.create().update(Uint8Array.of(1)).update(left).update(right).digest();
}

/** Return the hash of a full subtree whose lowest nodes are `hashes`, a power of two of them. */
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

/** Return whether the leaf with hash `leaf` has the `index` (from 0) in the tree of `size` leaves under `root`. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  hashes: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!(0 <= index && index < size)) return false;
  const isLeft = siblingSides(index, size - 1, hashes.length);
  if (isLeft === undefined) return false;
  const found = hashes.reduce(
    (node, sibling, step) => (isLeft[step] ? nodeHash(sibling, node) : nodeHash(node, sibling)),
    leaf,
  );
  return sameBytes(found, root);
}

/**
 * Return whether each of `count` siblings on the path from `node` to the root is a left one. `last` is the last node of the
 * same level. Undefined unless the path has exactly `count` siblings.
 */
function siblingSides(node: number, last: number, count: number): boolean[] | undefined {
  const sides: boolean[] = [];
  let [current, end] = [node, last];
  for (let step = 0; step < count; step++) {
    if (end === 0) return undefined;
    const isLeft = isOdd(current) || current === end;
    sides.push(isLeft);
    // A node without a right sibling moves up unchanged.
    while (isLeft && !isOdd(current) && current > 0) [current, end] = [half(current), half(end)];
    [current, end] = [half(current), half(end)];
  }
  return end === 0 ? sides : undefined;
}

/** Return whether the tree of `newSize` leaves under `newRoot` begins with the one of `oldSize` under `oldRoot`. */
export function verifyConsistency(
  oldSize: number,
  oldRoot: Uint8Array,
  newSize: number,
  newRoot: Uint8Array,
  hashes: readonly Uint8Array[],
): boolean {
  if (!(0 <= oldSize && oldSize <= newSize)) return false;
  if (oldSize === 0 && !sameBytes(oldRoot, EMPTY_ROOT)) return false;
  if (oldSize === newSize) return hashes.length === 0 && sameBytes(oldRoot, newRoot);
  if (oldSize === 0) return hashes.length === 0;
  return verifyGrowth(oldSize, oldRoot, newSize, newRoot, hashes);
}

/** Verify consistency for 0 < `oldSize` < `newSize`. */
function verifyGrowth(
  oldSize: number,
  oldRoot: Uint8Array,
  newSize: number,
  newRoot: Uint8Array,
  hashes: readonly Uint8Array[],
): boolean {
  const [first, ...path] = isPowerOfTwo(oldSize) ? [oldRoot, ...hashes] : hashes;
  if (first === undefined) return false;
  let [node, last] = [oldSize - 1, newSize - 1];
  while (isOdd(node)) [node, last] = [half(node), half(last)];
  const isLeft = siblingSides(node, last, path.length);
  if (isLeft === undefined) return false;
  let [older, newer] = [first, first];
  for (const [step, sibling] of path.entries()) {
    if (isLeft[step]) [older, newer] = [nodeHash(sibling, older), nodeHash(sibling, newer)];
    else newer = nodeHash(newer, sibling);
  }
  return sameBytes(older, oldRoot) && sameBytes(newer, newRoot);
}

/** Returns the hash of the 2**level leaves from leaf index * 2**level on. */
export type NodeSource = (level: number, index: number) => Promise<Uint8Array>;

/** Return the root of the tree of the first `size` leaves. Reads one node for each set bit of `size`. */
export async function rootHash(nodes: NodeSource, size: number): Promise<Uint8Array> {
  return size > 0 ? rangeHash(nodes, 0, size) : EMPTY_ROOT;
}

/** Return the hashes that prove that the tree of `newSize` leaves begins with that of `oldSize` (RFC 6962, section 2.1.2). */
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

/** Return the hash of the leaves from `start` up to `end`, exclusive; `start` is a multiple of every full subtree in it. */
async function rangeHash(nodes: NodeSource, start: number, end: number): Promise<Uint8Array> {
  const count = end - start;
  if (isPowerOfTwo(count)) return nodes(Math.log2(count), start / count);
  const middle = start + split(count);
  return nodeHash(await rangeHash(nodes, start, middle), await rangeHash(nodes, middle, end));
}

/** Return the largest power of two below `count`. */
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
