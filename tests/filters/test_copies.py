"""The ticket of a split message: what was put in comes out, for this message and no other, and from nobody but us."""

from base64 import b64decode, b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.copies import FIELD, ticket, with_ticket
from filters.job import Envelope, Job, Site, Tracking
from filters.mail.message import Field, Message
from filters.overrides import MAX_FIELD
from filters.tags import MAX_TAG, MAX_TAGS
from journal.seal import KEY_LENGTH, Ring, SealingKey
from policy.options import OPTIONS, Images, Options


def ring(octet: int) -> Ring:
    return Ring((SealingKey(id=1, secret=bytes((octet,)) * 32 + bytes(KEY_LENGTH - 32), created=0, active=0),), now=0)


OURS = ring(1)
SITE = Site(
    signers=lambda domain: (),
    tracking=lambda domain: Tracking(base="https://clicks.example.com", hosts=frozenset()),
    ring=OURS,
    now=1_700_000_000,
)
MESSAGE = Message((Field(b"From", b" news@example.com"), Field(b"Subject", b" a\r\n\tb")), b"Hello,\r\n\r\nworld\r\n")
JOB = Job(
    login="0" * 32,
    account="shop",
    envelope=Envelope(mail_from="news@example.com", rcpt_to=("a@example.net", "b@example.net")),
    options=Options(trackclicks=True, images=Images.HOSTED),
    message=MESSAGE,
    seed=bytes(range(16)),
    queue_id="4XyZ",
    decided_by={"trackclicks": "header", "images": "login, forced"},
    tags=("spring", "Grüße"),
)
TRACE = Field(b"Received", b" from mail.example.com (unknown [127.0.0.1])\r\n\tby mail.example.com")


def copy(message: Message) -> Message:
    """A message as the second pass gets it: Postfix has added its trace field."""
    return Message((TRACE, *message.fields), message.body)


SPLIT = copy(with_ticket(JOB, SITE).message)


def changed(place: int, field: Field) -> Message:
    fields = list(SPLIT.fields)
    fields[place] = field
    return Message(tuple(fields), SPLIT.body)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
options = st.fixed_dictionaries(
    {option.name: st.sampled_from(Images) if option.name == "images" else st.booleans() for option in OPTIONS}
)


@given(
    words=st.tuples(texts, texts, texts, texts),
    options=options,
    tags=st.lists(texts, max_size=5).map(tuple),
    decided_by=st.dictionaries(st.sampled_from([option.name for option in OPTIONS]), texts),
    seed=st.binary(min_size=16, max_size=16),
    now=st.integers(0, 2**40),
)
def test_what_is_put_in_comes_out(words, options, tags, decided_by, seed, now: int) -> None:
    login, account, mail_from, queue_id = words
    job = replace(
        JOB,
        login=login,
        account=account,
        envelope=replace(JOB.envelope, mail_from=mail_from),
        options=Options(**options),
        tags=tags,
        decided_by=decided_by,
        seed=seed,
        queue_id=queue_id,
    )
    found = ticket(copy(with_ticket(job, replace(SITE, now=now)).message), OURS)
    assert found is not None
    assert (found.login, found.account, found.mail_from, found.queue_id) == words
    assert (found.options, found.tags, found.decided_by, found.seed, found.time) == (job.options, tags, decided_by, seed, now)


def test_the_ticket_stands_on_top_and_nothing_else_is_changed() -> None:
    job = with_ticket(JOB, SITE)
    assert job.message.fields[0].name == FIELD
    assert replace(job, message=MESSAGE) == JOB
    assert (job.message.fields[1:], job.message.body) == (MESSAGE.fields, MESSAGE.body)


def test_neither_login_nor_sender_nor_tag_can_be_read_in_it() -> None:
    sealed = b64decode(b"".join(SPLIT.fields[1].value.split()))
    assert not [word for word in (b"0000", b"shop", b"news", b"spring", b"4XyZ", b"track") if word in sealed]


