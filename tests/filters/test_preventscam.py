"""Labels that show their link: the three shapes, everything that may hide one, and labels that only look a bit like one."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.mail.outline import Outline
from filters.preventscam import LONGEST, shows_itself

LINKED = frozenset(("a", "area", "v:rect", "v:roundrect"))


def shown(html: str, url: str) -> bool:
    """Whether the label of the first link in `html` is the link to `url`."""
    outline = Outline(html)
    element, *_ = outline.elements(LINKED)
    return shows_itself(outline, element, url)


def labelled(label: str, url: str) -> bool:
    return shown(f"<p>a <a href=x>{label}</a> b", url)


SHAPES = [
    # The label is the link.
    ("http://www.example.com/a?b=c#d", "http://www.example.com/a?b=c#d"),
    ("https://www.example.com/", "https://www.example.com/"),
    ("http://192.0.2.1/a", "http://192.0.2.1/a"),
    ("http://[2001:db8::1]/a", "http://[2001:db8::1]/a"),
    ("http://localhost/a", "http://localhost/a"),
    ("http://www.example.com/a%20b", "http://www.example.com/a%20b"),
    # It is the link but for its scheme, a slash at the end, or the case of the host.
    ("www.example.com/a?b=c", "http://www.example.com/a?b=c"),
    ("www.example.com/a/", "http://www.example.com/a"),
    ("www.example.com/a", "http://www.example.com/a/"),
    ("https://www.example.com", "http://www.example.com/"),
    ("HTTP://WWW.Example.COM/a", "http://www.example.com/a"),
    ("www.example.com:8080/a", "http://www.example.com:8080/a"),
    ("WWW.EXAMPLE.COM?a=b", "http://www.example.com?a=b"),
    # It is only the host.
    ("www.example.com", "http://www.example.com/a/b?c#d"),
    ("www.example.com/", "http://www.example.com/a"),
    ("http://www.example.com", "https://www.example.com?a"),
    ("www.example.com", "https://www.example.com#a"),
    ("www.example.com", "http://www.example.com:8080/a"),
    ("www.example.com:8080", "http://www.example.com:8080/a"),
    ("www.example.com.", "http://www.example.com/a"),
    ("www.example.com", "http://www.example.com./a"),
    ("192.0.2.1", "http://192.0.2.1/a"),
    ("[2001:db8::1]", "http://[2001:db8::1]:80/a"),
    # In disguise.
    ("  \n\twww.example.com\r\n ", "http://www.example.com/"),
    ("&nbsp;www.example.com&nbsp;", "http://www.example.com/"),
    ("www&#46;example&period;com", "http://www.example.com/"),
    ("&#119;&#x77;w.example.com", "http://www.example.com/"),
    ("www.example.com/?a=1&amp;b=2", "http://www.example.com/?a=1&b=2"),
    ('www.<b>example</b>.<i class=">">com</i>', "http://www.example.com/"),
    ("<span><font color=red>www.example.com</font></span>", "http://www.example.com/"),
    ("www.ex<!-- x -->ample.com", "http://www.example.com/"),
    ("<!-- </a> -->www.example.com", "http://www.example.com/"),
    ('<b title="</a>">www.example.com</b>', "http://www.example.com/"),
    ("<b title='<a href=y>'>www.example.com</b>", "http://www.example.com/"),
    ("<style>b{content:'</a>'}</style>www.example.com", "http://www.example.com/"),
    ("<img src=x alt='click'>www.example.com", "http://www.example.com/"),
    ("www.ex\u200bample.com", "http://www.example.com/"),
    ("www.ex&shy;ample.com&zwnj;", "http://www.example.com/"),
    ("&#8203;www&#8288;.example.com", "http://www.example.com/"),
    ("\u202ewww.example.com\u202c", "http://www.example.com/"),
    ("www\ufe0f.example.com", "http://www.example.com/"),
    ("ｗｗｗ．ｅｘａｍｐｌｅ．ｃｏｍ", "http://www.example.com/"),
    ("www｡example｡com", "http://www.example.com/"),
    ("www。example。com", "http://www.example.com/"),
    ("www․example․com", "http://www.example.com/"),
    ("𝐰𝐰𝐰.𝐞𝐱𝐚𝐦𝐩𝐥𝐞.𝐜𝐨𝐦", "http://www.example.com/"),
    # An address in letters that look like others, or that cannot be compared.
    ("www.ехаmple.com", "http://www.example.com/"),
    ("www.examp\u0131e.com", "http://www.example.com/"),
    ("bücher.example.com", "http://xn--bcher-kva.example.com/"),
    ("http://www.example.com/grün", "http://www.example.com/gr%C3%BCn"),
    ("日本語.example", "http://www.example.com/"),
    ("www.example.com∕a", "http://www.example.com/"),
]


@pytest.mark.parametrize(("label", "url"), SHAPES)
def test_the_label_shows_the_link(label: str, url: str) -> None:
    assert labelled(label, url)
    assert labelled(f"\r\n  <b>{label}</b >\t", url)


@pytest.mark.parametrize(
    ("label", "url"),
    [
        ("click here", "http://www.example.com/"),
        ("Visit www.example.com", "http://www.example.com/"),
        ("www.example.com »", "http://www.example.com/"),
        ("www.example.com now", "http://www.example.com/"),
        ("", "http://www.example.com/"),
        ("<img src=http://www.example.com/ alt=www.example.com>", "http://www.example.com/"),
        ("www.example.org", "http://www.example.com/"),
        ("example.com", "http://www.example.com/"),
        ("www.example.com", "http://www.example.com.example.org/"),
        ("www.example.com/a", "http://www.example.com/b"),
        ("www.example.com/A", "http://www.example.com/a"),
        ("www.example.com?a", "http://www.example.com/"),
        ("user@example.com", "http://example.com/"),
        ("Prüfen Sie es.", "http://www.example.com/"),
        ("Größe 4.5", "http://www.example.com/"),
        ("v1.2", "http://www.example.com/"),
        ("&amp;", "http://www.example.com/"),
        ("12:30", "http://www.example.com/"),
        ("<!-- www.example.com -->", "http://www.example.com/"),
        ("<style>www.example.com</style>", "http://www.example.com/"),
    ],
)
def test_other_labels_do_not(label: str, url: str) -> None:
    assert not labelled(label, url)


@pytest.mark.parametrize(
    ("html", "answer"),
    [
        ("<a href=x>www.example.com", True),
        ("<a href=x>www.example.com<a href=y>z</a>", True),
        ("<a href=x>go<a href=y>www.example.com</a>", False),
        ("<A HREF=x>www.example.com</A\n>", True),
        ("<a href=x>www.example.com</abbr></a>", True),
        ("<a href=x>www.example.com</ab>.org</a>", False),
        ("<a href=x>www.example.com</a", True),
        ("<a href=x><area href=y>www.example.com</a>", True),
        ("<area href=x>www.example.com</a>", False),
        ("<area href=x>www.example.com<area href=y>", False),
        ("<v:rect href=x>www.example.com</v:rect>", True),
        ("<!--[if mso]><v:roundrect href=x><center>www.example.com</center></v:roundrect><![endif]-->", True),
        ("<!--[if mso]><v:roundrect href=x><center>Go</center></v:roundrect><![endif]--><a>www.example.com</a>", False),
        ("<!--[if mso]><a href=x><![endif]-->www.example.com</a>", True),
        ("<!--[if mso]><a href=x>www<![endif]--><b>.example.</b><i>com</a>", True),
        ("<!--[if mso]><a href=x><![endif]-->www.example.com<!--[if mso]></a><![endif]-->", True),
        ("<!--[if mso]><a href=x></a><![endif]-->www.example.com</a>", False),
        ("<!--[if mso]><a href=x>www.example.com-->", True),
        ("<a href=x><!--[if mso]></a>z<![endif]-->www.example.com</a>", True),
        ("<a href=x>" + "<b></b>" * 100 + "www.example.com</a>", True),
        ("<a href=x>" + " " * (LONGEST + 1) + "www.example.com</a>", False),
        ("<a href=x>www.example.com" + "<b></b>" * LONGEST, True),
    ],
)
def test_where_a_label_ends(html: str, answer: bool) -> None:
    assert shown(html, "http://www.example.com/") is answer


@given(st.text(max_size=60), st.text(alphabet="<>/aAbB!-\"'= w.x&#;", max_size=40))
def test_no_label_makes_it_raise(text: str, markup: str) -> None:
    for label in (text, markup, text + markup):
        assert labelled(label, "http://www.example.com/") in (True, False)


@given(
    st.lists(
        st.sampled_from(["<b>", "</b>", "<!-- x -->", "\u200b", "&shy;", "<i title='>'>", "</i>", "&zwj;", "<wbr>"]), max_size=8
    )
)
def test_markup_and_what_shows_as_nothing_make_no_difference(hidden: list[str]) -> None:
    plain = "www.example.com"
    label = "".join(f"{piece}{plain[number * 2 : number * 2 + 2]}" for number, piece in enumerate([*hidden, *[""] * 8]))
    assert labelled(label, "http://www.example.com/")


@pytest.mark.parametrize(
    "html",
    [
        "<area href=x>",
        "<a href=x>",
        "<a href=x><b>",
        "<a href=x>.<!--",
        "<v:rect href=x>.<a href=x>.<v:roundrect href=x>.",
        "<!--[if mso]><a href=x>.<textarea>-->",
        "<!--[if mso]><v:rect href=x>.<!-->",
        "<a href=x>&amp.\u0300",
    ],
)
def test_time_grows_with_the_number_of_links_only(html: str) -> None:
    source = html * (400_000 // len(html))
    begin = time.process_time()
    outline = Outline(source)
    for element in outline.elements(LINKED):
        shows_itself(outline, element, "http://www.example.com/")
    assert time.process_time() - begin < 5
