"""What a command works with: its settings, an open database and the account in it; and the errors expected of those."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import typer

from server import config as configuration
from server.account import NAME
from server.cli.terminal import ERR, Problem
from server.config import Config, ConfigError
from server.engine import engine
from server.signing_keys import KeyFileError
from storage.embedded import home
from storage.errors import Busy, StorageError, Unavailable
from storage.postgres.admin import Admin, administration
from storage.records import Account, Product

# What ends a command in one line, without a traceback.
EXPECTED = (Problem, ConfigError, KeyFileError, StorageError, home.EngineFailed, home.Busy, OSError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Desk:
    """An open database, the account, and the time in Unix seconds."""

    config: Config
    dsn: str
    admin: Admin
    account: Account
    now: int

    async def product(self, product_id: int) -> Product:
        """Return the product. Raises `Problem` if there is none."""
        product = await self.admin.product(self.account.id, product_id)
        if product is None:
            raise no_product(product_id)
        return product


def settings(ctx: typer.Context, **given: object) -> Config:
    """Return the settings: the command's own options first, then those before the command, then the environment."""
    before: Mapping[str, object] = ctx.obj
    given = {name: value for name, value in given.items() if value is not None}
    return configuration.load(None, **{**before, **given})


def run(ctx: typer.Context, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Open the database, do the work, close it again, and return what it returned."""
    config = settings(ctx)
    with explained(config):
        return asyncio.run(_at_desk(config, work))


async def _at_desk(config: Config, work: Callable[[Desk], Awaitable[T]]) -> T:
    async with AsyncExitStack() as stack:
        with ERR.status("Connecting to PostgreSQL …") as status:
            dsn = await stack.enter_async_context(engine(config, status.update))
            admin = await stack.enter_async_context(administration(dsn))
            account = await admin.account(NAME)
        if account is None:
            raise Problem("The database has no account yet. Run `keyturn migrate` first: it makes the account and its key.")
        return await work(Desk(config, dsn, admin, account, int(time.time())))


@contextmanager
def explained(config: Config) -> Iterator[None]:
    """Say of which PostgreSQL it is that storage complains."""
    where = f"The embedded PostgreSQL of {config.data}" if config.embedded else "The PostgreSQL that DATABASE_URL names"
    try:
        yield
    except Unavailable as error:
        raise Problem(f"{where} cannot be used ({error}). See that it runs, lets Keyturn in, and has disk space.") from error
    except Busy as error:
        raise Problem(f"{where} did not do it in time ({error}); nothing was changed. Try again shortly.") from error


def no_product(product_id: int) -> Problem:
    """Return the error for a product that is not there."""
    return Problem(f"There is no product {product_id}. `keyturn product list` shows those that there are.")


def no_key(product_id: int) -> Problem:
    """Return the error for a key that a product does not have."""
    return Problem(f"Product {product_id} has no such key. Is it spelled right, and of this product?")
