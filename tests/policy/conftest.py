"""A usage database, and a clock that stands still."""

from collections.abc import Callable
from pathlib import Path

import pytest

from policy.stores.migrate import USAGE, migrate


class Clock:
    """Tells `now`, which a test changes."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def make_clock() -> Callable[[float], Clock]:
    return Clock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of an empty usage database."""
    made = tmp_path / "usage.db"
    migrate(f"sqlite:///{made}", USAGE)
    return made
