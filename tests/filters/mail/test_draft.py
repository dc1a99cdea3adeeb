"""Drafts: filters see what was written before them, what one of them did can be taken back, and what comes out is sound."""

import pytest
import turbohtml
from hypothesis import given
from hypothesis import strategies as st

from filters.mail.draft import Draft, spliced
from filters.mail.judge import LINKS, MARKS, is_sound
from filters.mail.outline import Value, values

URL = "https://clicks.example.com/a-ID"


def attribute(draft: Draft, name: str = "href", number: int = 0) -> Value:
    return values(draft.outline.elements(LINKS)[number])[name]


def text(draft: Draft) -> str:
    return spliced(draft.source, draft.splices())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<a href="x">', '<a href="{URL}">'),
        ("<a href='x'>", "<a href='{URL}'>"),
        ("<a href=x>", '<a href="{URL}">'),
        ("<a href=x/>", '<a href="{URL}">'),
        ("<a href = x y>", '<a href = "{URL}" y>'),
        ('<a href="">', '<a href="{URL}">'),
        ('<a href="&amp;&quot;">', '<a href="{URL}">'),
    ],
)
def test_a_value_is_written_in_its_quotes(before: str, after: str) -> None:
    draft = Draft(before)
    draft.write(attribute(draft), URL)
    assert text(draft) == after.replace("{URL}", URL)
    assert is_sound(draft.splices(), draft.outline)


def test_ampersands_are_written_so_that_they_come_back() -> None:
    draft = Draft("<a href=x>")
    draft.write(attribute(draft), f"{URL}?a=1&copy=2&amp;b")
    assert text(draft) == f'<a href="{URL}?a=1&amp;copy=2&amp;amp;b">'
    assert draft.value(attribute(draft)) == f"{URL}?a=1&copy=2&amp;b"
    (token,) = turbohtml.tokenize(text(draft))
    assert dict(token.attrs) == {"href": f"{URL}?a=1&copy=2&amp;b"}


def test_a_value_is_what_a_browser_takes_it_to_be_until_another_is_written() -> None:
    draft = Draft("<a href='a&amp;b\r\n&copy=1'><a href=y>")
    first, second = attribute(draft), attribute(draft, number=1)
    assert draft.value(first) == "a&b\n&copy=1"
    draft.write(first, URL)
    draft.write(first, f"{URL}2")
    assert (draft.value(first), draft.value(second)) == (f"{URL}2", "y")
    assert text(draft) == f"<a href='{URL}2'><a href=y>"
    assert len(draft.splices()) == 1


def test_what_was_done_since_a_mark_can_be_taken_back_whole() -> None:
    draft = Draft("<p><a href=x data-no-track>")
    draft.splice([(2, 2, ' style="a"')])
    draft.write(attribute(draft), URL)
    mark, before = draft.mark(), draft.splices()
    draft.write(attribute(draft), f"{URL}2")
    draft.remove(attribute(draft, "data-no-track"))
    draft.splice([(3, 3, "<hr>")])
    assert len(draft.splices()) == len(before) + 2
    draft.restore(mark)
    assert draft.splices() == before
    assert draft.value(attribute(draft)) == URL
    draft.write(attribute(draft), f"{URL}3")
    draft.restore(mark)
    assert draft.splices() == before  # a mark holds for as often as it is needed


def test_splices_come_in_the_order_of_the_text() -> None:
    draft = Draft('<a clicktracking=off href="x"><p>')
    draft.splice([(len(draft.source) - 1, len(draft.source) - 1, ' style="b"')])
    draft.write(attribute(draft), URL)
    draft.remove(attribute(draft, "clicktracking"))
    draft.splice([(2, 2, ' style="a"')])
    assert text(draft) == f'<a style="a" href="{URL}"><p style="b">'
    assert is_sound(draft.splices(), draft.outline)


MARKED = ["clicktracking=off", 'clicktracking="off"', "data-no-track", "data-no-track=''", "ses:no-track=y"]
OTHERS = ["id", "a=b", "c='d'", "=e", "href=x"]
pieces = st.tuples(st.sampled_from([" ", "  ", "\n", "/", "", " /"]), st.sampled_from([*MARKED, *OTHERS]))


@given(st.lists(pieces, max_size=7), st.sampled_from(["", " ", "/"]))
def test_attributes_beside_one_that_is_taken_out_stay_what_they_are(pieces: list[tuple[str, str]], end: str) -> None:
    source = f"<a {''.join(map(''.join, pieces))}{end}>"
    draft = Draft(source)
    (element,) = draft.outline.elements(LINKS)
    marks = [place for name, place in values(element).items() if name in MARKS]
    for place in marks:
        draft.remove(place)
    (before,), (after,) = turbohtml.tokenize(source), turbohtml.tokenize(text(draft))
    others = [[pair for pair in token.attrs if pair[0] not in MARKS] for token in (before, after)]
    assert others[0] == others[1], source
    assert is_sound(draft.splices(), draft.outline)
    assert len(draft.splices()) >= len(marks) - source.count("=e")


@given(st.text(max_size=20), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.text(max_size=4)), max_size=6))
def test_splicing_replaces_just_what_is_named(source: str, wanted: list[tuple[int, int, str]]) -> None:
    splices, position = [], 0
    for start, length, new in sorted(wanted):
        start = max(start, position)
        end = min(start + length, len(source))
        if start > end:
            break
        splices.append((start, end, new))
        position = end
    result = spliced(source, splices)
    assert len(result) == len(source) + sum(len(new) - (end - start) for start, end, new in splices)
    shift = 0
    for start, end, new in splices:
        assert result.startswith(new, start + shift)
        shift += len(new) - (end - start)
    assert result.endswith(source[splices[-1][1] :] if splices else source)
