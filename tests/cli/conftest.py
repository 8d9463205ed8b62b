"""The command line on a database of its own, or on none."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from shell import Shell

from server.cli import terminal
from server.signing_keys import export


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and messages in one line each."""
    monkeypatch.setattr(terminal.OUT, "width", 400)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERMINAL_WIDTH", "400")
    for name in ("DATABASE_URL", "REDIS_URL", "DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def private_pem() -> bytes:
    """A signing key: making one takes longer than any command."""
    return export(rsa.generate_private_key(65_537, 2048), None)


@pytest.fixture
def nowhere(tmp_path: Path) -> Shell:
    """The command line without any database: for what must be refused before one is asked."""
    return Shell(tmp_path / "data", "postgresql://127.0.0.1:1/none")


@pytest.fixture
def fresh(dsn: str, tmp_path: Path) -> Shell:
    """The command line on a database without an account."""
    return Shell(tmp_path / "data", dsn)


@pytest.fixture
def shell(fresh: Shell, private_pem: bytes, tmp_path: Path) -> Shell:
    """The command line on a database with an account."""
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(private_pem)
    fresh.ok("migrate", "--private-key", foreign)
    return fresh
