"""The tracking host: sends visitors on to where a link leads, shows pictures, and notes each visit.

A raw ASGI application: four kinds of path need no router, and this is answered for every link of every mail. Nothing is
looked up in a database. A redirect goes to what is sealed in the identifier; nothing else in a request changes where.

There is no Referrer-Policy on a redirect. It would keep from the destination what it learns without us: which site the
visitor comes from. Our own URL is no referrer, because nothing is ever shown at it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Container, Mapping
from typing import Any, Protocol

from journal import links
from journal.links import Visit
from journal.records import VisitKind, VisitRecord
from journal.seal import Ring
from web import answers, ask, proof
from web.addresses import Addresses
from web.answers import Answer, Message
from web.elsewhere import Unreachable
from web.fields import FieldReader, Fields

LONGEST = 8192  # octets of path and query
METHODS = ("GET", "HEAD")

_WEB = ("http://", "https://")

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_log = logging.getLogger("smtpeter.web")


class Images(Protocol):
    """What is asked of journal.images.ImageStore."""

    def read(self, name: str) -> bytes | None:
        """The picture of that name, or None where there is none."""


class Elsewhere(Protocol):
    """What is asked of web.elsewhere.Elsewhere."""

    async def read(self, name: str) -> bytes | None:
        """The picture of that name that another host has, or None where none has it. Raises Unreachable."""


class Disabled(Protocol):
    """What is asked of web.disabled.DisabledLinks."""

    destinations: frozenset[str]


class Tracking:
    """The ASGI application. `ring` gives the keys, `record` takes a visit; neither may block.

    `certificates` are the hosts that the web server in front may fetch a certificate for.
    """

    def __init__(
        self,
        *,
        ring: Callable[[], Ring],
        record: Callable[[VisitRecord], None],
        disabled: Disabled,
        images: Images,
        addresses: Addresses,
        elsewhere: Elsewhere | None = None,
        certificates: Container[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ring = ring
        self._record = record
        self._disabled = disabled
        self._images = images
        self._elsewhere = elsewhere
        self._certificates = certificates
        self._addresses = addresses
        self._now = now
        self._fields = FieldReader()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        answer = self.at_once(scope)
        if answer is None:
            answer = await self._picture(scope)
        for message in answer.messages():
            await send(message)

    def at_once(self, scope: Scope) -> Answer | None:
        """The answer, or None where it is a picture, which has to be read. Never raises."""
        try:
            return self._answer(scope)
        except Exception:  # noqa: BLE001  # the edge of this process: a visitor is told to come again
            _log.exception("a request could not be answered")
            return answers.TROUBLE

    def _answer(self, scope: Scope) -> Answer | None:
        if scope["method"] not in METHODS:
            return answers.NOT_ALLOWED
        path, query = scope["raw_path"], scope["query_string"]
        if len(path) + len(query) >= LONGEST:
            return answers.TOO_LONG
        fields, forwarded = self._fields.read(scope["headers"])
        if fields.refusal:
            return answers.REFUSALS[fields.refusal]
        visit = links.read(self._ring(), path, query)
        if visit is None:
            return self._no_link(scope, fields, forwarded)
        return self._redirect(visit, scope, fields, forwarded)

    def _redirect(self, visit: Visit, scope: Scope, fields: Fields, forwarded: str) -> Answer:
        destination = visit.destination
        # It is always so (filters.target); but nothing else may ever become a Location.
        if not destination.isprintable() or not destination[:8].lower().startswith(_WEB):
            return answers.NOT_FOUND
        if destination in self._disabled.destinations:
            return answers.GONE  # nobody was sent anywhere, so there is no visit
        self._note(VisitKind.OPEN if visit.image else VisitKind.CLICK, visit, scope, fields, forwarded)
        return answers.redirect(destination)

    def _no_link(self, scope: Scope, fields: Fields, forwarded: str) -> Answer | None:
        path = scope["raw_path"]
        if links.is_pixel(path):
            visit = links.read_pixel(self._ring(), path)
            if visit is not None:
                self._note(VisitKind.OPEN, visit, scope, fields, forwarded)
            return answers.PIXEL
        if links.read_hosted(self._ring(), path) is not None:
            return None
        if path == proof.PATH:
            proven = proof.proof(self._ring(), fields.host, scope["query_string"])
            return answers.NOT_FOUND if proven is None else answers.text(proven)
        if path == ask.PATH:
            return self._may_be_fetched(scope, fields)
        return answers.ROBOTS if path == b"/robots.txt" else answers.NOT_FOUND

    def _may_be_fetched(self, scope: Scope, fields: Fields) -> Answer:
        """Whether the web server in front may fetch a certificate."""
        peer = scope["client"][0] if scope["client"] else ""
        direct = ask.is_direct(peer, fields.host, scope["headers"])
        return answers.YES if direct and ask.asked(scope["query_string"]) in self._certificates else answers.NOT_FOUND

    async def _picture(self, scope: Scope) -> Answer:
        try:
            fields, forwarded = self._fields.read(scope["headers"])
            hosted = links.read_hosted(self._ring(), scope["raw_path"])
            if hosted is None:
                return answers.NOT_FOUND
            if hosted.visit is not None:
                self._note(VisitKind.OPEN, hosted.visit, scope, fields, forwarded)
            keep = hosted.visit is None and not hosted.forged
            if keep and answers.etag(hosted.name) in fields.if_none_match:
                return answers.unchanged(hosted.name)
            octets = await asyncio.to_thread(self._images.read, hosted.name)
            if octets is None and self._elsewhere is not None:
                octets = await self._elsewhere.read(hosted.name)
        except Unreachable:
            return answers.TROUBLE  # it may be there; nobody is to remember that it is not
        except Exception:  # noqa: BLE001  # as above
            _log.exception("a picture could not be shown")
            return answers.TROUBLE
        return answers.NOT_FOUND if octets is None else answers.picture(hosted.name, octets, keep=keep)

    def _note(self, kind: VisitKind, visit: Visit, scope: Scope, fields: Fields, forwarded: str) -> None:
        if scope["method"] != "GET":
            return
        # A client on a unix socket has no address.
        ip, believed = self._addresses.of(scope["client"][0] if scope["client"] else "", forwarded)
        protocol = believed and fields.protocol or scope["scheme"]
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        self._record(
            VisitRecord(
                kind=kind,
                message=visit.recipient.hex(),
                time=int(self._now()),
                number=visit.number,
                url=f"{protocol}://{fields.host}{path}?{query}" if query else f"{protocol}://{fields.host}{path}",
                destination=visit.destination,
                ip=ip,
                protocol=protocol,
                headers=fields.text,
                machine=fields.machine,
            )
        )
