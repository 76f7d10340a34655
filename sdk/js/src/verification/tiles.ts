/**
 * The log as immutable files: tiles of 256 hashes, and bundles of the 256 entries below them.
 *
 * Source: https://c2sp.org/tlog-tiles. A path identifies a tile: `tile/0/x001/234` is the full tile 1234 of level 0,
 * `tile/1/000.p/7` the first 7 hashes of tile 0 of level 1, `tile/entries/000.p/7` the first 7 entries.
 */

import { FormatError } from "../errors.js";
import { fold, HASH_SIZE } from "./merkle.js";

const TILE_HEIGHT = 8;
export const TILE_WIDTH: number = 2 ** TILE_HEIGHT;
/** Maximum bytes of an entry in a bundle. */
export const MAX_ENTRY: number = 2 ** 16 - 1;
const PATH = /^tile\/(entries|[0-9]{1,2})((?:\/x[0-9]{3}){0,6}\/[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/;
const MAX_LEVEL = 63;
const LENGTH_BYTES = 2;

/** The first `width` hashes of tile `index` at `level`; for level null, entries instead of hashes. */
export interface Tile {
  level: number | null;
  index: number;
  width: number;
}

/** Return the path of a tile, relative to the log's prefix. */
export function tilePath({ level, index, width }: Tile): string {
  const digits = String(index);
  const parts = digits.padStart(Math.ceil(digits.length / 3) * 3, "0").match(/.{3}/g) ?? [];
  const encoded = parts.map((part, position) => (position < parts.length - 1 ? `x${part}` : part)).join("/");
  return `tile/${level ?? "entries"}/${encoded}${width < TILE_WIDTH ? `.p/${width}` : ""}`;
}

/** Parse a path like `tile/0/x001/234.p/5`. Throws `FormatError` for every other form. */
export function parseTilePath(path: string): Tile {
  const [, level, encoded = "", width] = PATH.exec(path) ?? [];
  const tile = {
    level: level === "entries" ? null : Number(level),
    index: Number(encoded.replace(/\/x?/g, "")),
    width: Number(width ?? TILE_WIDTH),
  };
  if (level === undefined || tilePath(tile) !== path || (tile.level ?? 0) > MAX_LEVEL) {
    throw new FormatError("This is not the path of a tile.");
  }
  return tile;
}

/** Return the number of hashes of tile `index` of `level` in a tree of `size` leaves; 0 if there is no such tile. */
export function tileWidth(size: number, level: number, index: number): number {
  const hashes = Math.floor(size / TILE_WIDTH ** level);
  return Math.max(0, Math.min(hashes - index * TILE_WIDTH, TILE_WIDTH));
}

/** Yield the tiles of one level of a tree of `size` leaves from left to right; for level null, the bundles of entries. */
export function* tilesOf(size: number, level: number | null): Generator<Tile, void, undefined> {
  for (let index = 0; ; index++) {
    const width = tileWidth(size, level ?? 0, index);
    if (width === 0) return;
    yield { level, index, width };
  }
}

/** Split a tile into hashes. */
export function splitHashes(tile: Uint8Array): Uint8Array[] {
  return Array.from({ length: Math.ceil(tile.length / HASH_SIZE) }, (_, index) =>
    tile.subarray(index * HASH_SIZE, (index + 1) * HASH_SIZE),
  );
}

/** Returns the bytes of a tile of hashes, at least as wide as requested. */
export type TileReader = (tile: Tile) => Promise<Uint8Array>;

/**
 * The nodes of a tree of `size` leaves, computed from its tiles, each of which is read once. Pass `node` to `rootHash` and
 * `consistencyProof`.
 */
export class TiledTree {
  readonly #tiles = new Map<string, Uint8Array[]>();

  constructor(
    private readonly read: TileReader,
    readonly size: number,
  ) {}

  /** Return the hash of the 2**level leaves from leaf index * 2**level on. Throws `FormatError` if a tile is too short. */
  readonly node = async (level: number, index: number): Promise<Uint8Array> => {
    const count = 2 ** (level % TILE_HEIGHT);
    const start = index * count;
    const hashes = await this.#hashes(Math.floor(level / TILE_HEIGHT), Math.floor(start / TILE_WIDTH));
    return fold(hashes.slice(start % TILE_WIDTH, (start % TILE_WIDTH) + count));
  };

  async #hashes(level: number, index: number): Promise<Uint8Array[]> {
    const tile = { level, index, width: tileWidth(this.size, level, index) };
    const path = tilePath(tile);
    const known = this.#tiles.get(path);
    if (known !== undefined) return known;
    const hashes = splitHashes(await this.read(tile)).slice(0, tile.width);
    if (hashes.length !== tile.width || hashes.at(-1)?.length !== HASH_SIZE) {
      throw new FormatError(`${path} does not have ${tile.width} hashes.`);
    }
    this.#tiles.set(path, hashes);
    return hashes;
  }
}

/** Return the entries of a bundle. Throws `FormatError` if it ends in the middle of an entry. */
export function decodeEntries(bundle: Uint8Array): Uint8Array[] {
  const entries: Uint8Array[] = [];
  let position = 0;
  while (position < bundle.length) {
    const [high = 0, low = 0] = bundle.subarray(position, position + LENGTH_BYTES);
    const begin = position + LENGTH_BYTES;
    position = begin + high * 256 + low;
    if (position > bundle.length) throw new FormatError("The bundle ends in the middle of an entry.");
    entries.push(bundle.subarray(begin, position));
  }
  return entries;
}
