"""Ids of events and cursors across the epochs of a log."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from store.log.epochs import create_tag
from store.log.identity import LogEpoch, LogIdentity, create_identity

LOG = UUID("0192f000-0000-7000-8000-ffffffffffff")  # a first tag that is greater than any time


@st.composite
def identities(draw: st.DrawFn) -> LogIdentity:
    identity = create_identity(LOG)
    for after in draw(st.lists(st.integers(0, 50), max_size=5)):
        tag = create_tag(identity, draw(st.integers(1, 2**40)))
        identity = create_identity(LOG, (*identity.epochs[1:], LogEpoch(tag=tag, after=after)))
    return identity


@given(identities(), st.integers(1, 60))
def test_the_id_of_a_fact_in_the_log_is_a_valid_cursor(identity: LogIdentity, position: int) -> None:
    tag = identity.format_event_id(position).partition("-")[0]
    assert identity.find_valid_position(tag, position) == position


@given(identities(), st.integers(0, 50), st.integers(1, 60))
def test_a_new_epoch_keeps_the_ids_before_it_and_no_id_after_it_was_ever_used(
    identity: LogIdentity, after: int, position: int
) -> None:
    used = {f"{epoch.tag}-{number}" for epoch in identity.epochs for number in range(1, 61)}
    epoch = LogEpoch(tag=create_tag(identity, 1), after=after)
    rewound = create_identity(LOG, (*identity.epochs[1:], epoch))
    if position <= after:
        assert rewound.format_event_id(position) == identity.format_event_id(position)
    else:
        assert rewound.format_event_id(position) not in used
        before = identity.format_event_id(position).partition("-")[0]
        valid = rewound.find_valid_position(before, position)
        assert valid is not None
        assert valid <= after


@given(identities())
def test_a_later_epoch_has_a_later_tag(identity: LogIdentity) -> None:
    tags = [epoch.tag for epoch in identity.epochs]
    assert all(identity.is_later(later, than=tag) for n, tag in enumerate(tags) for later in tags[n + 1 :])


def test_a_tag_that_the_log_does_not_know_has_no_valid_position() -> None:
    assert create_identity(LOG).find_valid_position("0123456789ab", 7) is None