def test_every_flipped_bit_is_refused() -> None:
    sealed = bytearray(b64decode(b"".join(SPLIT.fields[1].value.split())))
    assert ticket(changed(1, Field(FIELD, b64encode(sealed))), OURS) is not None
    for place in range(len(sealed) * 8):
        sealed[place // 8] ^= 1 << place % 8
        assert ticket(changed(1, Field(FIELD, b64encode(sealed))), OURS) is None
        sealed[place // 8] ^= 1 << place % 8


@pytest.mark.parametrize("value", [b"", b" ", b" AQ==", b" forged", b" \xff\xfe", b" !" * 50, b" " + b64encode(bytes(200))])
def test_what_we_did_not_write_is_no_ticket(value: bytes) -> None:
    assert ticket(changed(1, Field(FIELD, value)), OURS) is None


def test_cut_and_lengthened_ones_are_refused() -> None:
    sealed = b64decode(b"".join(SPLIT.fields[1].value.split()))
    for length in range(len(sealed)):
        assert ticket(changed(1, Field(FIELD, b64encode(sealed[:length]))), OURS) is None
    assert ticket(changed(1, Field(FIELD, b64encode(sealed + b"\0"))), OURS) is None


def test_a_message_without_one_or_with_two_has_none() -> None:
    assert ticket(copy(MESSAGE), OURS) is None
    assert ticket(Message((*SPLIT.fields, SPLIT.fields[1]), SPLIT.body), OURS) is None
    assert ticket(Message((*SPLIT.fields, Field(FIELD.lower(), b" x")), SPLIT.body), OURS) is None


def test_another_ring_does_not_read_it() -> None:
    assert ticket(SPLIT, ring(2)) is None


def test_what_was_sealed_for_another_purpose_is_none() -> None:
    for purpose in (b"link", b"pixel", b"image"):
        assert ticket(changed(1, Field(FIELD, b64encode(OURS.seal(b'["x"]', purpose)))), OURS) is None


@pytest.mark.parametrize(
    "message",
    [
        changed(2, Field(b"From", b" other@example.com")),
        changed(3, Field(b"Subject", b" ab")),
        Message((*SPLIT.fields, Field(b"Cc", b" c@example.net")), SPLIT.body),
        Message(SPLIT.fields[:-1], SPLIT.body),
        Message((*SPLIT.fields[:2], SPLIT.fields[3], SPLIT.fields[2]), SPLIT.body),
        Message(SPLIT.fields, SPLIT.body.replace(b"world", b"World")),
        Message(SPLIT.fields, SPLIT.body + b"more\r\n"),
        Message(SPLIT.fields, b"\r\n" + SPLIT.body),
        Message(SPLIT.fields, b""),
    ],
)
def test_it_is_of_no_use_for_another_message(message: Message) -> None:
    assert ticket(message, OURS) is None


def test_field_and_body_cannot_be_exchanged() -> None:
    job = replace(JOB, message=Message((Field(b"From", b" a"),), b"x:y\r\n"))
    fields = with_ticket(job, SITE).message.fields
    assert ticket(Message(fields, b"x:y"), OURS) is not None
    assert ticket(Message((*fields, Field(b"x", b"y")), b""), OURS) is None


@pytest.mark.parametrize(
    "message",
    [
        changed(3, Field(b"Subject", b" a b")),
        changed(3, Field(b"subject", b"a\r\n  b  ")),
        Message(SPLIT.fields, SPLIT.body + b"\r\n\r\n"),
        Message(SPLIT.fields, SPLIT.body.rstrip()),
        Message((TRACE, *SPLIT.fields), SPLIT.body),
    ],
)
def test_what_no_signature_minds_does_not_matter(message: Message) -> None:
    assert ticket(message, OURS) == ticket(SPLIT, OURS) is not None


def test_the_largest_one_fits_in_what_postfix_takes_for_a_field() -> None:
    tags = tuple("\U0001f33c" * (MAX_TAG - 2) + f"{number:02}" for number in range(MAX_TAGS))
    job = replace(JOB, tags=tags, envelope=replace(JOB.envelope, mail_from="ü" * 500))
    split = with_ticket(job, SITE).message
    assert len(FIELD) + len(split.fields[0].value) < MAX_FIELD
    assert max(map(len, bytes(split).split(b"\r\n"))) <= 998
    found = ticket(copy(split), OURS)
    assert found is not None
    assert found.tags == tags
