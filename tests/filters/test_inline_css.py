"""Inlining: every byte outside style attributes stays, and the values are css-inline's own."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import css_inline
import pytest
import turbohtml
from hypothesis import given
from hypothesis import strategies as st

from filters.inline_css import Inlined, inline
from filters.mail.declarations import split
from filters.mail.draft import Splice, spliced
from filters.mail.judge import is_sound
from filters.mail.markup import attributes, start_tags, value
from filters.mail.outline import Outline
from filters.mail.workload import MAX_SECONDS

SHEET = "<style>p{color:red;margin:0 !important}td {font-family: helvetica, sans-serif}</style>"


def _inline(source: str, seconds: float = MAX_SECONDS) -> Inlined:
    return inline(Outline(source), seconds)


def _only_styles_changed(source: str, result: str, splices: Sequence[Splice]) -> bool:
    """Whether the splices make `result` of `source`, and are sound; the judge knows no other text that begins so."""
    return spliced(source, splices) == result and is_sound(splices, Outline(source))


def _inlined(source: str) -> str:
    found = _inline(source)
    assert found.skipped == ""
    result = spliced(source, found.splices)
    assert _only_styles_changed(source, result, found.splices)
    assert all(text.lstrip(" ").startswith('style="') for _, _, text in found.splices)
    # Taken out from the last to the first, the splices leave what was there.
    back, shift = result, sum(len(text) - (end - start) for start, end, text in found.splices)
    for start, end, text in reversed(found.splices):
        shift -= len(text) - (end - start)
        assert back[start + shift :].startswith(text)
        back = back[: start + shift] + source[start:end] + back[start + shift + len(text) :]
    assert back == source
    return result


def _nodes(source: str) -> Iterator[tuple[object, ...]]:
    """The document as turbohtml parses it, without style attributes."""
    for node in turbohtml.parse(source).descendants:
        if isinstance(node, turbohtml.Element):
            yield node.tag, {name: text for name, text in node.attrs.items() if name != "style"}
        else:
            yield type(node).__name__, str(node)


def _styles(source: str, name: str = "id") -> dict[str, str]:
    """The style of each element that has an attribute `name`, by its value; of several, the first."""
    found: dict[str, str] = {}
    for tag in start_tags(source):
        named = {attribute.name: value(source, attribute) for attribute in reversed(list(attributes(source, tag)))}
        if name in named:
            found.setdefault(named[name], named.get("style", ""))
    return found


def _declarations(css: str) -> list[str]:
    """What a style says, without its order and without `!important`, which inlining takes out."""
    plain = css.replace("&quot;", '"').replace('"', "'").replace("&nbsp;", "\xa0").replace("&amp;", "&").replace(": ", ":")
    return sorted(re.sub(r"\s*!\s*important\Z", "", part) for part in split(plain) or [plain])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<table><tr><td>", '<table><tr><td style="font-family: helvetica, sans-serif;">'),
        ("<td>", "<td>"),
        ("<p>", '<p style="color: red;margin: 0;">'),
        ("<P CLASS=x>", '<P style="color: red;margin: 0;" CLASS=x>'),
        ("<p/>", '<p style="color: red;margin: 0;"/>'),
        ("<p\n id='x'\n>", "<p style=\"color: red;margin: 0;\"\n id='x'\n>"),
        ('<p style="color:blue">', '<p style="margin: 0;color: blue;">'),
        ("<p class=a STYLE=color:blue id=b>", '<p class=a style="margin: 0;color: blue;" id=b>'),
        ("<p style='color:blue;font:\"x\"'>", "<p style=\"margin: 0;color: blue;font: 'x';\">"),
        ('<p style="font:&quot;a&amp;b&quot;">', "<p style=\"color: red;margin: 0;font: 'a&amp;b';\">"),
        ("<p style>", '<p style="color: red;margin: 0;">'),
        ("<p style=>", '<p style="color: red;margin: 0;">'),
        ('<p style="">', '<p style="color: red;margin: 0;">'),
        ('<p a="b"style="c:d"e>', '<p a="b"style="color: red;margin: 0;c: d;"e>'),
        ('<p style="a:b" style="c:d">', '<p style="color: red;margin: 0;a: b;" style="c:d">'),
        ("<p title=\" style='x'\">", '<p style="color: red;margin: 0;" title=" style=\'x\'">'),
        ('<p style="margin:9px">', '<p style="color: red;margin: 0;">'),
        ('<p style="margin-top:9px">', '<p style="color: red;margin-top: 9px;margin: 0;">'),
        ('<p style="margin:9px !important">', '<p style="color: red;margin: 9px !important;">'),
        ('<p style="margin:1px;color:blue;">', '<p style="margin: 0;color: blue;">'),
        ('<p style="color:blue;margin:0">', '<p style="color:blue;margin:0">'),
        ('<b style="color : blue">', '<b style="color : blue">'),
        ("<b style='a: url(\"x&y\")'>", "<b style='a: url(\"x&y\")'>"),
        ('<p style="color red">', '<p style="color red">'),
        ('<p style="{{brand}}">', '<p style="{{brand}}">'),
        ('<p 707170717="0" style="x:y">', '<p 707170717="0" style="color: red;margin: 0;x: y;">'),
        ("<p>\0", '<p style="color: red;margin: 0;">\0'),
        ("<p", "<p"),
        ("<p title='<p>'><!-- <p> --><p id=", "<p style=\"color: red;margin: 0;\" title='<p>'><!-- <p> --><p id="),
        ("<textarea><p></textarea><title><p></title>", "<textarea><p></textarea><title><p></title>"),
        ("<noscript><p></noscript>", "<noscript><p></noscript>"),
        ("<svg><p>", '<svg><p style="color: red;margin: 0;">'),
        ("<template><p></template>", '<template><p style="color: red;margin: 0;"></template>'),
        ("<select><option><p></select>", '<select><option><p style="color: red;margin: 0;"></select>'),
        ("<b><i><p></b></i>", '<b><i><p style="color: red;margin: 0;"></b></i>'),
        ("<table><p>x<tr>", '<table><p style="color: red;margin: 0;">x<tr>'),
    ],
)
def test_one_tag(before: str, after: str) -> None:
    # The paragraph in front shows that the rest of the document is inlined whatever `before` is.
    assert _inlined(f"{SHEET}<p id=0></p>{before}") == f'{SHEET}<p style="color: red;margin: 0;" id=0></p>{after}'


GOLDEN = """<?xml version="1.0"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:v="urn:schemas-microsoft-com:vml"><head><title>A &amp; B</title>
<meta charset="utf-8" /><link rel="stylesheet" href="http://192.0.2.1/x.css" />
<style type="text/css">
@import url(http://192.0.2.1/y.css);
@font-face { font-family: X; src: url(file:///etc/passwd) }
* { box-sizing: border-box } /* } */
table td , .big>b{ padding : 1px 2px }
a:hover { color: green } a { color: blue }
@media (max-width: 480px) { a { color: red !important } }
</style><!--[if mso]><style>a{color:black}</style><![endif]--></head>
<BODY bgcolor=#ffffff>&nbsp;&copy;{{#each items}}
<![if !mso]><table><tr>*|IF:X|*<td>&euro;<br/>*|END:IF|*</td></tr></table><![endif]>
<!--[if gte mso 9]><v:rect fill="t" style="width:1px"><v:textbox><a href="x"><![endif]--><div class='big'><b>x</b></div>
<a href="http://example.com/?a=1&b=2&copy=3" STYLE='font-family:"Ubuntu"'>{{name}}</a>{{/each}}</BODY></html>
"""
GOLDEN_RESULT = (
    GOLDEN.replace("<html ", '<html style="box-sizing: border-box;" ')
    .replace("<BODY ", '<BODY style="box-sizing: border-box;" ')
    .replace("<table>", '<table style="box-sizing: border-box;">')
    .replace("<tr>", '<tr style="box-sizing: border-box;">')
    .replace("<td>", '<td style="box-sizing: border-box;padding: 1px 2px;">')
    .replace("<br/>", '<br style="box-sizing: border-box;"/>')
    .replace("<div ", '<div style="box-sizing: border-box;" ')
    .replace("<b>", '<b style="box-sizing: border-box;padding: 1px 2px;">')
    .replace("STYLE='font-family:\"Ubuntu\"'", "style=\"box-sizing: border-box;color: blue;font-family: 'Ubuntu'\"")
)


def test_doctype_comments_and_template_tokens_stay() -> None:
    assert _inlined(GOLDEN) == GOLDEN_RESULT
    assert list(_nodes(GOLDEN)) == list(_nodes(GOLDEN_RESULT))


@pytest.mark.parametrize(
    ("css", "style"),
    [
        ("p{color:red} #x{color:blue} .c{color:green}", "color: blue;"),
        (".c{color:red} p{color:blue}", "color: red;"),
        ("p{color:red} p{color:blue}", "color: blue;"),
        ("p{color:red !important} #x{color:blue}", "color: red;"),
        ("p{color:red ! IMPORTANT} #x{color:blue}", "color: red;"),
        ("P{COLOR:red}", "COLOR: red;"),
        ("p:not(.d){color:red} p:nth-child(2){color:blue}", "color: red;"),
        ("p{color:red} p:hover{color:blue} @media print{p{color:green}}", "color: red;"),
        ("b p{color:red} div > p{margin:0} h1+p,h2~p{top:0}", "margin: 0;"),
        ("p[title]{color:red} p[lang|=en]{top:0}", "color: red;"),
        ("p{color:red;;;background:url('a;b&c')}}} p{top:0}", "color: red;background: url('a;b&c');"),
        ("p{color:red} <!-- p{top:0} -->", "color: red;top: 0;"),
        ("p{color", ""),
        ("p{color:red", "color: red;"),
        ("p{font-family:'Né', \"O P\"}", "font-family: 'Né', 'O P';"),
    ],
)
def test_cascade(css: str, style: str) -> None:
    result = _inlined(f'<style>{css}</style><div><p id=x class=c title="t">y</p></div>')
    assert _styles(result)["x"] == style


@pytest.mark.parametrize("style", ["", ' style="color:blue"', ' style="margin-top: 9px; x: y"', " style='a: url(\"b\")'"])
def test_inlining_twice_is_inlining_once(style: str) -> None:
    once = _inlined(f"{SHEET}<p{style}>x</p>")
    assert _inline(once).splices == ()


def test_important_of_a_media_rule_still_wins() -> None:
    source = "<style>p{color:red!important}@media screen{p{color:blue!important}}</style><p>"
    assert _inlined(source) == source.replace("<p>", '<p style="color: red;">')


def test_text_that_a_charset_may_lack_is_written_as_references() -> None:
    result = _inlined("<style>p{font-family:'ＭＳ'}</style><p>")
    assert result.endswith("<p style=\"font-family: '&#65325;&#65331;';\">")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("<p>x", "no style sheet"),
        ("", "no style sheet"),
        ("<!-- <style> --><link rel=stylesheet href=x><p>", "no style sheet"),
        ("<textarea><style>p{a:b}</style></textarea><p>", "no style sheet"),
        ("<style></style><p>", ""),
        (SHEET + "<p id=\ud800>", "css-inline cannot read it"),
        (SHEET + " ".join(str(number) for number in range(707170717, 707170917)), "no attribute name is free"),
        (SHEET + "<p>" * 9001, "more than 9000 elements"),
        (SHEET + "<div>" * 3000, "elements nested more than 2000 deep"),
        (SHEET + "<p>" * 8 + "<style>p{a:" + "b" * 250_000 + "}</style>", "the result is too large"),
        (SHEET + "<math><title><div></title></math>", "tags inside raw text"),
        (SHEET + "<svg><![CDATA[ > ]]></svg>", "tags inside raw text"),
        (SHEET + '<noscript><p title="</noscript>"></noscript>', "tags inside raw text"),
    ],
)
def test_skipped(source: str, reason: str) -> None:
    found = _inline(source)
    assert found.splices == ()
    assert found.skipped.startswith(reason)
    assert bool(found.skipped) is bool(reason)


def test_a_message_that_holds_the_numbers_of_the_marker() -> None:
    markers = " ".join(f'{number}="1" style="x:y"' for number in range(707170717, 707170817, 10))
    result = _inlined(f"{SHEET}<p id=a>{markers}</p><p id=b {markers}><noscript><p id=c {markers}></noscript>")
    assert _styles(result)["a"] == "color: red;margin: 0;"
    assert _styles(result)["b"] == "color: red;margin: 0;x: y;"


def test_nothing_is_fetched(tmp_path: Path) -> None:
    sheet = tmp_path / "x.css"
    sheet.write_text("p{color:green}")
    source = f'<link rel="stylesheet" href="{sheet}"><style>@import "{sheet}"; p{{top:0}}</style><p>'
    assert _inlined(source).endswith('<p style="top: 0;">')


@pytest.mark.parametrize(
    ("splices", "result"),
    [
        ((), "<p a='<p>'>x<p style=b>!"),
        (((2, 2, ' style="a"'),), "<p style=\"b\" a='<p>'>x<p style=b>"),
        (((1, 1, ' style="a"'),), "<style=\"a\"p a='<p>'>x<p style=b>"),
        (((7, 7, ' style="a"'),), "<p a='<p style=\"a\">'>x<p style=b>"),
        (((10, 10, ' style="a"'),), "<p a='<p>' style=\"a\">x<p style=b>"),
        (((2, 2, ' style="a" b'),), "<p style=\"a\" b a='<p>'>x<p style=b>"),
        (((2, 2, ' style="a>"'),), "<p style=\"a>\" a='<p>'>x<p style=b>"),
        (((2, 2, ' class="a"'),), "<p class=\"a\" a='<p>'>x<p style=b>"),
        (((2, 2, ' style="&x;"'),), "<p style=\"&x;\" a='<p>'>x<p style=b>"),
        (((14, 14, ' style="a"'),), "<p a='<p>'>x<p style=\"a\" style=b>"),
        (((2, 2, ' style="a"'), (2, 2, ' style="a"')), '<p style="a" style="a" a=\'<p>\'>x<p style=b>'),
        (((15, 22, ""),), "<p a='<p>'>x<p >"),
        (((3, 10, 'style="a"'),), '<p style="a">x<p style=b>'),
        (((99, 99, ' style="a"'),), "<p a='<p>'>x<p style=b> style=\"a\""),
    ],
)
def test_the_check_refuses(splices: tuple[tuple[int, int, str], ...], result: str) -> None:
    source = "<p a='<p>'>x<p style=b>"
    assert not _only_styles_changed(source, result, splices)
    assert _only_styles_changed(source, source, ())
    good = ((2, 2, ' style="a"'), (15, 22, 'style="b"'))
    assert _only_styles_changed(source, spliced(source, good), good)


PIECES = [
    *("<p>", "</p>", "<div>", "</div>", "<td>", "<table>", "<tr>", "</table>", "<b>", "</b>", "<i>", "<a>", "</a>", "<br/>"),
    *("<li>", "<ul>", "</ul>", "x", " {{y}}", "*|Z|*", "&amp;", ">", "<", '"', "'"),
    '<p class="a">',
    "<td id='x' class=b>",
    "<p style='color:blue'>",
    '<b style="margin:0;x:&quot;y&quot;">',
    "<i STYLE=top:0>",
    "<div style>",
    '<p style="a" style="b:c">',
    "<!-- <p> -->",
    "<!--[if mso]><p><![endif]-->",
    "<![if !mso]>",
    "<textarea><p></textarea>",
    "<script>'<p>'</script>",
    "<svg>",
    "</svg>",
    "<select>",
    "<noscript>",
    "</noscript>",
    "<template>",
    "<title>",
    "</title>",
    "<style>p{top:0}</style>",
    '<p title="<p>',
    "<form>",
    "<h1>",
    "<p\0>",
    "\n",
]
SHEETS = [
    "*{color:red}",
    "p,td{margin:0 auto;font-family:'X Y'}",
    ".a{color:red!important}",
    '#x>b{x:url("y&z")}',
    "p+p{a:b}",
    "table p{top:1px}",
    "b:first-child{c:d}",
    "[style]{e:f}",
    "@media x{p{q:r}}",
    "p{a",
    "}}",
    "/* ",
]


@given(st.lists(st.sampled_from(SHEETS), max_size=5).map("".join), st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_only_style_attributes_change(css: str, body: str) -> None:
    source = f"<style>{css}</style>{body}"
    if _inline(source).skipped:
        return
    result = _inlined(source)
    assert list(_nodes(source)) == list(_nodes(result))
    without = [[a for a in attributes(source, tag) if a.name != "style"] for tag in start_tags(source)]
    now = [[a for a in attributes(result, tag) if a.name != "style"] for tag in start_tags(result)]
    assert [[source[a.start : a.end] for a in tag] for tag in without] == [[result[a.start : a.end] for a in tag] for tag in now]


@given(st.text("<>/='\"p style{}:;!-&#a \n", max_size=60), st.text("<>/='\"p style{}:;!-&#a \n", max_size=60))
def test_any_text_is_survived(css: str, body: str) -> None:
    source = f"<style>{css}</style>{body}"
    found = _inline(source)
    result = spliced(source, found.splices)
    assert _only_styles_changed(source, result, found.splices)
    assert list(_nodes(source)) == list(_nodes(result))


def _documents(corpus: Path | None) -> list[str]:
    templates = sorted((corpus / "html").glob("*.html")) if corpus else []
    return [GOLDEN, *(template.read_text("utf-8") for template in templates)]


def test_values_are_those_of_css_inline(corpus: Path | None) -> None:
    inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True)
    for document in _documents(corpus):
        tags = [tag for tag in start_tags(document) if tag.name not in {"head", "link", "meta", "style", "title"}]
        source, shift = document, 0
        for number, tag in enumerate(tags):
            mark = f' data-number="{number}"'
            source = source[: tag.name_end + shift] + mark + source[tag.name_end + shift :]
            shift += len(mark)
        ours = _styles(_inlined(source), "data-number")
        theirs = _styles(inliner.inline(source), "data-number")
        assert len(ours) == len(theirs) == len(tags)
        differing = {
            number: (ours[number], theirs[number])
            for number in ours
            if _declarations(ours[number]) != _declarations(theirs[number])
        }
        assert differing == {}


BOMBS = {
    "deep nesting": SHEET + "<div>" * 1900,
    "deep nesting of cells": SHEET + "<table><td>" * 1000,
    "deeper nesting": SHEET + "<div>" * 190_000,
    "cells over the limit": SHEET + "<table><tr><td>" * 2900,
    "hidden nesting": SHEET + "<svg><title>" + "<div>" * 150_000,
    "nesting made of comments": SHEET + "<<!---->div>" * 80_000,
    "hidden in noscript": SHEET + '<noscript><p title="</noscript>' + "<div>" * 150_000 + '">',
    "a mebibyte of semicolons": SHEET + ";" * 1_000_000,
    "semicolons in a sheet": "<style>" + ";" * 250_000 + "</style><p>",
    "angle brackets": SHEET + "<" * 1_000_000,
    "unclosed tag": SHEET + "<p " * 330_000,
    "end tags": SHEET + "<span>" * 900 + "</b>" * 240_000,
    "attributes": SHEET + "<p " + " ".join(f"a{n}" for n in range(150_000)) + ">",
    "body attributes": SHEET + ("<body " + " ".join(f"a{n}" for n in range(100)) + ">") * 900,
    "classes": "<style>" + ".a{b:c}" * 5000 + '</style><p class="' + "a " * 400_000 + '">',
    "nested :is": "<style>p" + ":is(" * 60_000 + "</style><p>",
    "nested :not": "<style>p" + ":not(" * 40_000 + "a" + ")" * 40_000 + "{b:c}</style><p>",
    "nested functions": "<style>p{a:" + "f(" * 100_000 + "}</style><p>",
    "nested rules": "<style>" + "p{" * 100_000 + "</style><p>",
    "selectors": "<style>" + "*{a:b}" * 40_000 + "</style>" + "<p>" * 9000,
    "declarations": "<style>p{" + "".join(f"a{n}:b;" for n in range(240)) + "}</style>" + "<p>" * 8900,
    "siblings": "<style>" + "b~p~p{a:b}" * 30 + "</style>" + "<p></p>" * 990 + "<b></b>",
    "descendants": "<style>" + "b div{a:b}" * 140 + "</style>" + "<div>" * 990 + "<b>",
    "blanks before !important": "<style>p{a:b" + " " * 100_000 + "!important}" + "p{a:c}" * 1000 + "</style>" + "<p>" * 1000,
    "long values": "<style>p{a:" + "b" * 200_000 + "}</style>" + "<p>" * 250,
    "formatting": SHEET + "<b><p>x" * 4400,
    "formatting closed late": SHEET + "<div>" + "<b>" * 290 + "</div>" + "<p>x</p>" * 8000 + "</b>" * 290,
    "adoption agency": SHEET + ("<b>" + "<div>" * 10 + "</b>") * 800,
    "foster parents": SHEET + "<table>" + "<b>x</b>y" * 4000,
    "svg": SHEET + "<svg>" + "<g>" * 8000,
    "frameset": SHEET + "<frameset>" * 8000,
    "style attributes": SHEET + ('<p style="' + "color:red;" * 10 + '">') * 8500,
    "broken style attributes": SHEET + '<p style="color red">' * 8900,
    "strings in a style attribute": SHEET + '<p style="' + "'x';(" * 150_000 + '">',
    "numbers of the marker": SHEET + " ".join(str(number) for number in range(707170717, 707271717)) + "<p>",
}

RUN = """
import sys, threading, time
from filters.inline_css import inline
from filters.mail.judge import is_sound
from filters.mail.outline import Outline
source = sys.stdin.read()
def work():
    begin = time.process_time()
    found = inline(Outline(source))
    taken = time.process_time() - begin
    assert is_sound(found.splices, Outline(source))
    print(taken)
thread = threading.Thread(target=work)  # as the milter does: its stack is no larger than any other thread's
thread.start()
thread.join()
"""


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_document(name: str, root: Path) -> None:
    # In a process of its own: what goes wrong here is a stack overflow or a minute of work that nothing can stop.
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=BOMBS[name], capture_output=True, text=True, timeout=60, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2


def test_the_time_of_a_message_is_shared_among_its_parts():
    sheet = "<style>p{" + "".join(f"a{number}:b;" for number in range(100)) + "}</style>"
    heavy = sheet + "<p>x</p>" * 200
    assert _inline(heavy, MAX_SECONDS / 130).skipped == "too much work"
    assert _inline(heavy).skipped == ""
    assert _inline(heavy, MAX_SECONDS / 130).splices == _inline(heavy).splices  # remembered: there is nothing to calculate
    assert _inline("<style>p{color:red}</style><p>x</p>", MAX_SECONDS / 3).skipped == ""
