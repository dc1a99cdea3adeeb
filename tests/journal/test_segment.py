"""A segment of the spool: its frames are there whole or not at all, and damage is told from what was only not finished."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.records import VisitRecord, decode
from journal.segment import Tail, frame, read_segment, segment_paths
from journal.spool import Writer

FRAMES = [1, 2, 3]


@pytest.fixture(scope="module")
def octets(click) -> bytes:
    return b"".join(frame([click(number, headers=f"é{number}")] * number) for number in FRAMES)


def tails(content: bytes) -> tuple[list[VisitRecord], int, Tail]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "s.test.log")
        path.write_bytes(content)
        found = read_segment(path, 0)
    return [decode(line) for _, line in found.lines], found.end, found.tail


def test_every_cut_leaves_the_frames_before_it(octets: bytes, click) -> None:
    whole, end, tail = tails(octets)
    assert (len(whole), end, tail) == (sum(FRAMES), len(octets), Tail.NOTHING)
    ends = {tails(octets[:cut])[1] for cut in range(len(octets))}
    assert len(ends) == len(FRAMES)
    for cut in range(len(octets)):
        found, end, tail = tails(octets[:cut])
        assert found == whole[: len(found)]
        assert tail is (Tail.NOTHING if cut == end else Tail.TORN)


def test_zeros_behind_the_frames_are_a_power_cut(octets: bytes) -> None:
    assert tails(octets + bytes(1))[1:] == (len(octets), Tail.TORN)
    assert tails(octets + bytes(5_000))[1:] == (len(octets), Tail.TORN)


@given(st.data())
def test_no_flipped_bit_passes(octets: bytes, data: st.DataObject) -> None:
    whole = tails(octets)[0]
    place = data.draw(st.integers(0, len(octets) * 8 - 1))
    flipped = bytearray(octets)
    flipped[place // 8] ^= 1 << place % 8
    found, end, tail = tails(bytes(flipped))
    assert tail is Tail.DAMAGED
    assert end <= place // 8
    assert found == whole[: len(found)]


def test_identifiers_are_the_same_however_it_is_read(spool: Path, click) -> None:
    writer = Writer(spool, "test")
    for number in range(10):
        writer.append([click(number), click(number)], durable=False)
    writer.close()
    (path,) = segment_paths(spool)
    whole = read_segment(path, 0)
    assert len({identifier for identifier, _ in whole.lines}) == 20
    found, offset = [], 0
    while (part := read_segment(path, offset, 3)).lines:
        assert len(part.lines) == 4  # frames are not cut
        found += part.lines
        offset = part.end
    assert tuple(found) == whole.lines
