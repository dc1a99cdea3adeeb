"""The least that a milter in Python costs, in as many processes as ours: `python -m bench.throughput.noop SOCKET WORKERS WHAT`.

`nothing` asks Postfix for no callback but the end of the message. `replace` takes header and body, and gives the same body
back with one more field: what a milter that changes messages does at least.
"""

import os
import sys

import Milter
import milter

from filters.prefork import Prefork
from filters.runner import Ledger


class Nothing(Milter.Base):
    """Declines every step of the session that can be declined."""

    connect = Milter.nocallback(Milter.Base.connect)
    hello = Milter.nocallback(Milter.Base.hello)
    envfrom = Milter.nocallback(Milter.Base.envfrom)
    envrcpt = Milter.nocallback(Milter.Base.envrcpt)
    data = Milter.nocallback(Milter.Base.data)
    header = Milter.nocallback(Milter.Base.header)
    eoh = Milter.nocallback(Milter.Base.eoh)
    body = Milter.nocallback(Milter.Base.body)
    unknown = Milter.nocallback(Milter.Base.unknown)

    def eom(self) -> int:
        """The message may pass."""
        return int(Milter.CONTINUE)


class Replacing(Nothing):
    """Replaces each body by itself."""

    def __init__(self) -> None:
        self._body: list[bytes] = []

    @Milter.noreply
    def header(self, _name: str, _value: bytes) -> int:
        """A header field, which has to be sent over."""
        return int(Milter.CONTINUE)

    header_bytes = header

    @Milter.noreply
    def body(self, chunk: bytes) -> int:
        """A piece of the body."""
        self._body.append(chunk)
        return int(Milter.CONTINUE)

    def eom(self) -> int:
        """One field more, and the body again."""
        self.addheader("X-Bench", "the same body")
        self.replacebody(b"".join(self._body))
        self._body.clear()
        return int(Milter.CONTINUE)


WAYS = {"nothing": Nothing, "replace": Replacing}


def serve(path: str, workers: int, what: str) -> None:
    """Serves the socket until SIGTERM."""
    Milter.factory = WAYS[what]
    Milter.set_flags(Milter.ADDHDRS | Milter.CHGBODY)
    milter.set_connect_callback(Milter.connect_callback)
    milter.set_header_callback(lambda context, name, value: context.getpriv().header_bytes(name, value))
    milter.set_body_callback(lambda context, chunk: context.getpriv().body(chunk))
    milter.set_eom_callback(lambda context: context.getpriv().eom())
    milter.set_close_callback(Milter.close_callback)
    milter.setconn(f"unix:{path}")
    milter.setbacklog(512)
    milter.register("noop", negotiate=Milter.negotiate_callback)
    os.umask(0)
    milter.opensocket(True)
    Prefork(workers, Ledger(workers), lambda _: milter.main()).run()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
