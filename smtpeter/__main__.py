"""The command `smtpeter`: runs one subcommand and turns what the user can mend into a sentence and exit status 2."""

import sys
from collections.abc import Sequence

import typer
from typer.exceptions import Abort, Exit, TyperException

from policy.domains import InvalidKey
from policy.options import InvalidOption
from policy.stores import Conflict, NotFound, StoreUnavailable
from smtpeter.cli import app
from smtpeter.commands import account, check, demo, domain, login, preview, servers, up
from smtpeter.errors import UserError

app.add_typer(account.app, name="account")
app.add_typer(login.app, name="login")
app.add_typer(domain.app, name="domain")
app.command("up")(up.up)
app.command("check")(check.check)
app.command("preview")(preview.preview)
app.command("demo")(demo.demo)
app.command("auth", hidden=True)(servers.auth)
app.command("milter", hidden=True)(servers.milter)
app.command("capture", hidden=True)(servers.capture)

USER_ERRORS = (UserError, NotFound, Conflict, StoreUnavailable, InvalidOption, InvalidKey)


def run(arguments: Sequence[str]) -> int:
    """Runs the command line `arguments` and returns the exit status."""
    try:
        status = app(list(arguments), standalone_mode=False)
    except Exit as stop:
        return int(stop.exit_code)
    except TyperException as error:
        return _complain(error.format_message())
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
