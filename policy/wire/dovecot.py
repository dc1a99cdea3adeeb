"""The server side of the Dovecot authentication protocol, client version 1 (Dovecot: doc/auth-protocol.txt).

What Postfix, Exim and chasquid speak to an authentication server: lines of TAB separated fields. Bytes go in, events
come out, and every event carries the bytes that answer it, except Attempt: that one waits for `ok` or `fail`.

Reading is lenient where the protocol grows (unknown commands and attributes are skipped) and strict where requests
could be mixed up: numbers out of range, a number in use, lines and queues beyond their limits raise ProtocolError, and
the connection is over. Closing is also the only way to report trouble of our own, because Postfix takes every FAIL for
a verdict (535) and only a lost connection for a temporary failure (454).

Nothing the client wrote is echoed, but for a user name that cannot be mistaken for a field of its own.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass

from policy.wire.sasl import MECHANISMS, Challenge, Credentials, Mechanism, Step
from policy.wire.sasl import Malformed as MalformedStep

MAJOR, MINOR = 1, 2

# Octets of a line with its LF. Postfix passes on SMTP lines of up to 12288 (smtpd_sasl_response_limit), and one of
# those has to end in a refusal, not in a lost connection; Dovecot takes 16384 too.
MAX_LINE = 16384
MAX_ATTEMPTS = 256  # being compared at once; Postfix has one, Dovecot's proxies have many
MAX_EXCHANGES = 128  # challenged and unanswered; Postfix never says that a client gave up, so the oldest makes room
EXCHANGE_LIFETIME = 330.0  # seconds to answer a challenge: more than Postfix's smtpd_timeout, which ends the session

# One text for every refusal, so that it does not tell which part was wrong.
REASON = "invalid user name or password"

NUMBER = re.compile(rb"[1-9][0-9]{0,9}")
MAX_NUMBER = 2**32 - 1
MECHANISM = re.compile(rb"[A-Za-z0-9_-]{1,20}")  # RFC 4422 3.1
USER = re.compile(r"[A-Za-z0-9._@-]{1,64}")
PLAIN_VALUE = re.compile(rb"[A-Za-z0-9._:%/-]{1,64}")


class ProtocolError(Exception):
    """The client broke the protocol; this connection must be closed. The message holds nothing the client sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An AUTH command. `mechanism` is in upper case; the others are "" where absent or of doubtful shape.

    `service` names the listener, `rip` is the SMTP client's address and `lip` ours; `secured` means TLS is on.
    """

    number: int
    mechanism: str
    service: str = ""
    rip: str = ""
    lip: str = ""
    secured: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenged:
    """The client is asked something; send `reply`."""

    request: Request
    reply: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """The client sent no readable credentials, for the fixed reason `why`; send `reply`. Nothing was compared."""

    request: Request
    why: str
    reply: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Credentials to compare; answer with `ok` or `fail`, or close the connection."""

    request: Request
    credentials: Credentials


Event = Challenged | Malformed | Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    request: Request
    mechanism: Mechanism
    deadline: float


def _number(field: bytes) -> int:
    if not NUMBER.fullmatch(field) or int(field) > MAX_NUMBER:
        raise ProtocolError("request number out of range")
    return int(field)


def _response(field: bytes) -> bytes | None:
    """What the base64 of RFC 4954 4 stands for, None where it is none; "=" is an explicit empty response."""
    try:
        return b"" if field == b"=" else b64decode(field, validate=True)
    except Base64Error:
        return None


def _fail(number: int, user: str = "") -> bytes:
    named = f"\tuser={user}" if USER.fullmatch(user) else ""
    return f"FAIL\t{number}{named}\treason={REASON}\n".encode("ascii")


