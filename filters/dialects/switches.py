"""What a sender says to another provider in the header, and what it means here: a row for each switch, from the providers' own
documentation. Everything else (the reading, docs/dialects.md) goes by these rows.

Moving from a provider needs no change in what sends: its fields are read, recorded and taken out, for a login that asks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filters.reading import Rank, Said
from filters.tags import split_tags
from policy.login import Dialect
from policy.options import FALSE_WORDS, TRUE_WORDS

# What the names of a provider's fields begin with, and those that are a name of their own.
NAMESPACES = {
    Dialect.MAILGUN: ("x-mailgun-",),
    Dialect.MANDRILL: ("x-mc-",),
    Dialect.POSTMARK: ("x-pm-",),
    Dialect.SENDGRID: ("x-smtpapi",),
    Dialect.SPARKPOST: ("x-msys-api",),
    Dialect.SYMFONY: ("x-track", "x-tag", "x-metadata-"),
}
JSON_FIELDS = frozenset(("x-smtpapi", "x-msys-api"))
IN_TEXT = "links in plain text are never tracked"


Reader = Callable[[Sequence[str]], Said | None]
"""What the texts of a field or an entry say (one, but for a list); None where that is not understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One switch. `field` is written as its provider does; `path` leads to it in a field that is JSON, a dot between keys.

    `takes` and `gives` tell of its values and what they decide, `lacks` what its provider does with it besides.
    """

    dialect: Dialect
    field: str
    path: str = ""
    takes: str
    gives: str
    lacks: str = ""
    rank: Rank = Rank.SPECIAL
    read: Reader


def _turns(*options: str, yes: str = "", no: str = "") -> Reader:
    """The reader of a word for or against options; `yes` and `no` are words its provider has besides the usual ones."""
    meanings = dict.fromkeys((*TRUE_WORDS, *yes.split()), True) | dict.fromkeys((*FALSE_WORDS, *no.split()), False)

    def read(texts: Sequence[str]) -> Said | None:
        meaning = meanings.get(_only(texts))
        return None if meaning is None else Said(options=tuple((option, meaning) for option in options))

    return read


def _tags(texts: Sequence[str]) -> Said:
    found, unusable = split_tags(",".join(texts))
    return Said(tags=tuple(found), lacking=f"{unusable} unusable tag{'s' if unusable > 1 else ''} left out" if unusable else "")


def _mandrill_track(texts: Sequence[str]) -> Said | None:
    """A list of what to track: what it does not name is off."""
    words = {word.strip() for word in _only(texts).split(",")} - {""}
    in_html, in_text = {"clicks", "clicks_all", "clicks_htmlonly"}, "clicks_textonly"
    if not words or not words <= {"opens", "none", in_text, *in_html}:
        return None
    options = (("trackopens", "opens" in words), ("trackclicks", bool(words & in_html)))
    return Said(options=options, lacking=IN_TEXT if in_text in words else "")


def _postmark_links(texts: Sequence[str]) -> Said | None:
    word = _only(texts)
    if word not in ("none", "htmlandtext", "htmlonly", "textonly"):
        return None
    return Said(options=(("trackclicks", word.startswith("html")),), lacking=IN_TEXT if word == "textonly" else "")


def _symfony_track(texts: Sequence[str]) -> Said | None:
    """`opens=false; clicks=default`: what is left to the default is not decided."""
    names = {"opens": "trackopens", "clicks": "trackclicks"}
    words = {"true": True, "false": False, "default": None}
    options = {}
    for part in _only(texts).rstrip("; ").split(";"):
        name, _, word = (side.strip() for side in part.partition("="))
        if name not in names or word not in words:
            return None
        options[names[name]] = words[word]
    return Said(options=tuple((option, value) for option, value in options.items() if value is not None))


def _only(texts: Sequence[str]) -> str:
    """The one text in lower case, "" where there are several."""
    return texts[0].strip().lower() if len(texts) == 1 else ""


_TAG = "a tag; a comma stands between several"
_ONE = "1 or 0"
_BOOLEAN = "true or false"

SWITCHES = (
    Switch(
        dialect=Dialect.MAILGUN, field="X-Mailgun-Track", takes="yes, no, true, false, htmlonly", gives="trackclicks, trackopens",
        lacks=IN_TEXT, rank=Rank.GENERAL, read=_turns("trackclicks", "trackopens", yes="htmlonly"),
    ),
    Switch(
        dialect=Dialect.MAILGUN, field="X-Mailgun-Track-Clicks", takes="yes, no, true, false, htmlonly", gives="trackclicks",
        lacks=IN_TEXT, read=_turns("trackclicks", yes="htmlonly"),
    ),
    Switch(
        dialect=Dialect.MAILGUN, field="X-Mailgun-Track-Opens", takes="yes, no, true, false", gives="trackopens",
        read=_turns("trackopens"),
    ),
    Switch(dialect=Dialect.MAILGUN, field="X-Mailgun-Tag", takes=_TAG, gives="tags", read=_tags),
    Switch(
        dialect=Dialect.MANDRILL, field="X-MC-Track",
        takes="a list of opens and one of clicks, clicks_all, clicks_htmlonly, clicks_textonly; or none",
        gives="trackopens, trackclicks: off what is not named", lacks=IN_TEXT, read=_mandrill_track,
    ),
    Switch(
        dialect=Dialect.MANDRILL, field="X-MC-InlineCSS", takes="true, on, yes, y, false, off, no, n", gives="inlinecss",
        read=_turns("inlinecss", yes="y", no="n"),
    ),
    Switch(dialect=Dialect.MANDRILL, field="X-MC-Tags", takes="a list of tags", gives="tags", read=_tags),
    Switch(
        dialect=Dialect.POSTMARK, field="X-PM-TrackOpens", takes=_BOOLEAN, gives="trackopens", read=_turns("trackopens"),
    ),
    Switch(
        dialect=Dialect.POSTMARK, field="X-PM-TrackLinks", takes="None, HtmlAndText, HtmlOnly, TextOnly",
        gives="trackclicks: off with None and TextOnly", lacks=IN_TEXT, read=_postmark_links,
    ),
    Switch(dialect=Dialect.POSTMARK, field="X-PM-Tag", takes=_TAG, gives="tags", read=_tags),
    Switch(
        dialect=Dialect.SENDGRID, field="X-SMTPAPI", path="category", takes="a tag, or a list of them", gives="tags", read=_tags,
    ),
    Switch(
        dialect=Dialect.SENDGRID, field="X-SMTPAPI", path="filters.clicktrack.settings.enable", takes=_ONE, gives="trackclicks",
        lacks=IN_TEXT, read=_turns("trackclicks"),
    ),
    Switch(
        dialect=Dialect.SENDGRID, field="X-SMTPAPI", path="filters.opentrack.settings.enable", takes=_ONE, gives="trackopens",
        read=_turns("trackopens"),
    ),
    Switch(
        dialect=Dialect.SPARKPOST, field="X-MSYS-API", path="options.click_tracking", takes=_BOOLEAN, gives="trackclicks",
        lacks=IN_TEXT, read=_turns("trackclicks"),
    ),
    Switch(
        dialect=Dialect.SPARKPOST, field="X-MSYS-API", path="options.open_tracking", takes=_BOOLEAN, gives="trackopens",
        read=_turns("trackopens"),
    ),
    Switch(
        dialect=Dialect.SPARKPOST, field="X-MSYS-API", path="options.inline_css", takes=_BOOLEAN, gives="inlinecss",
        read=_turns("inlinecss"),
    ),
    Switch(dialect=Dialect.SPARKPOST, field="X-MSYS-API", path="tags", takes="a list of tags", gives="tags", read=_tags),
    Switch(
        dialect=Dialect.SPARKPOST, field="X-MSYS-API", path="campaign_id", takes="the name of a campaign", gives="tags",
        read=_tags,
    ),
    Switch(
        dialect=Dialect.SYMFONY, field="X-Track", takes="opens=true; clicks=false; default leaves it open",
        gives="trackopens, trackclicks", rank=Rank.GENERAL, read=_symfony_track,
    ),
    Switch(dialect=Dialect.SYMFONY, field="X-Tag", takes=_TAG, gives="tags", read=_tags),
)  # fmt: skip
