"""How a look from outside knows that a click host is served by us: the answer to a question that nobody else can answer.

The question is random, so that no answer can be kept and told by another server. What answers is the key ring, so every host
of the service gives the same.
"""

import re

from journal.seal import Ring, octets, written

PATH = b"/.well-known/smtpeter"
_PURPOSE = b"click host"
_QUESTION = re.compile(rb"[A-Za-z0-9]{16,64}")


def proof(ring: Ring, host: str, question: bytes) -> bytes | None:
    """The answer to a question, the query of a request for PATH; None where it is none. `host` is what the Host field says."""
    if not _QUESTION.fullmatch(question):
        return None
    return written(ring.seal(b"", _PURPOSE, _subject(host, question))).encode() + b"\n"


def proves(ring: Ring, host: str, question: bytes, answer: bytes) -> bool:
    """Whether this is our answer to that question."""
    sealed = octets(answer.strip())
    return sealed is not None and ring.unseal(sealed, _PURPOSE, _subject(host, question)) == b""


def _subject(host: str, question: bytes) -> bytes:
    return host.lower().encode() + b" " + question
