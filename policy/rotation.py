"""Keys that change by themselves: which of a domain's keys are which, when they move on, and what they are then.

Of each algorithm there are up to three, under three selectors that the domain's owner delegates once (CNAME): the previous key
signs no more and is published for mail that is still on its way, the current one signs, the next one is published so that
everybody has it when it begins to sign. A move takes the previous one away, makes each of the others what comes after it, and
puts a new one in the free place. It happens when each has been what it is for a period; one that comes late harms nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from policy.domains import Algorithm, SigningKey

PLACES = ("zero", "one", "two")

Make = Callable[[Algorithm, str], SigningKey]
"""Makes a new rotating key of that algorithm under that selector, published from now on, neither active nor retired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The rotating keys of one algorithm. Only `current` signs."""

    previous: SigningKey | None
    current: SigningKey
    next: SigningKey


def selectors(algorithm: Algorithm) -> tuple[str, ...]:
    """The selectors of the rotating keys of an algorithm, in the order they are used."""
    return PLACES if algorithm is Algorithm.RSA else tuple(f"{place}-{algorithm.value}" for place in PLACES)


RESERVED = frozenset(selector for algorithm in Algorithm for selector in selectors(algorithm))


def turns(keys: Iterable[SigningKey]) -> dict[Algorithm, Turn]:
    """The rotating keys among `keys`, all of one domain. Raises ValueError where they are not as a move leaves them."""
    found: dict[Algorithm, Turn] = {}
    rotating = [key for key in keys if key.rotates]
    for algorithm in Algorithm:
        ours = [key for key in rotating if key.algorithm is algorithm]
        if not ours:
            continue
        current = [key for key in ours if key.active is not None and key.retired is None]
        previous = [key for key in ours if key.retired is not None]
        waiting = [key for key in ours if key.active is None and key.retired is None]
        if len(current) != 1 or len(previous) > 1 or len(waiting) != 1:
            domain = ours[0].domain
            raise ValueError(f"the {algorithm.value} keys of {domain} are not in the order that a rotation leaves them in")
        found[algorithm] = Turn(previous=previous[0] if previous else None, current=current[0], next=waiting[0])
    return found


def first(algorithms: Iterable[Algorithm], make: Make, now: int) -> tuple[SigningKey, ...]:
    """The keys of a domain that begins: of each algorithm one that signs at once, and the next."""
    return tuple(
        key
        for algorithm in algorithms
        for signing, waiting, _ in [selectors(algorithm)]
        for key in (replace(make(algorithm, signing), active=now), make(algorithm, waiting))
    )


def due_at(keys: Iterable[SigningKey], *, period: int, by_sight: bool = False) -> int | None:
    """When the rotating keys of a domain are to move on, None where it has none. Raises ValueError like `turns`.

    `period` is in seconds. With `by_sight` a next key counts as published since the DNS was seen to do so; None before that.
    """
    times: list[int | None] = []
    for turn in turns(keys).values():
        since = turn.next.seen if by_sight else turn.next.created
        if since is None:
            return None
        times += [since, turn.current.active, None if turn.previous is None else turn.previous.retired]
    return max((time + period for time in times if time is not None), default=None)


def move(keys: Iterable[SigningKey], make: Make, now: int) -> tuple[SigningKey, ...]:
    """The keys of a domain after a move, those that do not rotate as they were. Raises ValueError like `turns`."""
    keys = tuple(keys)
    moved = [key for key in keys if not key.rotates]
    for algorithm, turn in turns(keys).items():
        places, taken = selectors(algorithm), (turn.current.selector, turn.next.selector)
        free = next(place for place in places if place not in taken)
        moved += [replace(turn.current, retired=now), replace(turn.next, active=now), make(algorithm, free)]
    return tuple(moved)
