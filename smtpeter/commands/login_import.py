"""`smtpeter login import`: logins of another mail server, with the passwords they have there."""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from policy import foreign_hash
from policy.foreign_hash import UnknownHash
from policy.login import NAME, Login, Password
from policy.options import OPTIONS, Options
from policy.password import MAX_LENGTH, SALT_LENGTH, hash_password
from policy.stores import AdminStore, Conflict
from policy.verifier import identity
from smtpeter import database, password_files, sasl_database
from smtpeter.cli import settings_of
from smtpeter.commands import login_fields
from smtpeter.commands.login_fields import Given
from smtpeter.errors import UserError
from smtpeter.password_files import Entry, Fault, Format

LONG = 200  # users; from here on it is shown how far it is

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="OPTION=VALUE", help=f"Any of {', '.join(option.name for option in OPTIONS)}."),
]


def import_logins(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file with names and passwords.")],
    form: Annotated[Format, typer.Option("--format", help="What it is.")],
    account: Annotated[str, typer.Option(help="The account they belong to.")],
    options: Words = None,
    scheme: Annotated[str, typer.Option(help="passwd-file: the scheme of passwords without a {SCHEME}.")] = foreign_hash.CRYPT,
    realm: Annotated[str, typer.Option(help="sasldb: users of this realm are named without it.")] = "",
    slow: Annotated[bool, typer.Option("--slow", help="Also hashes that take so long that guessers notice them.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Import the others where some cannot be.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be imported.")] = False,
    label: Annotated[str, typer.Option(help="A note of what uses the logins.")] = "",
    senders: login_fields.Senders = None,
    networks: login_fields.Networks = None,
    ports: login_fields.LoginPorts = None,
    dialects: login_fields.Dialects = None,
    limits: login_fields.GivenLimits = None,
    expires: login_fields.Expires = None,
) -> None:
    """Import logins of another mail server. Each keeps its password; its hash becomes ours when it logs in first."""
    store = database.open_store(settings_of(context))
    database.find_account(store, account)
    given = Given(
        options=login_fields.words(options, "OPTION=VALUE, such as inlinecss=true"),
        label=label,
        senders=senders,
        networks=networks,
        ports=ports,
        dialects=dialects,
        limits=limits,
        expires=expires,
    )
    judge = _Judge(store=store, change=given.change(), account=account, own_networks=networks is not None, slow=slow)
    found = judge.all(_entries(file, form, scheme, realm))
    _complain(found, "user" if form is Format.SASLDB else "line")
    if found.faults and not skip_bad:
        raise UserError(f"{len(found.faults)} of {found.total} cannot be imported, so nothing was; --skip-bad leaves them out")
    if not dry_run:
        found.existing += _add(store, found.logins)
    _tell(found, dry_run=dry_run)


@dataclass(slots=True, kw_only=True)
class _Found:
    """What is in a file: logins to add, each with the password where it came in the clear, and what is left out."""

    logins: list[tuple[Login, str | None]]
    faults: list[Fault]
    existing: int = 0
    empty: int = 0

    @property
    def total(self) -> int:
        return len(self.logins) + len(self.faults) + self.existing + self.empty


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """Makes logins of the users of a file, or tells why not."""

    store: AdminStore
    change: Callable[[Login], Login]
    account: str
    own_networks: bool
    slow: bool

    def all(self, entries: Iterable[Entry | Fault]) -> _Found:
        found, lines = _Found(logins=[], faults=[]), dict[str, int]()
        for entry in entries:
            if isinstance(entry, Fault):
                if entry.empty:
                    found.empty += 1
                else:
                    found.faults.append(entry)
                continue
            try:
                made = self._login(entry)
            except (UserError, UnknownHash) as error:
                found.faults.append(Fault(number=entry.number, reason=str(error)))
                continue
            name = made[0].name
            if name in lines:
                found.faults.append(Fault(number=entry.number, reason=f"{name} is in it already, at {lines[name]}"))
            elif self.store.login(name) is not None:
                found.existing += 1
            else:
                found.logins.append(made)
            lines.setdefault(name, entry.number)
        return found

    def _login(self, entry: Entry) -> tuple[Login, str | None]:
        """Raises UserError and UnknownHash with a sentence that shows nothing of the password."""
        name, now = identity(entry.name), int(time.time())
        if not NAME.fullmatch(name):
            raise UserError("its name is too long, or has other characters than letters, digits and . _ - @, or begins with one")
        plain = foreign_hash.plain(entry.scheme, entry.value)
        kept = "" if plain is not None else foreign_hash.kept(entry.scheme, entry.value)
        if plain is not None and (not plain or len(plain.encode()) > MAX_LENGTH or "\0" in plain):
            raise UserError(f"its password is empty, longer than {MAX_LENGTH} octets, or has a NUL in it")
        if kept and not self.slow and (seconds := foreign_hash.seconds(kept)) > foreign_hash.SLOW:
            raise UserError(
                f"one comparison takes about {seconds:.2g} s, so that wrong passwords are answered late and tell that there is"
                " such a login; --slow imports it all the same"
            )
        login = Login(
            name=name,
            account=self.account,
            passwords=(Password(number=1, hash=kept, created=now),),
            options=Options(),
            created=now,
            expires=entry.expires,
        )
        login = self.change(login)
        if entry.networks and not self.own_networks:
            login = replace(login, networks=tuple(map(login_fields.checked_network, entry.networks)))
        return login, plain


def _entries(file: Path, form: Format, scheme: str, realm: str) -> Iterator[Entry | Fault]:
    if form is Format.SASLDB:
        yield from sasl_database.read_database(file, realm)
        return
    try:
        with file.open("rb") as lines:
            yield from password_files.read_lines(form, lines, scheme)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def _add(store: AdminStore, logins: list[tuple[Login, str | None]]) -> int:
    """Adds logins; returns how many were made by somebody else in the meantime."""
    taken = 0
    with _progress(len(logins)) as step:
        for place, (login, plain) in enumerate(logins):
            if plain is not None:
                made = hash_password(plain, secrets.token_bytes(SALT_LENGTH))
                login = replace(login, passwords=(replace(login.passwords[0], hash=made),))
            try:
                store.add_login(login)
            except Conflict:
                taken += 1
            logins[place] = login, None
            step()
    del logins[len(logins) - taken :]
    return taken


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A step for each login; shown on standard error where somebody looks and it takes a while."""
    console = Console(stderr=True)
    if total < LONG or not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("importing", total=total)
        yield lambda: bar.advance(task)


def _complain(found: _Found, noun: str) -> None:
    for fault in found.faults:
        typer.echo(f"{noun} {fault.number}: {fault.reason}")


def _tell(found: _Found, *, dry_run: bool) -> None:
    parts = [f"{len(found.logins)} logins {'would be' if dry_run else 'were'} imported"]
    if found.existing:
        parts.append(f"{found.existing} are there already and were left alone")
    if found.empty:
        parts.append(f"{found.empty} have no password and were left out")
    if found.faults:
        parts.append(f"{len(found.faults)} cannot be imported and were left out")
    typer.echo("; ".join(parts))
