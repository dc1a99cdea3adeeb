"""The canary: a small message that a customer might send, and what must have become of it on its way."""

import re
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.message import Message
from email.utils import format_datetime
from html import unescape

from policy.options import HEADER_PREFIX

TAG = "canary"
_HREF = re.compile(r'href="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One canary; `token` is in nothing else, `domain` the sender's domain."""

    token: str
    sender: str
    recipient: str

    @property
    def destination(self) -> str:
        """Where its only link leads. Nobody follows it to its end."""
        return f"https://www.{self.sender.rpartition('@')[2]}/canary/{self.token}?a=1&b=2"

    def text(self, now: datetime) -> bytes:
        """The message as it is sent, with two control fields: one that is only removed, one that changes an option."""
        header = (
            f"From: Canary <{self.sender}>",
            f"To: <{self.recipient}>",
            f"Subject: canary {self.token}",
            f"Date: {format_datetime(now)}",
            f"Message-ID: <{self.token}@{self.sender.rpartition('@')[2]}>",
            f"X-SMTPeter-Tags: {TAG}",
            "X-SMTPeter-TrackClicks: on",
            "MIME-Version: 1.0",
            "Content-Type: text/html; charset=utf-8",
        )
        link = self.destination.replace("&", "&amp;")
        body = f'<html><body><p>This message looks after the service: <a href="{link}">link</a>.</p></body></html>'
        return "\r\n".join((*header, "", body, "")).encode()


def control_fields(raw: bytes) -> list[str]:
    """The names of the control fields that a message still has."""
    return [name for name in message_from_bytes(raw).keys() if name.lower().startswith(HEADER_PREFIX)]  # noqa: SIM118  # no dict


def links(raw: bytes) -> list[str]:
    """Where the links of a message with one HTML part lead."""
    message: Message = message_from_bytes(raw)
    content = message.get_payload(decode=True)
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else ""
    return [unescape(found) for found in _HREF.findall(text)]
