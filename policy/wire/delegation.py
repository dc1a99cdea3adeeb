"""The Postfix policy delegation protocol, server side (Postfix: SMTPD_POLICY_README).

A request is a block of name=value lines that an empty line ends; the answer is one action line and an empty line.
Attributes we do not know are skipped. A block that cannot be read with certainty raises ProtocolError and ends the
connection, upon which Postfix answers with a temporary failure. Answers are built from fixed texts of ours alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from policy.reply import Reply

# Octets of a block that is not complete. Postfix sends about 1 kB; the rest is room for one absurd value.
MAX_BLOCK = 128 * 1024
MAX_ATTRIBUTES = 256  # Postfix 3.10 sends about 40
ACTION = re.compile(r"[ -~]{1,510}")  # RFC 5321 4.5.3.1.5: a reply line has at most 512 octets, CRLF included


class ProtocolError(Exception):
    """The client broke the protocol; this connection must be closed. The message holds nothing the client sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What Postfix asks about one command of a session; fields are named as in SMTPD_POLICY_README, "" where absent.

    `encrypted` tells whether the session uses TLS (encryption_protocol is not empty). Text is what the SMTP client
    sent: compare it or show it safely, never put it in an answer. Bytes that are no UTF-8 are surrogates (PEP 383).
    """

    protocol_state: str = ""
    client_address: str = ""
    sender: str = ""
    recipient: str = ""
    queue_id: str = ""
    instance: str = ""
    sasl_username: str = ""
    policy_context: str = ""
    server_port: str = ""
    helo_name: str = ""
    size: str = ""
    encrypted: bool = False

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> Self:
        """The request behind the attributes of one block. Raises ProtocolError for another kind of request."""
        if attributes.get("request") != "smtpd_access_policy":
            raise ProtocolError("no access policy request")
        values = {name: attributes[name] for name in cls.__slots__ if name in attributes and name != "encrypted"}
        return cls(encrypted=bool(attributes.get("encryption_protocol")), **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An answer as access(5) has it: `DUNNO`, or reply code, enhanced code and text."""

    text: str


DUNNO = Action(text="DUNNO")


def refuse(reply: Reply) -> Action:
    """The action that has Postfix send `reply`."""
    return Action(text=str(reply))


def encode(action: Action) -> bytes:
    """The answer as it is sent. Raises ValueError for anything but one short line of printable ASCII."""
    if not ACTION.fullmatch(action.text):
        raise ValueError("an action is one line of printable ASCII")
    return f"action={action.text}\n\n".encode("ascii")


def _attributes(block: bytes) -> dict[str, str]:
    attributes: dict[str, str] = {}
    lines = block.split(b"\n")
    if len(lines) > MAX_ATTRIBUTES:
        raise ProtocolError("too many attributes")
    for line in lines:
        # "name and value are separated by the first =": values may hold more of them.
        name, equals, value = line.decode("utf-8", "surrogateescape").partition("=")
        if not equals or name in attributes:
            raise ProtocolError("not an attribute, or one given twice")
        attributes[name] = value
    return attributes


class Parser:
    """Turns the bytes of one connection into requests. Times are seconds of one clock of the caller's."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._partial_since: float | None = None

    @property
    def partial_since(self) -> float | None:
        """When the block that is still incomplete began, None where there is none."""
        return self._partial_since

    def receive(self, data: bytes, now: float) -> list[Request]:
        """The requests that `data` completes, in order. Raises ProtocolError."""
        searched = max(len(self._buffer) - 1, 0)
        self._buffer += data
        requests: list[Request] = []
        while (end := self._buffer.find(b"\n\n", searched)) >= 0:
            block = bytes(self._buffer[:end])
            if len(block) > MAX_BLOCK:
                raise ProtocolError("request too long")
            requests.append(Request.of(_attributes(block)))
            del self._buffer[: end + 2]
            searched = 0
        if len(self._buffer) > MAX_BLOCK:
            raise ProtocolError("request too long")
        if requests or self._partial_since is None:
            self._partial_since = now if self._buffer else None
        return requests
