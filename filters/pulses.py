"""When each worker last got something done: told by the workers, read by their parent."""

import mmap
import struct
import time

_SECONDS = struct.Struct("d")  # of the clock that never goes back, which is the same in all processes; 0 for never


class Pulses:
    """A slot for each of `workers`, in memory that is shared with the processes forked later."""

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, workers * _SECONDS.size)

    def beat(self, worker: int) -> None:
        """Notes that `worker` has got something done."""
        _SECONDS.pack_into(self._memory, worker * _SECONDS.size, time.monotonic())

    def quiet(self) -> float:
        """How many seconds it is that any of them got something done."""
        return time.monotonic() - max(self._all())

    def complete(self) -> bool:
        """Whether all of them have ever got something done."""
        return all(self._all())

    def _all(self) -> list[float]:
        return [seconds for (seconds,) in _SECONDS.iter_unpack(self._memory[:])]
