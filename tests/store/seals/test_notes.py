"""Signed notes: the example of Go's implementation opens, and every changed note is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.seals.notes import Checkpoint, NoteInvalid, SignerKey, VerifierKey, open_note, sign_note

# The example of golang.org/x/mod/sumdb/note.
PETER = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
PETER_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
NOTE = f"{TEXT}\n— PeterNeumann {SIGNATURE}\n"
SIGNER = SignerKey("callsheet/test", bytes(range(32)))


def test_a_note_of_gos_implementation_opens_and_is_signed_alike() -> None:
    assert open_note(NOTE, [PETER]) == TEXT
    signer = SignerKey.parse(PETER_PRIVATE)
    assert signer.verifier == PETER
    assert signer.format() == PETER_PRIVATE
    assert sign_note(TEXT, [signer]) == NOTE


def test_a_checkpoint_comes_back_as_it_was_signed() -> None:
    checkpoint = Checkpoint(origin="callsheet/0192", size=12_345, root=bytes(range(32)))
    note = sign_note(checkpoint.format(), [SIGNER, SignerKey.parse(PETER_PRIVATE)])
    for trusted in (SIGNER.verifier, PETER):
        assert Checkpoint.parse(open_note(note, [trusted])) == checkpoint
    with pytest.raises(NoteInvalid, match="no trusted key"):
        open_note(note, [SignerKey("callsheet/test", bytes(32)).verifier])
    with pytest.raises(NoteInvalid, match="no trusted key"):
        open_note(note, [VerifierKey("another", SIGNER.verifier.public_key)])


def test_keys_survive_their_text_and_a_changed_letter_is_noticed() -> None:
    for text, parse in ((SIGNER.format(), SignerKey.parse), (SIGNER.verifier.format(), VerifierKey.parse)):
        assert parse(text).format() == text
        for changed in (text[:-3], text.replace("+", "-"), text[:-6] + "AAAAA=", "", "x+y+z"):
            with pytest.raises(NoteInvalid):
                parse(changed)


@given(st.integers(0, len(NOTE) - 1), st.characters(exclude_categories=["Cs"]))
def test_a_note_with_one_changed_character_is_refused(at: int, character: str) -> None:
    changed = NOTE[:at] + character + NOTE[at + 1 :]
    if changed != NOTE:
        with pytest.raises(NoteInvalid):
            open_note(changed, [PETER])


@pytest.mark.parametrize(
    "text",
    ["", "origin\n", "origin\n1\n", "origin\n01\nAAAA\n", f"origin\n1\n{'A' * 43}\n", "\n1\nAAAA\n", "o\n-1\nAA==\n"],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text)


def test_a_text_that_cannot_be_a_note_is_not_signed() -> None:
    for text in ("no line break", "a\tb\n"):
        with pytest.raises(NoteInvalid):
            sign_note(text, [SIGNER])
