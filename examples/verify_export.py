"""Check an export of Callsheet's log without Callsheet: `python verify_export.py EXPORT --key KEY`.

It needs Python 3.11 and the package `cryptography`, and nothing else: no server, no database, no code of Callsheet.
It was written from docs/audit.md, so that it is a second opinion. Exit code 0: everything in the file is as it was
sealed. Exit code 1: it is not, and the first difference is printed. Exit code 2: the file or the key cannot be read.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Wrong(Exception):
    """The export is not what was sealed; the message says where."""


def hash_leaf(data: bytes) -> bytes:
    """Return the hash of a leaf (RFC 9162, section 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def open_checkpoint(note: str, keys: Sequence[str]) -> tuple[str, int, bytes]:
    """Return origin, size and root of a checkpoint that one of the keys has signed (C2SP signed-note)."""
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    signed = False
    for key in keys:
        name, key_id, encoded = key.strip().split("+", 2)
        material = base64.b64decode(encoded)
        expected = hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]
        if material[0] != 1 or expected.hex() != key_id:
            raise ValueError(f"{key!r} is not an Ed25519 key for checkpoints")
        for line in signatures.splitlines():
            dash, signer, signature = line.split(" ")
            raw = base64.b64decode(signature)
            if dash != "\u2014" or signer != name or raw[:4] != expected:
                continue
            try:
                Ed25519PublicKey.from_public_bytes(material[1:]).verify(raw[4:], text.encode())
            except InvalidSignature:
                raise Wrong(f"the signature of {name} on the checkpoint is wrong") from None
            signed = True
    if not signed:
        raise Wrong("none of the keys has signed the checkpoint")
    origin, size, root = text.split("\n")[:3]
    return origin, int(size), base64.b64decode(root)


def compute_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root to which an audit path leads (RFC 9162, section 2.1.3.2)."""
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise Wrong(f"the path of position {index + 1} is too long")
        if node % 2 == 1 or node == last:
            found = hash_children(sibling, found)
            while node % 2 == 0 and node != 0:
                node, last = node // 2, last // 2
        else:
            found = hash_children(found, sibling)
        node, last = node // 2, last // 2
    if last != 0:
        raise Wrong(f"the path of position {index + 1} is too short")
    return found


def add_leaf(subtrees: list[bytes], size: int, leaf: bytes) -> None:
    """Add the leaf number `size` to the roots of the complete subtrees, the largest of which comes first."""
    subtrees.append(leaf)
    for _ in range((size & -size).bit_length() - 1):
        right = subtrees.pop()
        subtrees.append(hash_children(subtrees.pop(), right))


def join_subtrees(subtrees: Sequence[bytes]) -> bytes:
    """Return the root of the tree."""
    found = subtrees[-1] if subtrees else hashlib.sha256(b"").digest()
    for left in subtrees[-2::-1]:
        found = hash_children(left, found)
    return found


def check_export(lines: Iterator[str], keys: Sequence[str]) -> str:
    """Return a sentence that says what was checked. Raises Wrong with the first difference."""
    start: dict[str, Any] = json.loads(next(lines, "{}"))
    if start.get("export") != "callsheet-export/1":
        raise ValueError("this is not an export of version callsheet-export/1")
    origin, size, root = open_checkpoint(start["checkpoint"], keys)
    subtrees: list[bytes] = []
    is_whole, position, events = start["is_whole"], 0, 0
    for number, line in enumerate(lines, 2):
        fields: dict[str, Any] = json.loads(line)
        if "events" in fields:
            if fields["events"] != events or next(lines, None) is not None:
                raise Wrong(f"line {number}: the file should have {fields['events']} events, and has {events}")
            break
        leaf = fields["leaf"].encode()
        before, position = position, json.loads(leaf)["position"]
        if not before < position <= size or (is_whole and position != before + 1):
            raise Wrong(f"line {number}: position {position} follows position {before}")
        if is_whole:
            add_leaf(subtrees, position, hash_leaf(leaf))
        else:
            path = [base64.b64decode(node) for node in fields.get("path", [])]
            if compute_root(hash_leaf(leaf), position - 1, size, path) != root:
                raise Wrong(f"line {number}: the event at position {position} differs from what was sealed")
        events += 1
    else:
        raise Wrong(f"the file ends after {events} events, without its last line")
    if is_whole and (events, join_subtrees(subtrees)) != (size, root):
        raise Wrong(f"the {events} events are not the {size} that were sealed")
    kind = "every event" if is_whole else "some of the events"
    return f"{events} events are as they were sealed: {kind} of {origin} up to position {size}."


def main() -> int:
    """Check the file that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("export", help="the file that `callsheet audit export` wrote")
    parser.add_argument("--key", action="append", required=True, help="a public key, from a source that you trust")
    options = parser.parse_args()
    try:
        with Path(options.export).open(encoding="utf-8") as lines:
            print(check_export(lines, options.key))
    except Wrong as difference:
        print(f"NOT as sealed: {difference}")
        return 1
    except (OSError, ValueError, KeyError, TypeError) as fault:
        print(f"cannot be checked: {fault}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
