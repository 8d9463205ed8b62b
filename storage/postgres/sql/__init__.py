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


Migration = tuple[int, str, str]  # number, name, statements


def migrations() -> list[Migration]:
    """Return every migration in order; the numbers run from 1 without a gap."""
    listed = _listed("")
    if [number for number, _, _ in listed] != list(range(1, len(listed) + 1)):
        raise RuntimeError("The migrations in storage/postgres/sql/migrations are not numbered 0001, 0002, … without a gap.")
    return listed


def finishes() -> list[Migration]:
    """Return the second parts of those migrations that have one, in order: what is taken away once no older program runs."""
    listed, known = _listed(".finish"), {name for _, name, _ in _listed("")}
    if unknown := [name for _, name, _ in listed if name not in known]:
        raise RuntimeError(f"There is a second part of migrations that have no first: {', '.join(unknown)}.")
    return listed


def _listed(part: str) -> list[Migration]:
    """Return the files `NNNN_name.sql`, or with a part `NNNN_name.part.sql`."""
    names = re.compile(rf"(\d{{4}})_\w+(?={re.escape(part)}\.sql$)")
    folder = files(__package__).joinpath("migrations")
    found = [(match, each) for each in folder.iterdir() if (match := names.match(each.name))]
    return sorted((int(match[1]), match[0], each.read_text(encoding="utf-8")) for match, each in found)
