"""The journal's database: one suite, run on SQLite and on a real PostgreSQL."""

import tracemalloc
from dataclasses import replace

import pytest

from journal.event import Decision
from journal.records import CopyRecord, MessageRecord, VisitKind, VisitRecord
from journal.rows import BadRecord
from journal.store import DisabledLink, JournalStore

DAY = (1_699_920_000, 1_700_006_400)  # 2023-11-14, UTC


@pytest.fixture(scope="module")
def copied(mailed: MessageRecord) -> CopyRecord:
    return CopyRecord(
        message=mailed.id, time=1_700_000_001, queue_id="4abd", decisions=(Decision("trackclicks", "applied", "login"),)
    )


@pytest.fixture(scope="module")
def opened(clicked: VisitRecord) -> VisitRecord:
    return replace(clicked, kind=VisitKind.OPEN, time=1_700_000_090, number=0, destination="", machine=True)


@pytest.fixture
def filled(store: JournalStore, mailed, copied, clicked, opened) -> JournalStore:
    store.insert([("s-0", mailed), ("s-1", copied), ("s-2", clicked), ("s-3", opened)])
    return store


def test_an_empty_journal_knows_nothing(store: JournalStore, mailed) -> None:
    assert store.counts() == {"messages": 0, "copies": 0, "visits": 0}
    assert (store.messages_by(id=mailed.id), store.copies_of([mailed.id]), store.visits_of([])) == ((), (), ())
    assert (list(store.attempts(0, 2**62)), list(store.visits(VisitKind.CLICK, 0, 2**62)), store.disabled_links()) == ([], [], ())


def test_what_was_inserted_is_read_back_whole(filled: JournalStore, mailed, copied, clicked, opened) -> None:
    assert filled.messages_by(id=mailed.id) == (mailed,)
    assert filled.copies_of([mailed.id]) == (copied,)
    assert filled.visits_of([mailed.id]) == (opened, clicked)


def test_nothing_is_inserted_twice(filled: JournalStore, mailed, clicked) -> None:
    filled.insert([("s-0", replace(mailed, account="other")), ("s-2", clicked), ("s-2", clicked), ("s-4", clicked)])
    assert filled.counts() == {"messages": 1, "copies": 1, "visits": 3}
    assert filled.messages_by(id=mailed.id) == (mailed,)


def test_decisions_are_kept_whichever_pass_comes_first(store: JournalStore, mailed, copied) -> None:
    second = replace(mailed, decisions=())
    store.insert([("t-0", second), ("t-1", copied)])
    assert store.messages_by(id=mailed.id) == (second,)
    store.insert([("s-0", mailed), ("t-0", second), ("s-0", replace(mailed, decisions=copied.decisions))])
    assert store.messages_by(id=mailed.id) == (mailed,)
    assert store.counts() == {"messages": 1, "copies": 1, "visits": 0}


@pytest.mark.parametrize(
    "wanted",
    [
        {"queue_id": "4abc"},
        {"queue_id": "4abd"},  # of the copy
        {"message_id": "<1@example.com>"},
        {"recipient": "reader@example.NET"},
        {"id": "00112233445566778a", "queue_id": "4abc", "recipient": "Reader@Example.net"},
    ],
)
def test_a_message_is_found(filled: JournalStore, wanted: dict[str, str], mailed) -> None:
    filled.insert([("", replace(mailed, id="other", queue_id="5", message_id="<2@example.com>", recipient="other@example.net"))])
    assert filled.messages_by(**wanted) == (mailed,)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"queue_id": "4ABC"},
        {"queue_id": "4abc", "recipient": "other@example.net"},
        {"recipient": "%"},
        {"message_id": "' OR 1=1 --"},
        {"id": "\0"},
        {"id": "\ud800"},
    ],
)
def test_nothing_else_is_found(filled: JournalStore, wanted: dict[str, str]) -> None:
    assert filled.messages_by(**wanted) == ()


def test_the_newest_messages_come_first_and_only_so_many(store: JournalStore, mailed) -> None:
    store.insert(("", replace(mailed, id=f"m{number}", time=number)) for number in range(5))
    assert [message.time for message in store.messages_by(recipient=mailed.recipient, limit=3)] == [4, 3, 2]


