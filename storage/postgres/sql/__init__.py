"""SQL as source: in files, loaded once by name, one statement each or several named. None is assembled from strings."""

import re
from collections.abc import Mapping
from importlib.resources import files

NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load(name: str) -> str:
    """Return the statement that stands in `name`.sql."""
    return files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def statements(name: str) -> Mapping[str, str]:
    """Return the statements of `name`.sql by their names: each begins with a line `-- name: …` and ends at the next."""
    _about, *parts = NAME.split(load(name))
    named = dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
    if len(named) * 2 != len(parts):
        raise RuntimeError(f"Two statements of storage/postgres/sql/{name}.sql have the same name.")
    return named


def migrations() -> list[tuple[int, str, str]]:
    """Return (number, name, statements) of every migration in order; the numbers run from 1 without a gap."""
    found = sorted(
        (each for each in files(__package__).joinpath("migrations").iterdir() if each.name.endswith(".sql")),
        key=lambda each: each.name,
    )
    listed = [(int(each.name[:4]), each.name.removesuffix(".sql"), each.read_text(encoding="utf-8")) for each in found]
    if [number for number, _, _ in listed] != list(range(1, len(listed) + 1)):
        raise RuntimeError("The migrations in storage/postgres/sql/migrations are not numbered 0001, 0002, … without a gap.")
    return listed
