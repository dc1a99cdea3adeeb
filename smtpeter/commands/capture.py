"""`smtpeter capture`: the process that keeps outgoing mail as files; `smtpeter up --capture` starts it."""

from pathlib import Path
from typing import Annotated

import typer

from smtpeter.capture import serve
from smtpeter.cli import settings_of
from smtpeter.process import start_log


def capture(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="Folder the messages are written to.")],
) -> None:
    """Accept outgoing mail instead of the world and keep each message as a file."""
    start_log()
    settings_of(context)
    serve(directory)
