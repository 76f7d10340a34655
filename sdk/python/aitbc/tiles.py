"""The log as immutable files: tiles of 256 hashes, and bundles of the 256 entries below them.

Source: https://c2sp.org/tlog-tiles. A tile's path identifies it: `tile/0/x001/234` is the full tile 1234 of level 0,
`tile/1/000.p/7` has the first 7 hashes of tile 0 of level 1, and `tile/entries/000.p/7` the first 7 entries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aitbc.errors import FormatError
from aitbc.merkle import HASH_SIZE, fold

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_ENTRY = 2**16 - 1
"""Bytes of the longest entry in a bundle."""
MAX_BUNDLE = TILE_WIDTH * (2 + MAX_ENTRY)

_PATH = re.compile(r"(entries|[0-9]{1,2})((?:/x[0-9]{3}){0,6}/[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_MAX_LEVEL = 63
_LENGTH_BYTES = 2


@dataclass(frozen=True, slots=True)
class Tile:
    """The first `width` hashes of tile `index` at `level`. If `level` is None, it has entries instead of hashes."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The tile's path below the log's prefix."""
        digits = f"{self.index:03}"
        # Filled up to groups of three digits, the names of folders with at most 1000 entries each.
        digits = digits.zfill(-len(digits) // 3 * -3)
        parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        name = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
        level = "entries" if self.level is None else str(self.level)
        return f"tile/{level}/{name}" + (f".p/{self.width}" if self.width < TILE_WIDTH else "")


def parse_tile_path(path: str) -> Tile:
    """Parse a path like `tile/0/x001/234.p/5`. Raises `FormatError` for any other form."""
    match = _PATH.fullmatch(path.removeprefix("tile/")) if path.startswith("tile/") else None
    if match is None:
        raise FormatError("This is not the path of a tile.")
    level, name, width = match.groups()
    index = int(name.replace("/x", "").replace("/", ""))
    tile = Tile(None if level == "entries" else int(level), index, int(width or TILE_WIDTH))
    # Each tile has one name only, so that caches and copies cannot have it twice.
    if tile.path != path or (tile.level or 0) > _MAX_LEVEL:
        raise FormatError("This is not the path of a tile.")
    return tile


def tile_width(size: int, level: int, index: int) -> int:
    """Return the number of hashes of tile `index` of `level` in a tree of `size` leaves, or 0 if there is no such tile."""
    return max(0, min((size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH, TILE_WIDTH))


def tiles_of(size: int, level: int | None) -> Iterator[Tile]:
    """Yield the tiles of one level of a tree of `size` leaves from the left, or for a level of None its bundles of entries."""
    index = 0
    while width := tile_width(size, level or 0, index):
        yield Tile(level, index, width)
        index += 1


def split_hashes(tile: bytes) -> list[bytes]:
    """Split a tile into its hashes."""
    return [tile[i : i + HASH_SIZE] for i in range(0, len(tile), HASH_SIZE)]


TileReader = Callable[[Tile], bytes]
"""Returns the bytes of a tile of hashes, at least as wide as requested."""


class TiledTree:
    """The nodes of a tree of `size` leaves, computed from its tiles. Each tile is read once.

    This is a `NodeSource` for the functions of `aitbc.merkle`. Raises `FormatError` for a tile that is too short.
    """

    def __init__(self, read: TileReader, size: int) -> None:
        self.size = size
        self._read = read
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash over the 2**level leaves that begin with leaf index * 2**level."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        start = index << height
        hashes = self._hashes(tile_level, start // TILE_WIDTH)
        offset = start % TILE_WIDTH
        return fold(hashes[offset : offset + (1 << height)])

    def _hashes(self, level: int, index: int) -> list[bytes]:
        hashes = self._tiles.get((level, index))
        if hashes is None:
            tile = Tile(level, index, tile_width(self.size, level, index))
            # A wider tile is the same one from a later moment, of which the beginning never changes.
            hashes = split_hashes(self._read(tile))[: tile.width]
            if not tile.width or len(hashes) != tile.width or len(hashes[-1]) != HASH_SIZE:
                raise FormatError(f"{tile.path} does not have {tile.width} hashes.")
            self._tiles[level, index] = hashes
        return hashes


def grow(read: TileReader, size: int, leaf_hashes: Sequence[bytes]) -> Mapping[Tile, bytes]:
    """Return the tiles that change when leaves are added to a tree of `size` leaves: the full ones, and the new right edge."""
    changed: dict[Tile, bytes] = {}
    level, pending = 0, list(leaf_hashes)
    while pending:
        first, present = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
        # The tile at the right edge is written again whole, as its file is named by its width.
        if present:
            pending = [*split_hashes(read(Tile(level, first, present)))[:present], *pending]
        tiles = [pending[i : i + TILE_WIDTH] for i in range(0, len(pending), TILE_WIDTH)]
        for index, hashes in enumerate(tiles, first):
            changed[Tile(level, index, len(hashes))] = b"".join(hashes)
        pending = [fold(hashes) for hashes in tiles if len(hashes) == TILE_WIDTH]
        level += 1
    return changed


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """Encode a bundle of entries, each preceded by its length in two bytes, most significant first."""
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def decode_entries(bundle: bytes) -> list[bytes]:
    """Decode the entries of a bundle. Raises `FormatError` if it ends in the middle of an entry."""
    entries = []
    position = 0
    while position < len(bundle):
        begin = position + _LENGTH_BYTES
        position = begin + int.from_bytes(bundle[position:begin], "big")
        # A slice beyond the end would silently be shorter than the entry.
        if position > len(bundle) or begin > len(bundle):
            raise FormatError("The bundle ends in the middle of an entry.")
        entries.append(bundle[begin:position])
    return entries
