"""The command `smtpeter`: runs one subcommand and turns what the user can mend into a sentence and exit status 2."""

import sys
from collections.abc import Sequence
from importlib import import_module

import typer
from typer.exceptions import Abort, Exit, TyperException

from policy.domains import InvalidKey
from policy.limits import InvalidLimit
from policy.options import InvalidOption
from policy.stores import Conflict, NotFound, StoreUnavailable
from smtpeter.cli import app
from smtpeter.errors import UserError

COMMANDS = (
    *("up", "prepare", "check", "preview", "demo", "account", "login", "domain", "keys", "trace", "journal", "link"),
    *("backup", "restore"),
)
PROCESSES = ("auth", "milter", "web", "capture")  # started by `up`; help does not show them
WITH_VALUE = ("--settings", "--data")
USER_ERRORS = (UserError, NotFound, Conflict, StoreUnavailable, InvalidOption, InvalidLimit, InvalidKey)

_registered: set[str] = set()


def register(*names: str) -> None:
    """Makes subcommands known. Each is a module of that name in smtpeter.commands, with an `app` or one function so named.

    Only what is used is imported: a process of the service carries nothing of the others in its memory.
    """
    for name in names:
        if name in _registered:
            continue
        module = import_module(f"smtpeter.commands.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name, hidden=name in PROCESSES)(getattr(module, name))
        _registered.add(name)


def wanted(arguments: Sequence[str]) -> tuple[str, ...]:
    """The subcommand that is called, or all of them where that is not plain to see (help, a mistake)."""
    words = iter(arguments)
    for word in words:
        if word in WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return (word,) if word in COMMANDS + PROCESSES else COMMANDS
    return COMMANDS


def run(arguments: Sequence[str]) -> int:
    """Runs the command line `arguments` and returns the exit status."""
    register(*wanted(arguments))
    try:
        status = app(list(arguments), standalone_mode=False)
    except Exit as stop:
        return int(stop.exit_code)
    except TyperException as error:
        return _complain(" ".join(error.format_message().split()))
    except USER_ERRORS as error:
        return _complain(str(error.args[0] if error.args else error))
    except (Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 141  # the reader of our output went away
    return int(status or 0)


def _complain(sentence: str) -> int:
    typer.echo(f"smtpeter: {sentence}", err=True)
    return 2


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
