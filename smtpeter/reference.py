"""The reference pages docs/dialects.md, docs/options.md and docs/settings.md, made of the code they describe and of nothing else.

    python -m smtpeter.reference FOLDER

writes them into FOLDER; `tools/docs` does so for this checkout. The same code gives the same bytes on every machine.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, IPvAnyNetwork
from pydantic.fields import FieldInfo

from filters.dialects.idle import IDLE
from filters.dialects.switches import NAMESPACES, SWITCHES, Switch
from filters.mail.judge import MARKS
from filters.pipeline import FILTERS
from filters.reading import Rank
from filters.tags import MAX_TAG, MAX_TAGS
from filters.track_clicks import PREVENTSCAM
from policy.login import Dialect
from policy.options import FALSE_WORDS, FORCED, OPTIONS, TAGS_HEADER, TRUE_WORDS, Option, Options
from smtpeter.settings import SEARCHED, Settings

MARK = "<!-- Made from the code by tools/docs. Do not edit. -->"

_KINDS: dict[Any, str] = {
    str: "text", bool: "true or false", int: "whole number", float: "number", Path: "path",
    IPvAnyNetwork: "IP address or network",
}  # fmt: skip
_BOUNDS = {"ge": "from", "gt": "above", "le": "up to"}  # the attributes of pydantic's bounds


def options_page() -> str:
    """docs/options.md: every option, its header field, its words and whether this release acts on it."""
    defaults = Options().as_words()
    rows = [
        (
            *(f"`{text}`" for text in (option.name, option.header, defaults[option.name])),
            option.allowed,
            option.effect,
            "yes" if _acts(option) else "not yet",
        )
        for option in OPTIONS
    ]
    return _page(
        "Options",
        "An option belongs to a login. A header field of a message changes it for that message, in both directions.",
        "",
        *_table(("option", "header field", "default", "values", "when it is on", "in this release"), rows),
        "",
        f"- True is written {_words(TRUE_WORDS)}; false is written {_words(FALSE_WORDS)}. Case and outer blanks do not count.",
        "- Names of header fields are read in any case, folded or not, from the top of the message only.",
        "- If a field is there more than once, the last value that can be read counts.",
        "- A value that cannot be read leaves the login's setting. It is noted as a warning in the log. The mail goes on.",
        f"- A login may keep an option for itself: `{FORCED}` before the word, such as `{FORCED}on`, `{FORCED}off` or"
        f" `{FORCED}hosted`. No message can change it then: a field that tries is removed and noted as a warning. A word"
        " without it gives the option back.",
        "- Every control field is removed before the mail leaves, also one with an unknown name.",
        f"- `{TAGS_HEADER}` takes a comma-separated list: at most {MAX_TAGS} tags of at most {MAX_TAG} characters, without"
        " blanks and semicolons inside. Several fields are merged. It is no option: a login has no tags.",
        "- An option that says “not yet” can be set and asked for, and changes nothing. Each message that asks for it has an"
        " event `skipped` with the reason.",
        "- A link that carries a mark with which another provider's senders keep it untracked is left alone by trackclicks, and"
        f" loses the mark: {', '.join(f'`{mark}`' for mark in MARKS)} (the first with the value `off`).",
        "- What became of each option, and whether the login, a header field or a rule decided it, stands in the journal:"
        " `smtpeter trace` shows it.",
        "- The fields of other providers can decide as well, for a login that asks for it: [dialects](dialects.md).",
    )


def dialects_page() -> str:
    """docs/dialects.md: the fields of other providers, what each decides here, and what is not done."""
    rows = [(switch.dialect.value, _place(switch), switch.takes, switch.gives, switch.lacks) for switch in SWITCHES]
    names = [f"`{name}*`" if name.endswith("-") else f"`{name}`" for dialect in Dialect for name in NAMESPACES[dialect]]
    general = [f"`{switch.field}`" for switch in SWITCHES if switch.rank is Rank.GENERAL]
    idle = [(dialect.value, f"`{name}`", lacking or "none") for dialect in Dialect for name, lacking in IDLE[dialect].items()]
    return _page(
        "Dialects",
        "A login can take the switches that its sender already writes for another provider, so moving from a provider needs no"
        " change in what sends. It is off unless asked for: `smtpeter login set NAME --dialect mailgun`; several may be on.",
        "",
        "## What is read",
        "",
        *_table(("dialect", "field", "values", "decides", "not done"), rows),
        "",
        "`symfony` is the Mailer of that name: it writes these where it does not know the provider.",
        "",
        "## How it is read",
        "",
        "- The fields are read as [ours](options.md) are: in any case, folded or not, from the top of the message only. A value"
        " that cannot be read leaves the login's setting. It is noted as a warning, and the mail goes on.",
        f"- All fields of a login's dialects are removed, known or not; of all dialects these are {', '.join(names)}.",
        "- Without the dialect they are content of the message: they stay as they are and decide nothing.",
        f"- A field of ours beats every other. {' and '.join(general)} give way to the rest. Otherwise the last value that can be"
        " read counts, whosever it is. Tags of all fields are merged.",
        "- Tags follow [our rules](options.md), so one with a blank inside is left out, and a comma stands between two.",
        "- An option that the login keeps for itself stays as it is.",
        "- `smtpeter trace` and `smtpeter preview --diff` show the dialect as the one who decided.",
        "",
        "## What decides nothing",
        "",
        "What these ask for is not done. A warning says so, unless the value asks for nothing, or nobody would miss it.",
        "",
        *_table(("dialect", "field or entry", "warning"), idle),
    )


def _place(switch: Switch) -> str:
    return f"`{switch.field}`: `{switch.path}`" if switch.path else f"`{switch.field}`"


def settings_page() -> str:
    """docs/settings.md: every key of the settings file, its default and its meaning."""
    top = {key: info for key, info in Settings.model_fields.items() if _section(info) is None}
    lines = [
        "One TOML file, every key with a default; the service runs without any file. It is looked for as "
        + ", then ".join(f"`{path}`" for path in SEARCHED)
        + "; `--settings FILE` names another. Relative paths are relative to the file.",
        "",
        "An unknown key or a bad value is refused with a sentence that names the key, the value and what is allowed.",
        "",
        "## At the top of the file",
        "",
        *_keys(top, Settings),
    ]
    for name, info in Settings.model_fields.items():
        section = _section(info)
        if section is not None:
            lines += ["", f"## `[{name}]`", "", section.__doc__ or "", "", *_keys(section.model_fields, section)]
            for key, inner in _repeated(section):
                lines += ["", f"### `[[{name}.{key}]]`", "", inner.__doc__ or "", "", *_keys(inner.model_fields, inner)]
    return _page("Settings", *lines)


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    return {"dialects.md": dialects_page(), "options.md": options_page(), "settings.md": settings_page()}


def _acts(option: Option) -> bool:
    return option.name in {each.name for each in FILTERS} | {PREVENTSCAM}


def _section(info: FieldInfo) -> type[BaseModel] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _repeated(section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The keys of a section that hold a list of tables, and what is in such a table."""
    for key, info in section.model_fields.items():
        for inner in get_args(info.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield key, inner


def _keys(fields: dict[str, FieldInfo], model: type[BaseModel]) -> list[str]:
    rows = []
    for key, info in fields.items():
        if not info.description:
            raise ValueError(f"{model.__name__}.{key} has no docstring")
        rows.append((f"`{key}`", _default(info), _kind(info.annotation, info.metadata), info.description))
    return _table(("key", "default", "values", "meaning"), rows)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "must be set"
    if info.default_factory is not None:
        return "that of the host"  # asked at the start: another one on every machine
    return "not set" if info.default is None else f"`{_toml(info.default)}`"


def _toml(value: Any) -> str:
    """A value as it is written in the settings file."""
    if isinstance(value, dict):
        return "{}" if not value else "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _kind(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What a key takes, in words."""
    arguments = [each for each in get_args(annotation) if each is not NoneType]
    if get_origin(annotation) is tuple:
        repeated = arguments[-1] is Ellipsis
        return f"a list of {_kind(arguments[0])}" if repeated else f"a list of {len(arguments)}: {_kind(arguments[0])}"
    if hasattr(annotation, "__metadata__"):
        inner, *rest = get_args(annotation)
        return _kind(inner, [bound for info in rest for bound in getattr(info, "metadata", [info])])
    if NoneType in get_args(annotation):
        return _kind(arguments[0], metadata)
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{_toml(each)}`" for each in arguments)
    if get_origin(annotation) is dict:
        return f"a table of {_kind(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "tables"
    bounds = [f"{word} {getattr(bound, name):g}" for bound in metadata for name, word in _BOUNDS.items() if hasattr(bound, name)]
    return " ".join([_KINDS[annotation], *bounds])


def _words(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [titles, ("---",) * len(titles), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def _page(title: str, *lines: str) -> str:
    return "\n".join([f"# {title}", "", MARK, "", *lines, ""])


def main(words: list[str]) -> Iterator[Path]:
    """Writes the pages into the folder named by `words` and tells which."""
    (folder,) = map(Path, words)
    for name, text in pages().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        yield path


if __name__ == "__main__":
    for written in main(sys.argv[1:]):
        sys.stdout.write(f"{written}\n")
