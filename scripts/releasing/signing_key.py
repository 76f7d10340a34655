"""The publisher's private key: an Ed25519 seed in base64, in a file outside of the repository."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import tomlkit
from nacl.signing import SigningKey

from agent.updates.manifest import KEYS, key_id, trusted_keys
from aitbc.canonical import b64decode, b64encode


def create_key(file: Path, root: Path) -> None:
    """Write a new private key, readable by its owner only, and add its public half to the keys that agents trust."""
    if file.resolve().is_relative_to(root.resolve()):
        raise SystemExit(f"{file} is in the repository. Keep the private key outside of it.")
    key = SigningKey.generate()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(b64encode(bytes(key)) + "\n")
    document = tomlkit.parse(KEYS.read_text(encoding="utf-8"))
    public = b64encode(bytes(key.verify_key))
    document["public_keys"].append(public)
    KEYS.write_text(tomlkit.dumps(document), encoding="utf-8")
    print(f"Private key: {file}. Keep a copy where nothing else is: who has it can publish versions.")
    print(f"Public key {key_id(bytes(key.verify_key))}: {public}, added to {KEYS.name}. Commit that file.")


def shipped_keys(additional: Sequence[str] = ()) -> dict[str, bytes]:
    """Return the public keys that agents with these additional ones trust, by their ids."""
    return trusted_keys(additional, KEYS)


def read_key(file: Path, additional: Sequence[str] = ()) -> SigningKey:
    """Return the private key in a file, whose public half agents must trust: by release_keys.toml, or `additional` ones in base64."""
    key = SigningKey(b64decode(file.read_text(encoding="ascii").strip()))
    public = bytes(key.verify_key)
    if key_id(public) not in shipped_keys(additional):
        raise SystemExit(
            f"The key in {file} is not one that agents trust, so they would refuse the release. Add {b64encode(public)} to {KEYS.name}, "
            "or, if your agents have it in updates.public_keys, name it here by --public-key."
        )
    return key
