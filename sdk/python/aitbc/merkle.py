"""The Merkle tree of the log: hashing, proofs, and their verification.

Sources: RFC 6962 section 2.1 (hashing, the shape of proofs), RFC 9162 sections 2.1.3.2 and 2.1.4.2 (verification).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of the empty tree."""

NodeSource = Callable[[int, int], bytes]
"""`nodes(level, index)` returns the hash over the 2**level leaves that begin with leaf index * 2**level."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return SHA-256(0x00 || leaf)."""
    # The first byte differs from that of nodes, so that no node can be presented as a leaf.
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left_child: bytes, right_child: bytes) -> bytes:
    """Return SHA-256(0x01 || left_child || right_child)."""
    return hashlib.sha256(b"\x01" + left_child + right_child).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root of the full subtree above `hashes`, whose number is a power of two."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


def root_hash(nodes: NodeSource, size: int) -> bytes:
    """Return the root of the tree of the first `size` leaves. Reads one node for each bit of `size` that is set."""
    return _range_hash(nodes, 0, size) if size else EMPTY_ROOT


def inclusion_proof(nodes: NodeSource, index: int, size: int) -> list[bytes]:
    """Return the hashes that lead from leaf number `index` to the root of `size` leaves (RFC 6962, section 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    hashes = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            hashes.append(_range_hash(nodes, middle, end))
            end = middle
        else:
            hashes.append(_range_hash(nodes, start, middle))
            start = middle
    return hashes[::-1]


def consistency_proof(nodes: NodeSource, old_size: int, new_size: int) -> list[bytes]:
    """Return the hashes that prove that the tree of `new_size` leaves extends that of `old_size` (RFC 6962, section 2.1.2)."""
    if not 0 <= old_size <= new_size:
        raise ValueError(f"a tree of {new_size} leaves does not continue one of {old_size}")
    # Nothing lies between the two trees, so RFC 6962 has an empty proof.
    if old_size in {0, new_size}:
        return []
    hashes = []
    start, end = 0, new_size
    while end > old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            hashes.append(_range_hash(nodes, middle, end))
            end = middle
        else:
            hashes.append(_range_hash(nodes, start, middle))
            start = middle
    if start:
        hashes.append(_range_hash(nodes, start, end))
    return hashes[::-1]


def _range_hash(nodes: NodeSource, start: int, end: int) -> bytes:
    """Return the hash over the leaves from `start` to before `end`. `start` is a multiple of the size of every full subtree in it."""
    count = end - start
    if count & (count - 1) == 0:
        # A full subtree, whose hash is stored as one node.
        level = count.bit_length() - 1
        return nodes(level, start >> level)
    # RFC 6962 splits at the largest power of two, so that the left part never changes when the tree grows.
    middle = start + _split(count)
    return node_hash(_range_hash(nodes, start, middle), _range_hash(nodes, middle, end))


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def verify_inclusion(leaf: bytes, index: int, size: int, hashes: Sequence[bytes], root: bytes) -> bool:
    """Return whether the leaf with hash `leaf` is number `index` (from 0) of the tree of `size` leaves under `root`."""
    if not 0 <= index < size:
        return False
    sides = _sides(index, size - 1, len(hashes))
    if sides is None:
        return False
    result = leaf
    for sibling, on_left in zip(hashes, sides, strict=True):
        result = node_hash(sibling, result) if on_left else node_hash(result, sibling)
    return result == root


def _sides(node: int, last: int, count: int) -> list[bool] | None:
    """Return for each of `count` hashes of a proof whether it is the left sibling on the way up from `node`.

    `last` is the index of the last node on the same level. Returns None if the way to the root takes another number of hashes.
    """
    sides: list[bool] = []
    while last and len(sides) < count:
        # The last node of a level may be alone, so its sibling is further up and on the left.
        on_left = bool(node & 1) or node == last
        sides.append(on_left)
        while on_left and node and not node & 1:  # levels on which the last node has no sibling
            node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    return sides if last == 0 and len(sides) == count else None


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, hashes: Sequence[bytes]
) -> bool:
    """Return whether the tree of `new_size` leaves under `new_root` extends the tree of `old_size` leaves under `old_root`."""
    if not 0 <= old_size <= new_size:
        return False
    if old_size in {0, new_size}:
        expected_root = EMPTY_ROOT if old_size == 0 else new_root
        return not hashes and old_root == expected_root and (new_size > 0 or new_root == EMPTY_ROOT)
    # The old root of a full tree is a node of the new one, and is left out of the proof since both sides know it.
    path = [old_root, *hashes] if old_size & (old_size - 1) == 0 else list(hashes)
    node, last = old_size - 1, new_size - 1
    # Levels on which the old tree's last node is a right child are full on both sides, so the proof starts above them.
    while node & 1:
        node, last = node >> 1, last >> 1
    sides = _sides(node, last, len(path) - 1)
    if sides is None:
        return False
    # Both roots are computed from the same hashes: that is what proves that one tree extends the other.
    computed_old = computed_new = path[0]
    for sibling, on_left in zip(path[1:], sides, strict=True):
        computed_new = node_hash(sibling, computed_new) if on_left else node_hash(computed_new, sibling)
        computed_old = node_hash(sibling, computed_old) if on_left else computed_old
    return computed_old == old_root and computed_new == new_root


class Frontier:
    """A growing tree that stores only the hashes that its root needs: one for each bit of its size that is set."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Append leaves, given by their hashes."""
        for node in leaf_hashes:
            size, peak = self.size, node
            # Each bit that is set is a full subtree. Two of the same size make the next larger one, as when adding binary numbers.
            while size & 1:
                peak, size = node_hash(self._peaks.pop(), peak), size >> 1
            self._peaks.append(peak)
            self.size += 1

    def root(self) -> bytes:
        """Return the root of the leaves added so far."""
        if not self._peaks:
            return EMPTY_ROOT
        *left_peaks, result = self._peaks
        for peak in reversed(left_peaks):
            result = node_hash(peak, result)
        return result