@pytest.mark.parametrize("address", ["Straße@example.net", "ÉCOLE@example.fr", "ΣΊΣΥΦΟΣ@example.gr"])
def test_letters_beyond_ascii_have_a_case_too(store: JournalStore, address: str, mailed) -> None:
    store.insert([("", replace(mailed, recipient=address))])
    assert store.messages_by(recipient=address.lower())[0].recipient == address
    assert store.delete_recipient(address.lower())["messages"] == 1


def test_texts_the_databases_cannot_hold_are_kept_as_near_as_can_be(store: JournalStore, mailed, clicked) -> None:
    store.insert(
        [
            (
                "",
                replace(
                    mailed, recipient="a\0b", message_id="\ud800", tags=("\0", "\udfff"), decisions=(Decision("x", "\0", ""),)
                ),
            ),
            ("s-1", replace(clicked, headers="X: \0\x1b\x85\u202e")),
        ]
    )
    (message,) = store.messages_by(id=mailed.id)
    assert (message.recipient, message.message_id, message.tags) == ("a\ufffdb", "\ufffd", ("\ufffd", "\ufffd"))
    assert message.decisions == (Decision("x", "\ufffd", ""),)
    assert store.visits_of([mailed.id])[0].headers == "X: \ufffd\x1b\x85\u202e"
    assert store.messages_by(recipient="A\0B") == (message,)


def test_texts_may_be_longer_than_a_page_of_an_index(store: JournalStore, mailed, clicked) -> None:
    noise = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(60_000))  # does not compress to a page
    message = replace(mailed, message_id=f"<{noise}>", recipient=f"{noise}@example.net")
    click = replace(clicked, destination=f"https://example.com/{noise}", url=noise)
    store.insert([("", message), ("s-1", click)])
    assert store.messages_by(message_id=message.message_id, recipient=message.recipient) == (message,)
    assert store.visits_of([message.id]) == (click,)
    assert store.disable_link(click.destination, 1, noise)
    assert store.disabled_links() == (DisabledLink(destination=click.destination, since=1, reason=noise),)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("clicked", {"time": 2**63}),
        ("clicked", {"time": "now"}),
        ("clicked", {"number": None}),
        ("clicked", {"url": 7}),
        ("mailed", {"tags": (1,)}),
        ("mailed", {"id": "x" * 65}),
    ],
    ids=["too late", "no time", "no number", "no text", "no tag", "too long an identifier"],
)
def test_a_record_that_can_never_be_kept_is_told_from_a_database_that_is_away(
    request: pytest.FixtureRequest, store: JournalStore, clicked, name: str, change: dict[str, object]
) -> None:
    record = replace(request.getfixturevalue(name), **change)
    with pytest.raises(BadRecord):
        store.insert([("s-1", clicked), ("s-2", record)], {"s": 7})
    assert store.counts() == {"messages": 0, "copies": 0, "visits": 0}
    assert store.drained(["s"]) == {}


def test_records_and_the_note_of_their_segment_go_together(store: JournalStore, clicked) -> None:
    store.insert([("s-1", clicked)], {"s": 100, "t": 5})
    store.insert([("s-2", clicked)], {"s": 200})
    assert store.drained(["s", "t", "u"]) == {"s": 200, "t": 5}
    store.insert([], gone=["s"])
    assert store.drained(["s", "t"]) == {"t": 5}
    assert store.drained([f"n{number}" for number in range(3_000)]) == {}


def test_visits_are_exported_with_their_message_and_in_their_order(filled: JournalStore, mailed, clicked, opened) -> None:
    orphan = replace(clicked, message="gone", time=clicked.time - 1)
    filled.insert([("s-8", orphan), ("s-9", replace(clicked, time=DAY[1])), ("s-7", replace(clicked, machine=True))])
    assert list(filled.visits(VisitKind.CLICK, *DAY)) == [
        (orphan, None),
        (clicked, mailed),
        (replace(clicked, machine=True), mailed),
    ]
    assert list(filled.visits(VisitKind.CLICK, *DAY, people=True)) == [(orphan, None), (clicked, mailed)]
    assert list(filled.visits(VisitKind.OPEN, *DAY)) == [(opened, mailed)]
    assert filled.count_visits(VisitKind.CLICK, *DAY) == 3
    assert filled.count_visits(VisitKind.OPEN, *DAY, people=True) == 0


