"""A milter that does nothing, in as many processes as ours: `python -m bench.throughput.noop SOCKET WORKERS`.

It asks Postfix for no callback but the end of the message, so it is the least that any milter in Python costs.
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


def serve(path: str, workers: int) -> None:
    """Serves the socket until SIGTERM."""
    Milter.factory = Nothing
    milter.set_connect_callback(Milter.connect_callback)
    milter.set_eom_callback(lambda context: context.getpriv().eom())
    milter.set_close_callback(Milter.close_callback)
    milter.setconn(f"unix:{path}")
    milter.setbacklog(512)
    milter.register("noop", negotiate=Milter.negotiate_callback)
    os.umask(0)
    milter.opensocket(True)
    Prefork(workers, Ledger(workers), lambda _: milter.main()).run()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
