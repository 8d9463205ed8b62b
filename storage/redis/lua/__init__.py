"""Scripts as source: in files. Each is read behind what it shares with others: the clock, and how seats are kept."""

from importlib.resources import files

SEATS = ("claim", "settle", "restore", "drop", "peek", "list", "seed")


def scripts(clock: str = "") -> dict[str, str]:
    """Return the scripts of the seats by name; `clock` is another source of time, for tests."""
    shared = (clock or _text("clock")) + _text("layout")
    return {name: shared + ("" if name == "claim" else _text("set")) + _text(name) for name in SEATS}


def limit_scripts(clock: str = "") -> dict[str, str]:
    """Return the scripts of the rate limits by name; `clock` is another source of time, for tests."""
    return {"gcra": (clock or _text("clock")) + _text("gcra")}


def trial_script() -> str:
    """Return the script that does nothing but what all of them must be allowed to do."""
    return _text("trial")


def _text(name: str) -> str:
    return files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
