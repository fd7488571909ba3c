"""Signed notes and checkpoints: a text with Ed25519 signatures, as transparency logs publish the roots of their trees.

Source: C2SP, signed-note.md and tlog-checkpoint.md (https://c2sp.org). A checkpoint is three lines, the origin of the
log, the size of its tree and the root in base64, followed by an empty line and a line for each signature.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from store.seals.merkle import HASH_BYTES

ED25519: Final = b"\x01"
KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
SIGNATURE_PREFIX: Final = "— "
PRIVATE_PREFIX: Final = "PRIVATE+KEY+"
KEY_NAME: Final = re.compile(r"[^\s+]{1,200}")
NOTE_CHARACTERS_MAX: Final = 1_000_000
SIGNATURES_MAX: Final = 100


class NoteInvalid(ValueError):  # noqa: N818  # an answer to whoever opens a note
    """A note, a checkpoint or a key is malformed, or nobody who is trusted has signed it."""


def compute_key_id(name: str, public_key: bytes) -> bytes:
    """Return the four bytes by which a signature names its key."""
    return sha256(name.encode() + b"\n" + ED25519 + public_key).digest()[:KEY_ID_BYTES]


class VerifierKey(Struct, frozen=True):
    """The name of a signer and its public key (32 bytes)."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Return the four bytes by which a signature names this key."""
        return compute_key_id(self.name, self.public_key)

    def format(self) -> str:
        """Return the key as text: name, key id in hexadecimal, and algorithm with key in base64, separated by `+`."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(ED25519 + self.public_key).decode()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that a text holds. Raises NoteInvalid."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        material = decode_base64(encoded)
        if not KEY_NAME.fullmatch(name) or material[:1] != ED25519 or len(material) != KEY_BYTES + 1:
            raise NoteInvalid("a verifier key is `<name>+<key id>+<base64>`, of an Ed25519 key")
        key = cls(name, material[1:])
        if key.key_id.hex() != key_id:
            raise NoteInvalid(f"the key id {key_id} does not belong to the key: it was changed, or copied in part")
        return key


class SignerKey:
    """The name of a signer and its private key."""

    def __init__(self, name: str, seed: bytes) -> None:
        """Create it from the 32 bytes of a private key. Raises NoteInvalid for a name that notes cannot hold."""
        if not KEY_NAME.fullmatch(name) or len(seed) != KEY_BYTES:
            raise NoteInvalid("a signer's name has no spaces and no `+`, and its private key has 32 bytes")
        self._seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = VerifierKey(name, self._private.public_key().public_bytes_raw())

    def format(self) -> str:
        """Return the private key as text, for a file that nobody else may read."""
        encoded = b64encode(ED25519 + self._seed).decode()
        return f"{PRIVATE_PREFIX}{self.verifier.name}+{self.verifier.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that a text holds. Raises NoteInvalid."""
        name, _, rest = text.strip().removeprefix(PRIVATE_PREFIX).partition("+")
        key_id, _, encoded = rest.partition("+")
        material = decode_base64(encoded)
        if not text.strip().startswith(PRIVATE_PREFIX) or material[:1] != ED25519:
            raise NoteInvalid(f"a private key is `{PRIVATE_PREFIX}<name>+<key id>+<base64>`, of an Ed25519 key")
        key = cls(name, material[1:])
        if key.verifier.key_id.hex() != key_id:
            raise NoteInvalid(f"the key id {key_id} does not belong to the private key")
        return key

    def sign(self, text: str) -> str:
        """Return the signature line of a note's text, without its line break."""
        signature = b64encode(self.verifier.key_id + self._private.sign(text.encode())).decode()
        return f"{SIGNATURE_PREFIX}{self.verifier.name} {signature}"


class Checkpoint(Struct, frozen=True, kw_only=True):
    """The size and the root of the tree of a log; `origin` names the log."""

    origin: str
    size: int
    root: bytes

    def format(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the checkpoint in the text of a note; further lines are extensions. Raises NoteInvalid."""
        origin, *rest = text.split("\n")
        if not origin or len(rest) < 3 or not re.fullmatch(r"0|[1-9][0-9]{0,18}", rest[0]):  # noqa: PLR2004  # size, root, ""
            raise NoteInvalid("a checkpoint has three lines: origin, size, root in base64")
        root = decode_base64(rest[1])
        if len(root) != HASH_BYTES:
            raise NoteInvalid("the root of a checkpoint has 32 bytes")
        return cls(origin=origin, size=int(rest[0]), root=root)


def sign_note(text: str, signers: Iterable[SignerKey]) -> str:
    """Return a text with the signatures of all signers. Raises NoteInvalid for a text that cannot be a note."""
    check_text(text)
    return f"{text}\n" + "".join(f"{signer.sign(text)}\n" for signer in signers)


def open_note(note: str, trusted: Iterable[VerifierKey]) -> str:
    """Return the text of a note that at least one trusted key has signed.

    Signatures of unknown keys are ignored; a wrong signature of a trusted key is an error. Raises NoteInvalid.
    """
    if len(note) > NOTE_CHARACTERS_MAX:
        raise NoteInvalid(f"a note has at most {NOTE_CHARACTERS_MAX} characters")
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteInvalid("a note is a text, an empty line, and signatures, each with a line break")
    text += "\n"
    check_text(text)
    keys = {(key.name, key.key_id): key for key in trusted}
    lines = signatures[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteInvalid(f"a note has at most {SIGNATURES_MAX} signatures")
    signed = [_is_signed(text, line, keys) for line in lines]  # all of them: each signature of a trusted key is checked
    if not any(signed):
        raise NoteInvalid("no trusted key has signed the note")
    return text


def check_text(text: str) -> None:
    """Raise NoteInvalid unless a text ends with a line break and has no other control characters."""
    if not text.endswith("\n") or any(character < " " and character != "\n" for character in text):
        raise NoteInvalid("the text of a note ends with a line break and has no other control characters")


def _is_signed(text: str, line: str, keys: dict[tuple[str, bytes], VerifierKey]) -> bool:
    name, separator, encoded = line.removeprefix(SIGNATURE_PREFIX).partition(" ")
    signature = decode_base64(encoded)
    if not line.startswith(SIGNATURE_PREFIX) or not separator or len(signature) <= KEY_ID_BYTES:
        raise NoteInvalid(f"a signature line is `{SIGNATURE_PREFIX}<name> <base64>`")
    key = keys.get((name, signature[:KEY_ID_BYTES]))
    if key is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature[KEY_ID_BYTES:], text.encode())
    except InvalidSignature:
        raise NoteInvalid(f"the signature of {name} is wrong: the note was changed") from None
    return True


def decode_base64(text: str) -> bytes:
    """Return the bytes of standard base64, whose only spelling a text must be. Raises NoteInvalid."""
    try:
        decoded = b64decode(text, validate=True)
    except ValueError:
        decoded = b""
    if b64encode(decoded).decode() != text:
        raise NoteInvalid("base64 is expected, with padding")
    return decoded
