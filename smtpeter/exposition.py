"""How Prometheus gets the numbers: one address for all processes of the host. With policy.counting the only import of
prometheus_client.

Each process counts in files of its own. The files of processes that have ended are added up in one, so that a worker that dies
every second does not fill the folder, and no number falls.
"""

import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from prometheus_client import REGISTRY, CollectorRegistry, Metric, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from smtpeter.host_numbers import Number

TRIES = 100
ENDED = "ended"  # in place of a process id
TIDY_SECONDS = 300.0
_LASTING = ("counter_", "histogram_")


# What is added up must not be read in the middle of it.
_alone = threading.Lock()


class Everything(Collector):
    """The numbers of all processes that count in `folder`, and those of the host."""

    def __init__(self, folder: Path | None, numbers: Callable[[], Iterable[Number]]) -> None:
        self._folder, self._numbers = folder, numbers

    def collect(self) -> Iterator[Metric]:
        """What there is now."""
        if self._folder is not None:
            with _alone:
                fold(self._folder)
                counted = merged(self._folder)
            yield from counted
        families: dict[str, GaugeMetricFamily] = {}
        for number in self._numbers():
            names = tuple(number.labels)
            family = families.setdefault(number.name, GaugeMetricFamily(number.name, number.meaning, labels=names))
            family.add_metric([number.labels[name] for name in names], number.value)
        yield from families.values()


def serve(address: str, port: int, folder: str, numbers: Callable[[], Iterable[Number]]) -> None:
    """Answers Prometheus from threads that live as long as the process. Raises OSError where it cannot listen there.

    Signals that are blocked now stay so in the threads. `folder` is where the processes count, "" for nowhere.
    """
    everything = Everything(Path(folder) if folder else None, numbers)
    registry = CollectorRegistry(auto_describe=False) if folder else REGISTRY
    registry.register(everything)
    start_http_server(port, address, registry)


def merged(folder: Path) -> Iterable[Metric]:
    """What the files in a folder come to together, as far as they may be read."""
    for _ in range(TRIES):
        # One that is begun in this moment is empty, and one of a process that ends may be gone.
        with suppress(FileNotFoundError, struct.error):
            found: Iterable[Metric] = MultiProcessCollector.merge([path for path in _files(folder) if os.access(path, os.R_OK)])
            return found
        time.sleep(0.01)
    raise OSError(f"the numbers in {folder} cannot be read: they change all the time")


def keep_tidy(folder: Path) -> None:
    """Adds up what ended processes counted every five minutes, in a thread, for as long as the process lives: nobody may ask."""

    def tidy() -> NoReturn:
        while True:
            time.sleep(TIDY_SECONDS)
            with _alone, suppress(OSError):
                fold(folder)

    threading.Thread(target=tidy, name="tidy", daemon=True).start()


def fold(folder: Path) -> None:
    """Adds the files of ended processes up in one for each kind; what counted only while they were there is gone.

    A process is there as long as its id is taken. If this ends in the middle, a number may be too high, never too low.
    """
    for path in _files(folder):
        process = path.stem.rpartition("_")[2]
        if not process.isdecimal() or _lives(int(process)):
            continue
        with suppress(FileNotFoundError, PermissionError):
            if path.name.startswith(_LASTING):
                # Its own name is free from here on, in case another process gets the same id.
                path.replace(path.with_name(f"{path.stem}.{time.monotonic_ns()}.{ENDED}"))
            elif path.name.startswith("gauge_live"):
                path.unlink()
    for path in sorted(folder.glob(f"*.{ENDED}")):
        with suppress(PermissionError):
            _add(path, folder / f"{path.name.partition('_')[0]}_{ENDED}.db")
            path.unlink()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.db"))


def _add(path: Path, total: Path) -> None:
    sums = MmapedDict(str(total))
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
            sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
    finally:
        sums.close()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
