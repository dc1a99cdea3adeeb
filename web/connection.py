"""A connection of the web server: uvicorn's, with a short way for what is answered at once, and with limits that it lacks.

Most requests are answered without waiting for anything. For these the application has a method `at_once`, which is given
the ASGI scope and returns the answer; then there is no task, event and timer for the request, which cost more than what the
application does. Where it returns None, and in every unusual case, the request goes uvicorn's way to the application.

The limits: how long a request may take to arrive, how large its head may be, how long an answer may take to leave, and how
long a connection may be idle.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from web.answers import Answer

LARGEST_HEAD = 32_768  # octets of request line and fields; a site's cookies may come along
HEAD_SECONDS = 10.0
ANSWER_SECONDS = 120.0  # a picture over a slow line
SLICE = 16_384  # octets that are read at once
REQUEST_TIMEOUT, URI_TOO_LONG, FIELDS_TOO_LARGE = 408, 414, 431

# What uvicorn keeps for each request, as it is after the answer. Nobody waits for its event.
_ANSWERED: Any = SimpleNamespace(response_complete=True, message_event=SimpleNamespace(set=lambda: None))


class Prompt(Protocol):
    """An ASGI application that answers at once where it can."""

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answers a request."""

    def at_once(self, scope: Mapping[str, Any]) -> Answer | None:
        """The answer, or None where it has to wait for something. Never raises.

        The scope has what the request says and who the client is; nothing of ASGI's versions and extensions.
        """


class Connection(HttpToolsProtocol):
    """One connection. Somebody has to call `expire` about once a second. The application is a `Prompt`."""

    _common: ClassVar[tuple[object, bytes]] = (None, b"")  # uvicorn's list, and the same as it is sent

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.cycle = _ANSWERED
        self._in_head = True
        self._unread = 0  # octets since the last complete head
        self._heads = 0  # complete ones
        self._state = (-1, False)  # as `expire` saw it last: complete heads, and whether one is arriving
        self._since = 0.0  # when `expire` saw it first

    def data_received(self, data: bytes) -> None:
        """Reads no more than a slice at once, so that a head is refused before all of it is in memory."""
        self._unread += len(data)
        if self._unread <= SLICE:
            super().data_received(data)
            return
        self._unread -= len(data)
        for at in range(0, len(data), SLICE):
            if not self.transport.is_closing():
                self._receive(data[at : at + SLICE])

    def on_message_begin(self) -> None:
        """A request begins to arrive. What uvicorn prepares for it waits until it is known to go that way."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head = True

    def on_headers_complete(self) -> None:
        """The head of a request is there: it is answered now, or uvicorn begins a task for it."""
        self._in_head = False
        self._unread = 0
        self._heads += 1
        if self.transport.is_closing() or self._answer_at_once():
            return
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers += headers  # the new list is in the scope
        super().on_headers_complete()

    def expire(self, now: float) -> None:
        """Ends the connection where it has taken too long. `now` is the event loop's time."""
        arriving = self._unread > 0 or self._heads == 0
        state = (self._heads, arriving)
        if state != self._state:
            self._state, self._since = state, now
            return
        answered = self.cycle.response_complete
        limit = HEAD_SECONDS if arriving else self.timeout_keep_alive if answered else ANSWER_SECONDS
        if now - self._since <= limit:
            return
        if self.transport.is_closing() or not answered:
            self.transport.abort()  # who does not read the answer would keep it here for ever
        elif arriving:
            self._refuse(REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _receive(self, data: bytes) -> None:
        self._unread += len(data)
        if self._unread <= LARGEST_HEAD:
            super().data_received(data)
        elif self._in_head:
            self._refuse(FIELDS_TOO_LARGE if self.headers else URI_TOO_LONG)
        elif self.cycle.response_complete:
            self.transport.close()  # an endless content behind its answer
        else:
            self.cycle.keep_alive = False  # the answer is on its way, and is the last

    def _answer_at_once(self) -> bool:
        url = self.url
        if (
            not self.cycle.response_complete  # its answer comes first
            or self.flow.write_paused  # nobody reads the answers
            or not url.startswith(b"/")  # a whole URL, as for a proxy
            or b"#" in url
        ):
            return False
        path, _, query = url.partition(b"?")
        method = self.parser.get_method().decode("ascii")
        app: Prompt = self.app
        answer = app.at_once(
            {
                "method": method, "raw_path": path, "query_string": query, "headers": self.headers,
                "client": self.client, "scheme": self.scheme,
            }
        )  # fmt: skip
        if answer is None:
            return False
        self._send(answer, content=method != "HEAD")
        return True

    def _send(self, answer: Answer, *, content: bool) -> None:
        crowded = self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency
        close = answer.close or crowded or not self.parser.should_keep_alive()
        end = b"connection: close\r\n\r\n" if close else b"\r\n"
        octets = (answer.head, self._common_fields(), end, answer.content if content else b"")
        self.transport.write(b"".join(octets))
        self.server_state.total_requests += 1
        if close:
            self.transport.close()

    def _common_fields(self) -> bytes:
        """The fields of every answer, which uvicorn makes once a second: the date."""
        fields = self.server_state.default_headers
        if fields is not Connection._common[0]:
            Connection._common = fields, b"".join(b"%b: %b\r\n" % field for field in fields)
        return Connection._common[1]

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
