"""Making license keys by hand: what the command line and the demo share. The rule is CreateKey's own."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from server.account import operator
from server.rules import editing, keystring
from server.rules.codes import Refusal
from server.rules.grants import Caller
from storage.postgres.licenses import Licenses
from storage.postgres.reads import Reads
from storage.stamps import new_stamp


@asynccontextmanager
async def licenses_of(dsn: str) -> AsyncIterator[Licenses]:
    """Give the licenses of a database, outside any worker. Raises `Unavailable`."""
    reads = Reads(dsn)
    await reads.open()
    try:
        yield Licenses(reads)
    finally:
        await reads.close()


async def make_keys(
    licenses: Licenses, account_id: int, product_id: int, wanted: editing.NewKeys, *, count: int, now: int
) -> list[str]:
    """Make so many licenses, all alike but for their keys, and return the keys.

    Raises `Refusal`, `NoProduct`, `NoCustomer`, `Unavailable`.
    """
    by_hand = operator(account_id)
    keys = [keystring.from_bytes(os.urandom(keystring.BYTES_NEEDED)) for _ in range(count)]
    rule = partial(
        editing.create, wanted=wanted, keys=keys, stamps=[new_stamp() for _ in keys], reseller_id=0,
        caller=Caller(by_hand, "", "", ""), now=now,
    )  # fmt: skip
    refusal = await licenses.create(by_hand, product_id, rule)
    if refusal is not None:
        raise Refusal(refusal, confirmed=True)
    return keys
