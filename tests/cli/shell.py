"""Runs commands as a person would, and looks into their database."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from typer.testing import CliRunner, Result

from server import cli


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs commands with these settings. Nothing of the caller's environment counts."""

    data: Path
    dsn: str

    def run(self, *arguments: object, **environment: str) -> Result:
        """Run a command, whatever comes of it."""
        settings = {"DATA": str(self.data), "DATABASE_URL": self.dsn, **environment}
        return CliRunner().invoke(cli.app, [str(each) for each in arguments], env=settings, catch_exceptions=False)

    def ok(self, *arguments: object) -> str:
        """Run a command that succeeds; what it says on stdout."""
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    def json(self, *arguments: object) -> Any:
        """Run a command that prints JSON."""
        return json.loads(self.ok(*arguments, "--json"))

    def refused(self, *arguments: object, **environment: str) -> str:
        """Run a command that fails: with code 1, nothing on stdout, and one line on stderr, which is returned."""
        done = self.run(*arguments, **environment)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("keyturn: ")
        assert done.stderr.count("\n") == 1
        return done.stderr

    def misused(self, *arguments: object) -> str:
        """Run a command that is wrong in itself: code 2; what it says, in one line without its frame."""
        done = self.run(*arguments)
        assert done.exit_code == 2
        return " ".join(done.stderr.replace("│", " ").split())

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Look into the database."""

        async def look() -> list[dict[str, Any]]:
            connection = await asyncpg.connect(self.dsn)
            try:
                return [dict(row) for row in await connection.fetch(statement, *values)]
            finally:
                await connection.close()

        return asyncio.run(look())

    def edits(self, object_type: str) -> list[tuple[str, Any]]:
        """The object log: actions and changes."""
        found = self.rows("select action, changes, token_id from object_log where object_type = $1 order by id", object_type)
        assert all(row["token_id"] == 0 for row in found)
        return [(row["action"], json.loads(row["changes"])) for row in found]