def test_a_day_begins_at_its_first_second_and_ends_before_the_next(store: JournalStore, mailed) -> None:
    times = (DAY[0] - 1, DAY[0], DAY[1] - 1, DAY[1])
    store.insert(("", replace(mailed, id=f"m{time}", time=time)) for time in times)
    assert [message.time for message in store.attempts(*DAY)] == [DAY[0], DAY[1] - 1]
    assert store.count_attempts(*DAY) == 2


def test_an_export_takes_little_memory(store: JournalStore, clicked) -> None:
    big = replace(clicked, headers="x" * 2_000)
    for part in range(8):
        store.insert((f"s-{number}", replace(big, time=DAY[0] + number)) for number in range(part * 2_500, part * 2_500 + 2_500))
    given_up = store.visits(VisitKind.CLICK, *DAY)
    next(given_up)  # loads what is loaded once
    del given_up
    tracemalloc.start()
    try:
        assert sum(1 for _ in store.visits(VisitKind.CLICK, *DAY)) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000 * 2_000 / 3


def test_pruning_removes_what_is_older_and_nothing_else(filled: JournalStore, mailed, clicked) -> None:
    filled.insert([("s-9", replace(clicked, time=mailed.time - 1))])
    assert filled.prune(mailed.time) == 1
    assert filled.prune(clicked.time) == 3
    assert filled.prune(clicked.time) == 0
    assert filled.counts() == {"messages": 0, "copies": 0, "visits": 1}


def test_pruning_is_done_in_pieces(store: JournalStore, clicked) -> None:
    store.insert((f"s-{number}", replace(clicked, time=number)) for number in range(10))
    assert store.prune(10, limit=4) == 4
    assert store.counts()["visits"] == 6
    assert [visit.time for visit in store.visits_of([clicked.message])] == [4, 5, 6, 7, 8, 9]


def test_a_recipient_is_forgotten_whole_and_alone(filled: JournalStore, mailed, clicked, opened) -> None:
    other = replace(mailed, id="other", recipient="other@example.net")
    filled.insert(
        [
            ("", other),
            ("s-8", replace(clicked, message="other")),
            ("", replace(mailed, id="second", recipient="READER@example.net")),
        ]
    )
    filled.insert([("s-9", replace(opened, message="second"))])
    assert filled.delete_recipient("rEADER@example.net") == {"messages": 2, "copies": 1, "visits": 3}
    assert filled.delete_recipient("reader@example.net") == {"messages": 0, "copies": 0, "visits": 0}
    assert filled.counts() == {"messages": 1, "copies": 0, "visits": 1}
    assert filled.messages_by(recipient="other@example.net") == (other,)


def test_many_messages_of_one_recipient_are_forgotten(store: JournalStore, mailed, clicked) -> None:
    store.insert(("", replace(mailed, id=f"m{number}")) for number in range(1_234))
    store.insert((f"s-{number}", replace(clicked, message=f"m{number}")) for number in range(1_234))
    assert store.delete_recipient(mailed.recipient) == {"messages": 1_234, "copies": 0, "visits": 1_234}


def test_links_are_disabled_and_enabled(store: JournalStore) -> None:
    first, second = "https://example.com/a", "https://example.com/b?é\0"
    assert store.disable_link(first, 10, "phishing")
    assert store.disable_link(second, 5, "")
    assert not store.disable_link(first, 20, "again")
    assert [(link.destination, link.since, link.reason) for link in store.disabled_links()] == [
        ("https://example.com/b?é\ufffd", 5, ""),
        (first, 10, "phishing"),
    ]
    assert store.enable_link(first)
    assert not store.enable_link(first)
    assert store.enable_link(second)
    assert store.disabled_links() == ()


def test_several_threads_insert_and_read_at_once(store: JournalStore, clicked, in_threads) -> None:
    def work(thread: int) -> None:
        for step in range(10):
            store.insert([(f"{thread}-{step}", clicked)])
            assert store.visits_of([clicked.message])

    in_threads(work)
    assert store.counts()["visits"] == 40
