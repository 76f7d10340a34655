"""Signed notes: a text followed by the signatures of named keys, which may include the cosignatures of witnesses.

Sources: https://c2sp.org/signed-note and https://c2sp.org/tlog-cosignature (its Ed25519 form).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from nacl.signing import SigningKey

from aitbc.canonical import b64decode, b64encode
from aitbc.dsse import SIGNATURE_SIZE, verify_bytes
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import COSIGNATURE_TYPE, key_id, parse_vkey

MAX_NOTE = 2**18
"""Characters of the longest accepted note: a hundred signatures of the largest types."""

_KEY_ID_SIZE = 4
_TIMESTAMP_SIZE = 8
_MAX_TIMESTAMP = 2**63 - 1
_MAX_SIGNATURES = 100
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_SIGNATURE_LINE = re.compile(r"\u2014 ([^\s+]+) (\S+)")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line: the claimed signer, the key's id (4 bytes), and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line in a note, including its line end."""
        return f"\u2014 {self.name} {b64encode(self.key_id + self.signature)}\n"

    def is_of(self, name: str, public_key: bytes, kind: bytes) -> bool:
        """Return whether the line claims to be signed with this key. The signature must still be verified."""
        return (self.name, self.key_id) == (name, key_id(name, public_key, kind))


@dataclass(frozen=True, slots=True)
class Note:
    """A well-formed note whose signatures are NOT verified. `text` ends with a line end."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n" + "".join(signature.line for signature in self.signatures)

    def with_signatures(self, *added: NoteSignature) -> Self:
        """Return the note with more signatures after its own."""
        return replace(self, signatures=(*self.signatures, *added))


def parse_note(note: str | bytes) -> Note:
    """Parse a signed note. Raises `FormatError` if it does not have the exact form."""
    content = utf8(note)
    if len(content) > MAX_NOTE:
        raise FormatError("The signed note is too long.")
    # The last empty line separates, since the text itself may contain empty lines.
    body, separator, signatures = content.rpartition("\n\n")
    if not separator or not body or not signatures.endswith("\n") or _CONTROL.search(content):
        raise FormatError("This is not a signed note.")
    return Note(body + "\n", parse_signatures(signatures))


def parse_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """Parse signature lines, each with its line end. Raises `FormatError`."""
    if not lines.endswith("\n"):
        raise FormatError("The last signature line does not end.")
    signature_lines = lines[:-1].split("\n")
    if len(signature_lines) > _MAX_SIGNATURES:
        raise FormatError("The signed note has too many signatures.")
    return tuple(_signature(line) for line in signature_lines)


def _signature(line: str) -> NoteSignature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise FormatError("The signed note has a malformed signature line.")
    data = b64decode(match[2])
    if len(data) <= _KEY_ID_SIZE:
        raise FormatError("The signed note has a signature that is too short.")
    return NoteSignature(match[1], data[:_KEY_ID_SIZE], data[_KEY_ID_SIZE:])


def sign_note(text: str, origin: str, key: SigningKey) -> Note:
    """Sign a note as a log. `text` ends with a line end, and `origin` is the key's name."""
    signature = key.sign(text.encode()).signature
    return Note(text, (NoteSignature(origin, key_id(origin, bytes(key.verify_key)), signature),))


def require_signature(note: Note, log_key: str) -> None:
    """Verify that the log with this vkey signed the note.

    Raises `VerificationError` if its signature is missing or wrong. Signatures of other keys are ignored.
    """
    origin, public_key = parse_vkey(log_key)
    # By name and id: a note may have signatures of keys that this program does not know, of any type.
    signatures = [
        item for item in note.signatures if item.name == origin and item.key_id == key_id(origin, public_key)
    ]
    if not signatures:
        raise VerificationError("The note is not signed by the given log key.")
    # All, because a wrong signature under the log's name is a forgery, even next to a right one.
    if not all(verify_bytes(note.text.encode(), item.signature, public_key) for item in signatures):
        raise VerificationError("The note's signature does not verify under the given log key.")


def cosign(note: Note, name: str, key: SigningKey, timestamp: int) -> NoteSignature:
    """Return the cosignature of the witness called `name` over a checkpoint. `timestamp` is in seconds since the epoch.

    With it, the witness asserts that this is the largest tree of that log that it has seen, and that it extends all earlier ones.
    """
    signature = key.sign(_cosigned(note.text, timestamp)).signature
    identifier = key_id(name, bytes(key.verify_key), COSIGNATURE_TYPE)
    return NoteSignature(name, identifier, timestamp.to_bytes(_TIMESTAMP_SIZE, "big") + signature)


def find_cosignature(note: Note, witness: str) -> tuple[NoteSignature, int] | None:
    """Return the cosignature of a witness (a vkey of type 4) and its time in seconds since the epoch, or None if there is none.

    Raises `VerificationError` if a line claims to be that witness's and does not verify.
    """
    name, public_key = parse_vkey(witness, COSIGNATURE_TYPE)
    newest = None
    for item in note.signatures:
        if not item.is_of(name, public_key, COSIGNATURE_TYPE):
            continue
        timestamp = int.from_bytes(item.signature[:_TIMESTAMP_SIZE], "big")
        # The timestamp stands before the signature, which covers it.
        right_size = len(item.signature) == _TIMESTAMP_SIZE + SIGNATURE_SIZE and timestamp <= _MAX_TIMESTAMP
        message = _cosigned(note.text, timestamp)
        if not right_size or not verify_bytes(message, item.signature[_TIMESTAMP_SIZE:], public_key):
            raise VerificationError(f"The cosignature of {name} does not verify.")
        if newest is None or timestamp > newest[1]:
            newest = item, timestamp
    return newest


def _cosigned(text: str, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def utf8(value: str | bytes) -> str:
    """Return the text if UTF-8 can represent it. Raises `FormatError`."""
    try:
        content = value.decode("utf-8") if isinstance(value, bytes) else value
        # Python's strings may contain halves of surrogate pairs, which no bytes stand for.
        content.encode("utf-8")
    except UnicodeError as error:
        raise FormatError("The text is not UTF-8.") from error
    return content
