"""What the command prints: tables for people, JSON for programs."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

# Nothing that is printed is markup: names and labels are the user's own text. A table takes the width it needs: cut off at the
# window's, or at the 80 columns a pipe seems to have, it would lose what was asked for.
console = Console(width=10_000, markup=False, highlight=False, emoji=False, soft_wrap=True)


# What stands for an octet that is no UTF-8 (PEP 383): JSON can write it, a terminal cannot.
_ESCAPED_OCTET = re.compile("[\ud800-\udfff]")


def utc(seconds: int) -> str:
    """A time for the reader: UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def octets(count: int) -> str:
    """A size for the reader, to three digits."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} octets"


def print_json(value: Any) -> None:
    """Prints a value as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    typer.echo(_ESCAPED_OCTET.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Iterable[str], *, as_json: bool, empty: str) -> None:
    """Prints rows as a table of `columns`, or whole as JSON; `empty` is the sentence for no rows."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        typer.echo(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="ignore", no_wrap=True)
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    console.print(table)


def print_pairs(pairs: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints one thing's properties, a line each, or as JSON."""
    if as_json:
        print_json(dict(pairs))
        return
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        lines = value if isinstance(value, (list, tuple)) else str(value).splitlines() or [""]
        for place, line in enumerate(lines or ["-"]):
            typer.echo(f"{name if place == 0 else '':<{width}}  {line}")
