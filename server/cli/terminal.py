"""How a command speaks: results alone on stdout, remarks and errors on stderr, and nothing from outside is obeyed."""

import datetime
import json as jsonlib
import unicodedata
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from storage.errors import StorageError

# No guessing: neither numbers nor ":words:" in what clients chose are decorated.
OUT = Console(highlight=False, emoji=False)
ERR = Console(highlight=False, emoji=False, stderr=True)

# Control characters, those that change the direction of what follows, and what is no character at all.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


class Problem(Exception):
    """What a command cannot do; the text says what happened, where, and what to do."""


def one_line(error: Exception) -> str:
    """Return what an expected error says, as one line without control characters."""
    text = str(error)
    if isinstance(error, OSError):
        text = ": ".join(filter(None, (str(error.filename or ""), error.strerror or type(error).__name__)))
    elif isinstance(error, StorageError) and not text.endswith("."):  # no sentence, as those of SchemaError are
        text = f"The database could not do it: {text or type(error).__name__}."
    return visible(" | ".join(line.strip() for line in text.splitlines() if line.strip()))


def visible(text: str) -> str:
    """Return the text with control characters and their like written as escapes, so that none reaches a terminal."""
    return "".join(_escaped(char) if unicodedata.category(char) in _HIDDEN else char for char in text)


def shown(text: str) -> str:
    """Return what clients or users chose, for a table or a remark: nothing in it is obeyed, neither codes nor markup."""
    return escape(visible(text))


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def when(time: int | None) -> str:
    """Return Unix seconds as a date and time in UTC, '' for None."""
    return "" if time is None else f"{datetime.datetime.fromtimestamp(time, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], whole: Sequence[str] = ()) -> None:
    """Print a table. Its cells are plain text, escaped here; what does not fit is folded, never cut.

    The columns in `whole` are folded last.
    """
    grid = Table(title=title, title_justify="left")
    for column in columns:
        grid.add_column(column, overflow="fold", no_wrap=column in whole)
    for row in rows:
        grid.add_row(*(shown(cell) for cell in row))
    OUT.print(grid)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print what is known of one thing: names and plain texts, escaped here. Empty ones are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in pairs:
        if text:
            grid.add_row(name, shown(text))
    OUT.print(grid)


def as_json(value: object) -> None:
    """Print JSON in pure ASCII, so that no control character of any kind gets through."""
    typer.echo(jsonlib.dumps(value, indent=2))


def result(text: str) -> None:
    """Print what a script wants to take: alone on stdout, unwrapped."""
    typer.echo(text)


def remark(text: str) -> None:
    """Tell a person, on stderr, where it is in no script's way. What is from outside is `visible` first."""
    typer.echo(text, err=True)


def example(text: str) -> str:
    """Return the last lines of a command's help."""
    return f"Example: keyturn {text}"
