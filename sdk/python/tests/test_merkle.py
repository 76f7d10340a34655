"""The log's tree, compared with the recursive definitions of RFC 6962, which this module implements independently."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from aitbc.errors import FormatError
from aitbc.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from aitbc.tiles import Tile, TiledTree, decode_entries, encode_entries, grow, parse_tile_path, tile_width

from .support.memory_log import MemoryLog

EDGES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 127, 128, 129, 255, 256, 257, 511, 512, 513, 600]
"""Sizes around powers of two, and around the width of a tile."""

LOG = MemoryLog("log.test", SigningKey(b"l" * 32), [b"leaf %d" % number for number in range(600)])
HASHES = [leaf_hash(leaf) for leaf in LOG.leaves]
sizes = st.sampled_from(EDGES) | st.integers(0, 600)


def mth(leaves: Sequence[bytes]) -> bytes:
    """Section 2.1: the Merkle Tree Hash over hashes of leaves."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    return [*path(m, leaves[:k]), mth(leaves[k:])] if m < k else [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    """Section 2.1.2."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], whole=False), mth(leaves[:k])]


def split(count: int) -> int:
    return next(1 << bit for bit in range(count.bit_length(), -1, -1) if 1 << bit < count)


@pytest.mark.parametrize("size", EDGES)
def test_roots_match_the_definition(size: int) -> None:
    """Computed from tiles, and from the leaves one by one."""
    frontier = Frontier()
    frontier.extend(HASHES[:size])
    assert root_hash(LOG.tree(size), size) == mth(HASHES[:size]) == frontier.root()
    assert frontier.size == size


@settings(max_examples=settings().max_examples * 150 // 100, deadline=None)
@given(size=sizes.filter(bool), data=st.data())
def test_inclusion_proofs_match_the_definition_and_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.sampled_from([0, size - 1]) | st.integers(0, size - 1))
    hashes = inclusion_proof(LOG.tree(size), index, size)
    assert hashes == path(index, HASHES[:size])
    root = mth(HASHES[:size])
    assert verify_inclusion(HASHES[index], index, size, hashes, root)
    other = data.draw(st.integers(0, size + 1).filter(lambda number: number != index))
    assert not verify_inclusion(HASHES[index], other, size, hashes, root)
    assert not verify_inclusion(HASHES[index], index, size, [*hashes, root], root)


@settings(max_examples=settings().max_examples * 150 // 100, deadline=None)
@given(pair=st.tuples(sizes, sizes).map(sorted), data=st.data())
def test_consistency_proofs_match_the_definition_and_verify(pair: list[int], data: st.DataObject) -> None:
    old, new = pair
    hashes = consistency_proof(LOG.tree(new), old, new)
    if old:
        assert hashes == subproof(old, HASHES[:new], whole=True)
    roots = mth(HASHES[:old]), mth(HASHES[:new])
    assert verify_consistency(old, roots[0], new, roots[1], hashes)
    other = mth(HASHES[1 : old + 1]) if old else HASHES[0]
    assert not verify_consistency(old, other, new, roots[1], hashes)
    if 0 < old < new:
        assert not verify_consistency(old, roots[0], new, HASHES[0], hashes)
        changed = data.draw(st.integers(0, len(hashes) - 1))
        assert not verify_consistency(
            old, roots[0], new, roots[1], [*hashes[:changed], EMPTY_ROOT, *hashes[changed + 1 :]]
        )
    assert not verify_consistency(old, roots[0], new, roots[1], [*hashes, EMPTY_ROOT])
    assert not verify_consistency(new + 1, roots[1], new, roots[1], [])


@settings(max_examples=settings().max_examples * 60 // 100, deadline=None)
@given(steps=st.lists(sizes, min_size=1, max_size=6).map(sorted))
def test_tiles_do_not_depend_on_how_the_log_grew(steps: list[int]) -> None:
    """Whether leaves are added at once or in parts, the tiles have the hashes that tlog-tiles defines."""
    tiles: dict[tuple[int, int], bytes] = {}
    size = 0
    for step in steps:
        grown = grow(lambda tile: tiles[tile.level, tile.index], size, HASHES[size:step])
        tiles.update({(tile.level, tile.index): hashes for tile, hashes in grown.items()})
        size = step
    expected = {}
    for level in range(3):
        span = 256**level
        full = [mth(HASHES[i * span : (i + 1) * span]) for i in range(size // span)]
        for index in range(0, len(full), 256):
            expected[level, index // 256] = b"".join(full[index : index + 256])
    assert tiles == expected


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 0, 1), "tile/0/000.p/1"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(None, 1234067, 8), "tile/entries/x001/x234/067.p/8"),
    ],
)
def test_tile_paths_match_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert parse_tile_path(path) == tile


@given(st.integers(0, 63) | st.none(), st.integers(0, 2**48), st.integers(1, 256))
def test_every_tile_path_survives_a_round_trip(level: int | None, index: int, width: int) -> None:
    assert parse_tile_path(Tile(level, index, width).path) == Tile(level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0", "tile/0/00", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/000.p/0", "tile/0/000.p/256",
        "tile/0/000.p/01", "tile/0/x000/000", "tile/0/001/000", "tile/0/x001", "tile/0/000/", "tile/entries",
        "tile/0/000.p", "tile/data/000", "0/000", "tile/0/\u0660\u0660\u0660", "tile/0/000\n",
    ],
)  # fmt: skip
def test_other_forms_of_tile_paths_are_refused(path: str) -> None:
    with pytest.raises(FormatError):
        parse_tile_path(path)


def test_tile_widths_match_the_example_in_the_specification() -> None:
    """A tree of 70,000: 273 full tiles and one of 112; one full tile and one of 17; one of a single hash."""
    assert [tile_width(70_000, 0, index) for index in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tile_width(70_000, 1, index) for index in (0, 1, 2)] == [256, 17, 0]
    assert [tile_width(70_000, level, 0) for level in (2, 3)] == [1, 0]


def test_a_short_tile_is_an_error_instead_of_a_wrong_root() -> None:
    for cut in (0, 31, 33, 44 * 32 - 1):
        tree = TiledTree(lambda tile, cut=cut: LOG.tiles[tile.level, tile.index][:cut], 300)
        with pytest.raises(FormatError):
            root_hash(tree, 300)


@given(st.lists(st.binary(max_size=300), max_size=20), st.data())
def test_entries_of_a_bundle_survive_a_round_trip(entries: list[bytes], data: st.DataObject) -> None:
    """A bundle that ends within an entry, or within a length, is refused."""
    bundle = encode_entries(entries)
    assert decode_entries(bundle) == entries
    ends = [len(encode_entries(entries[:count])) for count in range(len(entries) + 1)]
    cut = data.draw(st.integers(0, len(bundle)))
    if cut in ends:
        assert decode_entries(bundle[:cut]) == entries[: ends.index(cut)]
    else:
        with pytest.raises(FormatError):
            decode_entries(bundle[:cut])


def test_the_vectors_tree_has_the_expected_root_and_proof(vectors) -> None:
    """An independent implementation made them."""
    given_log = vectors["log"]
    key = SigningKey(base64.b64decode(given_log["log_seed"]))
    log = MemoryLog(given_log["origin"], key, [base64.b64decode(leaf) for leaf in given_log["leaves_base64"]])
    assert base64.b64encode(log.checkpoint().root).decode() == given_log["root"]
    assert str(log.note()) == given_log["checkpoint"]
    assert log.proof(given_log["proven_leaf_index"]) == given_log["proof"]
