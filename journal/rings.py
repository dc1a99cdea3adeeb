"""Do the hosts that share a journal also share the key ring? Each notes fingerprints of its keys in the database.

A host with another ring seals links that the others cannot read, and nobody sees that before somebody clicks. A fingerprint
tells nothing about the key: that is 64 octets of chance.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SQLAlchemyError

from journal.schema import rings
from journal.seal import Ring
from policy.stores import StoreUnavailable
from policy.stores.engine import cause, connect_engine

Prints = Mapping[int, str]
"""Fingerprints of keys by their ids."""


def prints(ring: Ring) -> Prints:
    """The fingerprints of a ring's keys."""
    return {key.id: blake2b(key.secret, digest_size=16, person=b"smtpeter ring").hexdigest() for key in ring.keys}


def differences(own: Prints, others: Mapping[str, Prints]) -> Iterator[str]:
    """A sentence for each host whose ring is another than `own`."""
    for host, found in sorted(others.items()):
        changed = sorted(number for number in own.keys() & found.keys() if own[number] != found[number])
        for words, numbers in (
            (f"{host} has other keys than this host under", changed),
            (f"{host} has keys that this host has not:", sorted(found.keys() - own.keys())),
            (f"{host} has not the keys of this host:", sorted(own.keys() - found.keys())),
        ):
            if numbers:
                yield f"{words} {', '.join(map(str, numbers))}"


class Rings:
    """What the hosts have noted, in a PostgreSQL database whose schema is in place.

    Every method raises StoreUnavailable where the database cannot answer. Nothing is opened before the first call.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect_engine(url)

    def note(self, host: str, found: Prints, now: int) -> None:
        """Notes the keys of a host in place of what was noted before; `now` is UTC seconds since 1970."""
        statement = postgresql.insert(rings).values(host=host, prints=json.dumps(found), noted=now)
        changed = {"prints": statement.excluded.prints, "noted": statement.excluded.noted}
        with self._transaction() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["host"], set_=changed))

    def others(self, host: str, since: int) -> dict[str, Prints]:
        """The keys of all hosts but that one that have noted them since then."""
        statement = sa.select(rings).where(rings.c.host != host, rings.c.noted >= since)
        with self._transaction() as connection:
            found = connection.execute(statement)
            return {row.host: {int(number): text for number, text in json.loads(row.prints).items()} for row in found}

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreUnavailable(cause(error)) from error
