"""`smtpeter prepare`: what has to be there before the processes start, for a service manager; `smtpeter up` does it itself."""

import typer

from smtpeter import database
from smtpeter.cli import settings_of


def prepare(context: typer.Context) -> None:
    """Make data folder, databases, keys and spool where they are missing, and bring them to this release; may be repeated."""
    settings = settings_of(context)
    database.prepare(settings)
    typer.echo(f"{settings.data} is ready")
