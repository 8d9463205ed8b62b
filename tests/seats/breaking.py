"""How tests hold calls of floating seats at a step, and take rules out of the code."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from adversity.sabotage import trigger

from seats.world import Hold, Worker, World
from storage.records import Lease
from storage.redis import seats as seats_module

HELD = "held"  # the machine code whose batches wait after their check, before their commit
LOCK = 4_711


class HeldCommit:
    """A batch that has been checked and written, and not committed."""

    def __init__(self, made: World) -> None:
        self._made = made

    async def reached(self) -> None:
        """Return when such a batch waits."""
        for _ in range(1000):
            if await self._made.database.fetchval(
                "select count(*) from pg_locks where locktype = 'advisory' and objid = $1 and not granted"
                " and database = (select oid from pg_database where datname = current_database())",
                LOCK,
            ):
                return
            await asyncio.sleep(0.005)
        raise TimeoutError("no batch came to be held")

    async def go(self) -> None:
        """Let it commit."""
        await self._made.database.fetchval("select pg_advisory_unlock($1)", LOCK)


@asynccontextmanager
async def held_commits(made: World) -> AsyncIterator[HeldCommit]:
    """Hold the batches of the machine HELD between their check and their commit."""
    await made.database.fetchval("select pg_advisory_lock($1)", LOCK)
    action = f"perform pg_advisory_xact_lock({LOCK})"
    async with trigger(made.database, "log", f"new.machine_code = '{HELD}'", action):
        hold = HeldCommit(made)
        try:
            yield hold
        finally:
            await made.database.fetchval("select pg_advisory_unlock_all()")


async def rewrite(made: World, function: str, old: str, new: str = "") -> None:
    """Have a function of the database say something else, for good: the database is the test's own."""
    text: str = await made.database.fetchval("select pg_get_functiondef($1::text::regproc)", function)
    assert old in text, f"{function}() is not what it was: adapt the sabotage"
    await made.database.execute(text.replace(old, new))


def without(monkeypatch: pytest.MonkeyPatch, script: str, old: str, new: str = "") -> None:
    """Have workers that are opened from now on use a script that lacks something."""
    real: Callable[[str], dict[str, str]] = seats_module.scripts

    def scripts(clock: str = "") -> dict[str, str]:
        texts = real(clock)
        assert old in texts[script], f"{script}.lua is not what it was: adapt the sabotage"
        return {name: text.replace(old, new) if name == script else text for name, text in texts.items()}

    monkeypatch.setattr(seats_module, "scripts", scripts)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, ten seconds at most."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (many things are waited for, and few of them tell)
            await asyncio.sleep(0.005)


async def held_claim(worker: Worker, key: str, code: str, *terms: int) -> "tuple[Hold, asyncio.Task[Lease | str | None]]":
    """Have a worker claim a seat, and hold the call there, before its verdict."""
    claim = Hold(worker.seats, "claim", before=False)
    call = asyncio.create_task(worker.take(key, code, *terms))
    await claim.reached()
    return claim, call


async def gone(call: "asyncio.Task[Lease | str | None]") -> None:
    """End a call where it is held, as the death of its worker would."""
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
