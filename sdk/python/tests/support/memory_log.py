"""A log in memory with arbitrary leaves, served as a coordinator serves its log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nacl.signing import SigningKey

from aitbc.log import Checkpoint, Proof
from aitbc.merkle import inclusion_proof, leaf_hash, root_hash
from aitbc.notes import Note, NoteSignature, sign_note
from aitbc.tiles import TILE_WIDTH, Tile, TiledTree, encode_entries, grow, tile_width, tiles_of


class MemoryLog:
    """Leaves with their tiles. `files` are the files of tlog-tiles, with partial tiles only for the current size."""

    def __init__(self, origin: str, key: SigningKey, leaves: Sequence[bytes]) -> None:
        self.origin = origin
        self.key = key
        self.leaves = list(leaves)
        grown = grow(_nothing, 0, [leaf_hash(leaf) for leaf in leaves])
        self.tiles = {(tile.level, tile.index): hashes for tile, hashes in grown.items()}

    @property
    def size(self) -> int:
        return len(self.leaves)

    def tree(self, size: int | None = None) -> TiledTree:
        return TiledTree(lambda tile: self.tiles[tile.level, tile.index], self.size if size is None else size)

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        size = self.size if size is None else size
        return Checkpoint(self.origin, size, root_hash(self.tree(size), size))

    def note(self, size: int | None = None, *cosignatures: NoteSignature) -> Note:
        return sign_note(self.checkpoint(size).text, self.origin, self.key).with_signatures(*cosignatures)

    def proof(self, index: int, *cosignatures: NoteSignature) -> str:
        hashes = inclusion_proof(self.tree(), index, self.size)
        return str(Proof(index, tuple(hashes), self.note(None, *cosignatures)))

    def files(self) -> dict[str, bytes]:
        files = {"checkpoint": str(self.note()).encode()}
        for bundle in tiles_of(self.size, None):
            begin = bundle.index * TILE_WIDTH
            files[bundle.path] = encode_entries(self.leaves[begin : begin + bundle.width])
        for (level, index), hashes in self.tiles.items():
            files[Tile(level, index, tile_width(self.size, level, index)).path] = hashes
        return files

    def write(self, directory: Path) -> None:
        for path, content in self.files().items():
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _nothing(tile: Tile) -> bytes:
    raise AssertionError(f"nothing was written at {tile.path}")