class Connection:
    """One client. `process` and `serial` are what SPID and CUID tell it, `cookie` is 32 hex digits.

    Times are seconds of one clock of the caller's that never goes back.
    """

    def __init__(self, *, process: int, serial: int, cookie: str) -> None:
        mechanisms = "".join(f"MECH\t{name}\tplaintext\n" for name in MECHANISMS)
        # Sent at once on accept: Exim speaks only after it has read this.
        self.greeting = (
            f"VERSION\t{MAJOR}\t{MINOR}\n{mechanisms}SPID\t{process}\nCUID\t{serial}\nCOOKIE\t{cookie}\nDONE\n"
        ).encode("ascii")
        self._buffer = bytearray()
        self._partial_since: float | None = None
        self._introduced = False
        self._process: bytes | None = None
        # Both in the order they began, which is the order they expire in.
        self._exchanges: dict[int, _Exchange] = {}
        self._attempts: dict[int, Attempt] = {}

    @property
    def partial_since(self) -> float | None:
        """When the line that is still incomplete began, None where there is none."""
        return self._partial_since

    def receive(self, data: bytes, now: float) -> list[Event]:
        """The events in `data`, in order. Raises ProtocolError."""
        self._expire(now)
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        if lines or self._partial_since is None:
            self._partial_since = now if rest else None
        self._buffer = rest
        if any(len(line) >= MAX_LINE for line in (*lines, rest)):
            raise ProtocolError("line too long")
        events = (self._line(bytes(line), now) for line in lines)
        return [event for event in events if event is not None]

    def ok(self, attempt: Attempt, user: str) -> bytes:
        """Accepts an attempt as the login `user`. Empty where the client has cancelled it.

        Raises ValueError for a user name that could forge a field; stored names never can.
        """
        if not USER.fullmatch(user):
            raise ValueError("this user name cannot be sent")
        return f"OK\t{attempt.request.number}\tuser={user}\n".encode("ascii") if self._settle(attempt) else b""

    def fail(self, attempt: Attempt, user: str = "") -> bytes:
        """Refuses an attempt after a comparison, for good. Empty where the client has cancelled it.

        `user` appears in Postfix's log; it is left out unless it is of the plainest shape.
        """
        return _fail(attempt.request.number, user) if self._settle(attempt) else b""

    def _settle(self, attempt: Attempt) -> bool:
        # By identity: after CANCEL the number may belong to another client's request already.
        if self._attempts.get(attempt.request.number) is not attempt:
            return False
        del self._attempts[attempt.request.number]
        return True

    def _expire(self, now: float) -> None:
        while self._exchanges:
            number, exchange = next(iter(self._exchanges.items()))
            if exchange.deadline > now:
                return
            del self._exchanges[number]

    def _line(self, line: bytes, now: float) -> Event | None:
        command, *fields = line.split(b"\t")
        match command:
            case b"VERSION":
                self._version(fields)
            case b"CPID":
                self._cpid(fields)
            case b"AUTH":
                return self._auth(fields, now)
            case b"CONT":
                return self._cont(fields, now)
            case b"CANCEL":
                self._cancel(fields)
        return None

    def _version(self, fields: list[bytes]) -> None:
        # "if the major version differs, the client is disconnected"; minor versions understand each other.
        if not fields or fields[0] != b"%d" % MAJOR:
            raise ProtocolError("major version differs")
        self._introduced = True

    def _cpid(self, fields: list[bytes]) -> None:
        if self._process is not None:
            raise ProtocolError("CPID twice")
        self._process = fields[0] if fields else b""

    def _auth(self, fields: list[bytes], now: float) -> Event:
        if not self._introduced:
            raise ProtocolError("AUTH before VERSION")
        if len(fields) < 2 or not MECHANISM.fullmatch(fields[1]):
            raise ProtocolError("AUTH without a mechanism")
        number = _number(fields[0])
        if number in self._exchanges or number in self._attempts:
            raise ProtocolError("request number in use")
        request, resp = _request(number, fields[1], fields[2:])
        initial = _response(resp) if resp else None
        if resp and initial is None:
            return Malformed(request=request, why="not base64", reply=_fail(number))
        factory = MECHANISMS.get(request.mechanism)
        if factory is None:
            return Malformed(request=request, why="unknown mechanism", reply=_fail(number))
        mechanism = factory()
        return self._advance(request, mechanism, mechanism.start(initial), now)

    def _cont(self, fields: list[bytes], now: float) -> Event:
        if len(fields) != 2:
            raise ProtocolError("CONT without a response")
        exchange = self._exchanges.pop(_number(fields[0]), None)
        if exchange is None:
            raise ProtocolError("CONT without AUTH")
        response = _response(fields[1])
        if response is None:
            request = exchange.request
            return Malformed(request=request, why="not base64", reply=_fail(request.number))
        return self._advance(exchange.request, exchange.mechanism, exchange.mechanism.feed(response), now)

    def _cancel(self, fields: list[bytes]) -> None:
        number = _number(fields[0] if fields else b"")
        self._exchanges.pop(number, None)
        self._attempts.pop(number, None)

    def _advance(self, request: Request, mechanism: Mechanism, step: Step, now: float) -> Event:
        number = request.number
        if isinstance(step, MalformedStep):
            return Malformed(request=request, why=step.why, reply=_fail(number))
        if isinstance(step, Challenge):
            if len(self._exchanges) >= MAX_EXCHANGES:
                del self._exchanges[next(iter(self._exchanges))]
            deadline = now + EXCHANGE_LIFETIME
            self._exchanges[number] = _Exchange(request=request, mechanism=mechanism, deadline=deadline)
            # The second TAB belongs there even before an empty challenge, or Postfix reports a backend error.
            return Challenged(request=request, reply=b"CONT\t%d\t%s\n" % (number, b64encode(step.data)))
        if len(self._attempts) >= MAX_ATTEMPTS:
            raise ProtocolError("too many requests at once")
        attempt = Attempt(request=request, credentials=step)
        self._attempts[number] = attempt
        return attempt


def _request(number: int, mechanism: bytes, fields: list[bytes]) -> tuple[Request, bytes]:
    """The request and the base64 of its initial response, empty where there is none (Exim always sends `resp=`)."""
    values: dict[bytes, bytes] = {}
    for field in fields:
        if b"resp" in values:
            raise ProtocolError("parameters after resp")  # it "must be the last parameter"
        name, _, value = field.partition(b"=")
        values.setdefault(name, value)
    shown = {
        name.decode("ascii"): value.decode("ascii")
        for name in (b"service", b"rip", b"lip")
        if PLAIN_VALUE.fullmatch(value := values.get(name, b""))
    }
    request = Request(number=number, mechanism=mechanism.decode("ascii").upper(), secured=b"secured" in values, **shown)
    return request, values.get(b"resp", b"")
