"""Fixtures that more than one room uses."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def corpus() -> Path | None:
    """Test data of others, where it is at hand; a test goes on with what the project ships where it is not."""
    folder = Path(os.environ.get("SMTPETER_CORPUS") or ROOT.parent / "shared" / "corpus")
    return folder if folder.is_dir() else None
