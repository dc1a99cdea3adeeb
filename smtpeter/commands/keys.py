"""`smtpeter keys`: the keys that seal the identifiers in links and pictures; a change needs no restart."""

import secrets
import time
from typing import Annotated

import typer

from journal.seal import KEY_IDS, KEY_LENGTH, Ring, SealingKey
from smtpeter import durable, wiring
from smtpeter.cli import settings_of
from smtpeter.errors import UserError
from smtpeter.output import AsJson, print_rows, utc
from smtpeter.settings import Settings

app = typer.Typer(help="The keys that seal tracked links.", no_args_is_help=True)

COLUMNS = ("id", "created", "active", "use")
LONGEST = 24 * 366  # hours a new key may wait


@app.command("list")
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """List the keys; one seals new identifiers, all of them read old ones."""
    now = int(time.time())
    ring = wiring.ring_file(settings_of(context)).current()
    rows = [
        {"id": key.id, "created": utc(key.created), "active": utc(key.active), "use": _use(ring, key, now)} for key in ring.keys
    ]
    print_rows(rows, COLUMNS, as_json=as_json, empty="")


@app.command()
def rotate(
    context: typer.Context,
    hours: Annotated[
        float,
        typer.Option("--in", min=0, max=LONGEST, help="Hours until it seals; several hosts need time to get the new ring first."),
    ] = 0,
) -> None:
    """Add a key that seals from now on; the keys before it go on reading what they sealed."""
    settings, now = settings_of(context), int(time.time())
    file = wiring.ring_file(settings)
    with durable.alone(settings.data):
        ring = file.current()
        key = new_key(ring, secrets.token_bytes(KEY_LENGTH), now=now, active=now + round(hours * 3600))
        grown = Ring((*ring.keys, key), now)
        if not hours and grown.sealing != key:
            raise UserError(f"key {ring.sealing.id} has sealed only since {utc(ring.sealing.active)}; try again in a second")
        _write(settings, grown)
    if hours:
        typer.echo(f"key {key.id} added; it seals from {utc(key.active)} UTC on")
        typer.echo(f"other hosts need a copy of {settings.ring_file} by then")
    else:
        typer.echo(f"key {key.id} added; it seals from now on")


@app.command()
def remove(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="ID", help="The key's id, as `smtpeter keys list` shows it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a key for good; every link and picture it sealed stops working."""
    settings = settings_of(context)
    file = wiring.ring_file(settings)
    _without(file.current(), number)
    if not yes:
        typer.confirm(
            f"Links and pictures that key {number} sealed in mail already sent will stop working. Remove it?", abort=True
        )
    with durable.alone(settings.data):
        _write(settings, _without(file.current(), number))
    typer.echo(f"key {number} removed; what it sealed no longer works")


def new_key(ring: Ring, secret: bytes, *, now: int, active: int) -> SealingKey:
    """A key to add to `ring`: its id is the lowest free one above the newest key's, or from 0 again. Raises UserError."""
    taken = {key.id for key in ring.keys}
    newest = max(ring.keys, key=lambda key: (key.created, key.active, key.id)).id
    free = next((number for number in (*range(newest + 1, KEY_IDS), *range(newest)) if number not in taken), None)
    if free is None:
        raise UserError(f"the key ring has {KEY_IDS} keys, more do not fit; `smtpeter keys remove ID` takes an old one away")
    return SealingKey(id=free, secret=secret, created=now, active=active)


def _write(settings: Settings, ring: Ring) -> None:
    try:
        durable.replace(settings.ring_file, ring.format().encode())
    except OSError as error:
        raise UserError(f"the key ring {settings.ring_file} cannot be written: {error.strerror}") from error


def _without(ring: Ring, number: int) -> Ring:
    if number == ring.sealing.id:
        raise UserError(f"key {number} is the one that seals; `smtpeter keys rotate` puts another in its place first")
    left = [key for key in ring.keys if key.id != number]
    if len(left) == len(ring.keys):
        raise UserError(f"there is no key {number}; `smtpeter keys list` shows them")
    return Ring(left, int(time.time()))


def _use(ring: Ring, key: SealingKey, now: int) -> str:
    if key == ring.sealing:
        return "seals and reads"
    return "waits" if key.active > now else "reads"
