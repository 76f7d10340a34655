"""The Merkle tree behind the log: hashing, proofs, and their verification.

Sources: RFC 6962 section 2.1 (hashing, the shape of proofs), RFC 9162 sections 2.1.3.2 and 2.1.4.2 (verification).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of the tree without leaves."""

NodeSource = Callable[[int, int], bytes]
"""`nodes(level, index)`: the hash over the 2**level leaves from leaf index * 2**level on."""


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash over a full subtree whose lowest nodes are `hashes`, a power of two of them."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


def root_hash(nodes: NodeSource, size: int) -> bytes:
    """The root of the tree of the first `size` leaves. Reads as many nodes as `size` has bits that are set."""
    return _range_hash(nodes, 0, size) if size else EMPTY_ROOT


def inclusion_proof(nodes: NodeSource, index: int, size: int) -> list[bytes]:
    """The hashes that lead from leaf number `index` to the root of `size` leaves (RFC 6962, section 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
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
    """The hashes that show the tree of `new_size` leaves to begin with that of `old_size` (RFC 6962, section 2.1.2)."""
    if not 0 <= old_size <= new_size:
        raise ValueError(f"a tree of {new_size} leaves does not continue one of {old_size}")
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
    """The hash over leaves from `start` to before `end`; `start` is a multiple of every full subtree in it."""
    count = end - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return nodes(level, start >> level)
    middle = start + _split(count)
    return node_hash(_range_hash(nodes, start, middle), _range_hash(nodes, middle, end))


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def verify_inclusion(leaf: bytes, index: int, size: int, hashes: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf with hash `leaf` is number `index` (from 0) of the tree of `size` leaves under `root`."""
    if not 0 <= index < size:
        return False
    node, last, result = index, size - 1, leaf
    for sibling in hashes:
        if last == 0:
            return False
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and result == root


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, hashes: Sequence[bytes]
) -> bool:
    """Whether the tree of `new_size` leaves under `new_root` begins with the one of `old_size` under `old_root`."""
    if not 0 <= old_size <= new_size:
        return False
    if old_size == new_size:
        return not hashes and old_root == new_root and (old_size > 0 or old_root == EMPTY_ROOT)
    if old_size == 0:
        return not hashes and old_root == EMPTY_ROOT
    path = [old_root, *hashes] if old_size & (old_size - 1) == 0 else list(hashes)
    if not path:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


class Frontier:
    """A tree that only grows, of which no more is kept than its root needs: one hash for each bit of its size."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Add leaves by their hashes."""
        for node in leaf_hashes:
            size, peak = self.size, node
            while size & 1:
                peak, size = node_hash(self._peaks.pop(), peak), size >> 1
            self._peaks.append(peak)
            self.size += 1

    def root(self) -> bytes:
        """The root of the leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        *others, result = self._peaks
        for peak in reversed(others):
            result = node_hash(peak, result)
        return result
