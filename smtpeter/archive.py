"""The form of a backup: a .tar.gz whose last member, the manifest, tells what is in it, each file with its size and SHA-256.

It is written and read as a stream, whatever its size. Nothing of it is believed before it was read to its end.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

FORMAT = 1
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 256 * 1024 * 1024  # octets; about 100 for each file
PIECE = 1024 * 1024  # octets in memory at once
FILE_MODE = 0o600
SHARED_FILE, SHARED_FOLDER = 0o640, 0o750  # of files in folders, as journal.spool and journal.images make theirs

# Neither absolute nor upwards, and no name that is hidden.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,199}){0,3}")


class DamagedArchive(Exception):
    """The file is no backup, or not the whole of one; the message is a part of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A file in a backup: octets, and their SHA-256 in hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself. `created` is UTC, seconds since 1970; `schemas` are versions by database.

    `left_out` are sentences about what belongs to the service and is not in it.
    """

    version: str
    created: int
    host: str
    schemas: dict[str, str]
    left_out: tuple[str, ...]
    files: dict[str, Item]

    @property
    def size(self) -> int:
        """Octets of all files."""
        return sum(item.size for item in self.files.values())


class Writer:
    """Writes a backup into an open file, which stays open. A context: left without `finish`, it is no backup."""

    def __init__(self, file: IO[bytes]) -> None:
        self.files: dict[str, Item] = {}
        self._gzip = gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0, compresslevel=6)
        self._tar = tarfile.TarFile(fileobj=self._gzip, mode="w")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # what cannot be written is lost anyway
            self._gzip.close()

    def add(self, name: str, source: Path) -> None:
        """Adds a file as long as it is now. Raises FileNotFoundError, and OSError where it shrinks meanwhile."""
        with source.open("rb") as file:
            found = os.fstat(file.fileno())
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = found.st_size, int(found.st_mtime), 0o600
            member.uname = _owner(source)
            self._add(member, file)

    def add_content(self, name: str, content: bytes) -> None:
        """Adds a file with that content."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o600
        self._add(member, io.BytesIO(content))

    def _add(self, member: tarfile.TarInfo, file: IO[bytes]) -> None:
        if not _NAME.fullmatch(member.name) or member.name in self.files:
            raise ValueError(f"{member.name!r} cannot be the name of a file in a backup")
        digest = hashlib.sha256()
        self._tar.addfile(member, _Tee(file, digest.update))
        _forget_members(self._tar)
        self.files[member.name] = Item(size=member.size, sha256=digest.hexdigest())

    def finish(self, *, version: str, created: int, host: str, schemas: dict[str, str], left_out: tuple[str, ...]) -> None:
        """Adds the manifest and ends the archive."""
        made = Manifest(version=version, created=created, host=host, schemas=schemas, left_out=left_out, files=dict(self.files))
        self.add_content(MANIFEST, json.dumps({"format": FORMAT, **asdict(made)}, indent=1).encode())
        self._tar.close()
        self._gzip.close()


class _Tee:
    """A file whose content is also handed to somebody else as it is read."""

    def __init__(self, file: IO[bytes], seen: Callable[[bytes], object]) -> None:
        self._file, self._seen = file, seen

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._seen(content)
        return content


def read_manifest(path: Path) -> Manifest:
    """The manifest of a backup in which every octet is as it was written. Raises DamagedArchive, and OSError."""
    found: dict[str, Item] = {}
    text = b""
    with _members(path) as members:
        for member, content in members:
            if text:
                raise DamagedArchive("there is something behind its manifest")
            if member.name == MANIFEST:
                if member.size > LARGEST_MANIFEST:
                    raise DamagedArchive("its manifest is too large")
                text = content.read()
            elif member.name in found:
                raise DamagedArchive(f"{member.name} is in it twice")
            else:
                found[member.name] = _item(content, lambda piece: None)
    manifest = _parsed(text)
    different = sorted(name for name in found.keys() | manifest.files.keys() if found.get(name) != manifest.files.get(name))
    if different:
        raise DamagedArchive(f"{different[0]} is not what its manifest says")
    return manifest


def unpack(path: Path, manifest: Manifest, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Writes the files of a backup into a folder, those that are `wanted`, each with its owner where that user is known here.

    Raises DamagedArchive and OSError, with some of them written.
    """
    with _members(path) as members:
        for member, content in members:
            if member.name == MANIFEST or not wanted(member.name):
                continue
            target = folder / member.name
            for parent in reversed(target.relative_to(folder).parents[:-1]):
                if not (folder / parent).exists():
                    (folder / parent).mkdir()
                    _give(folder / parent, member.uname if len(parent.parts) > 1 else "", SHARED_FOLDER)
            with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:  # noqa: PTH123
                if _item(content, file.write) != manifest.files.get(member.name):
                    raise DamagedArchive(f"{member.name} is not what its manifest says")
                file.flush()
                os.fsync(file.fileno())
            _give(target, member.uname, SHARED_FILE if target.parent != folder else FILE_MODE)


def _item(content: IO[bytes], write: Callable[[bytes], object]) -> Item:
    digest, size = hashlib.sha256(), 0
    while piece := content.read(PIECE):
        digest.update(piece)
        size += len(piece)
        write(piece)
    return Item(size=size, sha256=digest.hexdigest())


@contextmanager
def _members(path: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes]]]]:
    """The files in an archive; behind the last one the archive is read to its end, where gzip keeps a sum of everything."""
    with path.open("rb") as file:
        try:
            with gzip.GzipFile(fileobj=file) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
                yield _files(tar)
                while plain.read(PIECE):
                    pass
        except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, OverflowError) as error:
            raise DamagedArchive("it cannot be read to its end") from error


def _files(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    while (member := tar.next()) is not None:
        _forget_members(tar)
        content = tar.extractfile(member) if member.type == tarfile.REGTYPE else None
        if content is None or not _NAME.fullmatch(member.name):
            raise DamagedArchive(f"{member.name!r} is nothing that a backup has in it")
        yield member, content


def _forget_members(tar: tarfile.TarFile) -> None:
    """The library remembers every member; of a hundred thousand images that is a lot of memory."""
    members: list[tarfile.TarInfo] = tar.members  # type: ignore[attr-defined]  # the stubs leave it out
    members.clear()


def _parsed(text: bytes) -> Manifest:
    try:
        found: dict[str, Any] = json.loads(text)
        if found.pop("format") != FORMAT:
            raise DamagedArchive("it has the form of a later release")
        files = {name: Item(**item) for name, item in found.pop("files").items()}
        return Manifest(files=files, left_out=tuple(found.pop("left_out")), **found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedArchive("it has no manifest") from error


def _owner(path: Path) -> str:
    with suppress(KeyError):
        return path.owner()
    return ""


def _give(path: Path, owner: str, mode: int) -> None:
    """Gives a file or folder its mode, whatever the umask is, and its owner, where there is one of that name and we may."""
    path.chmod(path.stat().st_mode & stat.S_ISGID | mode)  # with that bit a folder hands on its group
    if owner and os.geteuid() == 0:
        with suppress(LookupError):
            shutil.chown(path, user=owner)
