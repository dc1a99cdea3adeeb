"""A cgroup for each machine: two that booted in the same one would take each other's processes for their own."""

import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def named(machine: str, run: str) -> list[Path]:
    """The places of a machine of a run, below the place of this process, in each hierarchy that systemd uses (cgroups(7))."""
    return [place / f"smtpeter-{machine}-{run}" for place in _places()]


def left_by(run: str) -> list[Path]:
    """What a run that was killed has left."""
    return [found for place in _places() for found in place.glob(f"smtpeter-*-{run}")]


def enter(process: int, cgroups: list[Path]) -> None:
    """Moves a process there."""
    for cgroup in cgroups:
        cgroup.mkdir(exist_ok=True)
        (cgroup / "cgroup.procs").write_text(str(process))


def remove(cgroup: Path) -> bool:
    """Removes it with all below it; whether it is gone. It stays while there are processes in it."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return not cgroup.exists()


def _places() -> list[Path]:
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        names = {"": ("unified", "."), "name=systemd": ("systemd",)}.get(controllers, ())
        mounted = next((_ROOT / name for name in names if (_ROOT / name / "cgroup.procs").exists()), None)
        if mounted is not None:
            found.append(mounted / path.lstrip("/"))
    return found
