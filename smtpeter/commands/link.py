"""`smtpeter link`: what a tracked link says, and the destinations that nobody is sent to any more."""

import time
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from filters.target import Untracked, host_of, target
from journal import links
from journal.links import HostedImage, Visit
from journal.seal import Ring
from smtpeter import database, wiring
from smtpeter.cli import settings_of
from smtpeter.errors import UserError
from smtpeter.output import AsJson, print_pairs, print_rows, utc
from smtpeter.settings import Settings

app = typer.Typer(help="Tracked links: what they say, and stopping them.", no_args_is_help=True)

COLUMNS = ("destination", "since", "reason")
LONGEST_REASON = 255

Url = Annotated[str, typer.Argument(metavar="URL", help="A link of a sent mail, or the address that links lead to.")]


@app.command()
def disable(
    context: typer.Context,
    url: Url,
    reason: Annotated[str, typer.Option(help="Why, for those who look at the list.")] = "",
) -> None:
    """Send nobody to an address any more, whichever mail leads there; visitors get 410 within a second."""
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise UserError(f"a reason takes up to {LONGEST_REASON} printable characters")
    settings = settings_of(context)
    destination = _destination(settings, url)
    store = database.open_journal(settings)
    try:
        changed = store.disable_link(destination, int(time.time()), reason)
    finally:
        store.close()
    typer.echo(f"nobody is sent to {destination} any more" if changed else f"{destination} was disabled already")


@app.command()
def enable(context: typer.Context, url: Url) -> None:
    """Send visitors to an address again."""
    settings = settings_of(context)
    destination = _destination(settings, url)
    store = database.open_journal(settings)
    try:
        changed = store.enable_link(destination)
    finally:
        store.close()
    if not changed:
        raise UserError(f"{destination} is not disabled; `smtpeter link list` shows what is")
    typer.echo(f"visitors are sent to {destination} again")


@app.command("list")
def list_links(context: typer.Context, as_json: AsJson = False) -> None:
    """List the addresses that nobody is sent to."""
    store = database.open_journal(settings_of(context))
    try:
        found = store.disabled_links()
    finally:
        store.close()
    rows = [{"destination": link.destination, "since": utc(link.since), "reason": link.reason} for link in found]
    print_rows(rows, COLUMNS, as_json=as_json, empty="no link is disabled; `smtpeter link disable URL` stops one")


@app.command()
def show(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="A link or picture of a sent mail.")],
    as_json: AsJson = False,
) -> None:
    """Show what a tracked link says: the recipient's message, the number of the link, where it leads."""
    found = unseal(wiring.ring_file(settings_of(context)).current(), url)
    pairs: dict[str, Any] = {"kind": "hosted image"}
    if isinstance(found, HostedImage):
        pairs["name"] = found.name
        visit = found.visit
    else:
        visit = found
        if visit is None:
            raise UserError(_not_ours(url))
        pairs["kind"] = ("image" if visit.number else "pixel") if visit.image else "link"
    if visit is not None:
        pairs |= {"message": visit.recipient.hex(), "number": visit.number}
        if visit.destination:
            pairs["destination"] = visit.destination
    print_pairs(pairs, as_json=as_json)


def unseal(ring: Ring, url: str) -> Visit | HostedImage | None:
    """What a URL of ours says, or None where it is none. A hosted image that names a recipient wrongly is none."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return None
    path, query = (text.encode("utf-8", "surrogateescape") for text in (parts.path, parts.query))
    hosted = links.read_hosted(ring, path)
    if hosted is not None:
        return None if hosted.forged else hosted
    return links.read_pixel(ring, path) or links.read(ring, path, query)


def _destination(settings: Settings, url: str) -> str:
    """Where a link of ours leads, or the address itself, as links to it have it. Raises UserError."""
    found = unseal(wiring.ring_file(settings).current(), url)
    if isinstance(found, Visit):
        if not found.destination:
            raise UserError(f"{url!r} is the pixel of a mail and leads nowhere; only links can be disabled")
        return found.destination
    try:
        destination = target(url, unicode=True)
    except Untracked as error:
        raise UserError(f"no link of ours leads to {url!r}: {error}") from error
    if destination is None:
        raise UserError(f"{url!r} is no address of the web; give one that begins with http:// or https://")
    if host_of(destination) in _click_hosts(settings):
        raise UserError(
            f"{url!r} is a picture that is kept here; only links can be disabled" if found is not None else _not_ours(url)
        )
    return destination


def _click_hosts(settings: Settings) -> set[str]:
    store = database.open_store(settings)
    try:
        return {settings.click_host.lower(), *(domain.clicks for domain in store.domains() if domain.clicks)}
    finally:
        store.close()


def _not_ours(url: str) -> str:
    return f"{url!r} is no link that was made here; was it copied whole, and is its key still in the ring?"
