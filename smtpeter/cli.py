"""The command line: what the words mean, and where the settings come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from smtpeter.settings import Settings, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the settings are, as the global options say."""

    settings_file: Path | None
    data: Path | None

    def settings(self) -> Settings:
        """The settings, read now. Raises UserError."""
        return load(self.settings_file, self.data)

    def arguments(self) -> list[str]:
        """The global options that lead another process to the same place."""
        named = (("--settings", self.settings_file), ("--data", self.data))
        return [word for option, path in named if path is not None for word in (option, str(path.absolute()))]


def settings_of(context: typer.Context) -> Settings:
    """The settings a command works with."""
    place: Place = context.obj
    return place.settings()


app = typer.Typer(
    name="smtpeter",
    help="A self-hosted SMTP API on top of real Postfix.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def options(
    context: typer.Context,
    settings: Annotated[Path | None, typer.Option(help="Settings file (TOML); ./smtpeter.toml without it.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of databases, keys and queue; ./var without it.")] = None,
) -> None:
    """A self-hosted SMTP API on top of real Postfix."""
    context.obj = Place(settings_file=settings, data=data)
