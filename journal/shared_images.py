"""Hosted images in the journal's database, where several hosts share one: each brings its own there, all of them read.

An image is kept in pieces, so that neither side has a large one in memory. The pieces come with one transaction: whoever sees
one of them sees all.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SQLAlchemyError

from journal.schema import images
from policy.stores import StoreUnavailable
from policy.stores.engine import cause, connect_engine


class SharedImages:
    """The images in a PostgreSQL database whose schema is in place.

    Every method raises StoreUnavailable where the database cannot answer, and may be called from several threads. Nothing is
    opened before the first call.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect_engine(url, pooled=True)

    def close(self) -> None:
        """Gives up the connections that are not in use."""
        self._engine.dispose()

    def missing(self, names: Sequence[str]) -> list[str]:
        """Which of these images are not there. A few hundred names at once."""
        statement = sa.select(images.c.name).where(images.c.name.in_(names), images.c.number == 0)
        with self._transaction() as connection:
            there = set(connection.scalars(statement))
        return [name for name in names if name not in there]

    def keep(self, name: str, pieces: Iterable[bytes], created: int) -> None:
        """Adds an image that has at least one octet; nothing happens where it is there. `created` is UTC seconds since 1970.

        `pieces` may raise OSError; then nothing is added.
        """
        statement = postgresql.insert(images).on_conflict_do_nothing()
        with self._transaction() as connection:
            for number, content in enumerate(pieces):
                row = {"name": name, "number": number, "content": content, "created": created}
                if not connection.execute(statement, row).rowcount:
                    return  # another host was faster, and a name tells the content

    def pieces(self, name: str) -> Generator[bytes, None, None]:
        """The octets of an image, none where it is not there."""
        with self._transaction() as connection:
            for number in count():
                wanted = sa.select(images.c.content).where(images.c.name == name, images.c.number == number)
                content = connection.scalar(wanted)
                if content is None:
                    return
                yield content

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreUnavailable(cause(error)) from error
