"""The bundle that the role installs: what is in it, and that it is the same when it is made again."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from smtpeter.postfix import FILES


@pytest.fixture
def release(root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"SMTPETER_VENV": sys.prefix}
        command = (str(root / "tools/release"), *words)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)

    return run


def test_a_bundle_has_the_wheel_the_locks_and_their_sums(
    release: Callable[..., subprocess.CompletedProcess[str]], root: Path, tmp_path: Path
) -> None:
    done = release("--version", "1.2.3", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "smtpeter 1.2.3\n"), done.stderr
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["version"], manifest["wheel"]) == ("1.2.3", "smtpeter-1.2.3-py3-none-any.whl")
    assert manifest["files"] == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in (manifest["wheel"], "build.txt", "runtime.txt")
    }
    assert (tmp_path / "runtime.txt").read_bytes() == (root / "locks/runtime.txt").read_bytes()
    names = set(ZipFile(tmp_path / manifest["wheel"]).namelist())
    assert {f"smtpeter-1.2.3.data/data/share/smtpeter/postfix/{name}" for name in FILES} <= names
    assert "policy/stores/migrations/versions/0001_accounts.py" in names
    assert not [name for name in names if "tests/" in name or "__pycache__" in name]


def test_a_bundle_is_the_same_again_and_replaces_the_one_before(
    release: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    for version in ("1.0", "2.0", "1.0"):
        assert release("--version", version, str(tmp_path / version)).returncode == 0
        assert release("--version", version, str(tmp_path / "same")).returncode == 0
    assert [path.name for path in (tmp_path / "same").glob("*.whl")] == ["smtpeter-1.0-py3-none-any.whl"]
    assert (tmp_path / "same/manifest.json").read_bytes() == (tmp_path / "1.0/manifest.json").read_bytes()


@pytest.mark.parametrize("words", [(), ("--version",), ("--wheels", "x"), ("--version", "1 2", "x"), ("a", "b")])
def test_a_wrong_call_is_refused(
    release: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = release(*words)
    assert done.returncode == 2
    assert done.stderr
