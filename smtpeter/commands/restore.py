"""`smtpeter restore`: a backup becomes the data folder again."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from policy.stores import StoreUnavailable
from smtpeter import archive, database, in_use, restoring, snapshot
from smtpeter.archive import DamagedArchive, Manifest
from smtpeter.cli import settings_of
from smtpeter.errors import UserError
from smtpeter.output import octets, utc
from smtpeter.restoring import Target
from smtpeter.settings import Settings

_STAGE = ".restore-"
_COMPARED = frozenset(("policy.db", snapshot.RING))


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `smtpeter backup` wrote.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the backup and tell what would happen.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Where there is something already: move it aside.")] = False,
    keep_removed: Annotated[
        bool, typer.Option("--keep-removed", help="Bring back also what was removed, disabled or suspended after the backup.")
    ] = False,
) -> None:
    """Put a backup in place of what is there, while no service runs. Logins that were removed since come back disabled."""
    settings = settings_of(context)
    manifest = _manifest(file)
    typer.echo(f"backup of {manifest.host}, {utc(manifest.created)} UTC, release {manifest.version}: {octets(manifest.size)}")
    restoring.check_schemas(manifest)
    found = restoring.targets(settings, manifest)
    taken = [path for target in found for path in target.present()]
    if taken and not force:
        raise UserError(f"there is {taken[0]} already; --force moves it aside, with what belongs to it")
    with _trouble(settings):
        if dry_run:
            _rehearse(settings, file, manifest, keep=keep_removed)
            return
        settings.data.mkdir(parents=True, exist_ok=True)
        with in_use.nobody_else(settings):
            aside = _replace(settings, file, manifest, found, keep=keep_removed)
    database.prepare(settings)
    _tell(settings, manifest, aside)


def _manifest(file: Path) -> Manifest:
    try:
        return archive.read_manifest(file)
    except DamagedArchive as error:
        raise UserError(f"{file} is no backup, or damaged: {error}") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


@contextmanager
def _trouble(settings: Settings) -> Iterator[None]:
    try:
        yield
    except DamagedArchive as error:
        raise UserError(f"the backup changed while it was read: {error}") from error
    except OSError as error:
        raise UserError(f"{settings.data} cannot be written: {error.strerror or error}") from error


def _rehearse(settings: Settings, file: Path, manifest: Manifest, *, keep: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="smtpeter-restore-") as folder:
        _stage(settings, file, manifest, Path(folder), keep=keep, wanted=_COMPARED.__contains__)
    typer.echo("nothing was changed")


def _replace(settings: Settings, file: Path, manifest: Manifest, found: list[Target], *, keep: bool) -> Path | None:
    for left in settings.data.glob(f"{_STAGE}*"):  # of one that was killed; nobody else is at it now
        shutil.rmtree(left)
    restoring.check_room(settings, manifest)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=_STAGE, dir=settings.data))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        staged = _stage(settings, file, manifest, folder, keep=keep)
        return restoring.put_in_place(settings, staged, found)


def _stage(
    settings: Settings,
    file: Path,
    manifest: Manifest,
    folder: Path,
    *,
    keep: bool,
    wanted: Callable[[str], bool] = lambda name: True,
) -> Path:
    """Unpacks into a folder below `folder`, and tells what would come back."""
    staged, scratch = folder / "staged", folder / "scratch"
    for each in (staged, scratch):
        each.mkdir(0o700)
    archive.unpack(file, manifest, staged, wanted)
    try:
        for sentence in restoring.compare(settings, staged, scratch, keep=keep):
            typer.echo(sentence)
    except StoreUnavailable as error:
        raise UserError(f"the policy database of the backup cannot be read: {error}") from error
    return staged


def _tell(settings: Settings, manifest: Manifest, aside: Path | None) -> None:
    if aside is not None:
        typer.echo(f"what was there is in {aside}; it has keys and passwords in it, remove it when all is well")
    if snapshot.SETTINGS in manifest.files:
        typer.echo(f"the settings of the backup are in {settings.data / restoring.RESTORED_SETTINGS}; nothing reads them there")
    for sentence in manifest.left_out:
        typer.echo(f"of the time of the backup: {sentence}")
    typer.echo(f"restored to {settings.data}")
