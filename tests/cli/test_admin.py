"""storage.postgres.admin below the commands: stamps, accounts that do not see each other, and what goes wrong."""

from collections.abc import AsyncIterator

import pytest

from storage.errors import Broken, NoProduct, Unavailable
from storage.postgres import sql
from storage.postgres.admin import SQL, Admin, administration
from storage.records import Feature, FeatureType

EIGHT = tuple(Feature(f"F{number}", FeatureType.NORMAL) for number in range(1, 9))


@pytest.fixture
async def admin(dsn: str) -> AsyncIterator[Admin]:
    async with administration(dsn) as opened:
        yield opened


async def a_product(admin: Admin, account: str = "vendor") -> tuple[int, int]:
    """An account and a product of it."""
    known = await admin.account(account) or await admin.add_account(account, b"der", 5)
    product = await admin.add_product(
        known.id, name="Editor", description="", features=EIGHT, all_time_limited=False, block_expired=False, now=5
    )
    return known.id, product


async def stamp(admin: Admin, account: int, product: int) -> int:
    known = await admin.product(account, product)
    assert known is not None
    return known.stamp


async def test_every_change_of_a_product_has_a_new_stamp(admin: Admin) -> None:
    account, product = await a_product(admin)
    stamps = [await stamp(admin, account, product)]
    for value in ("new", "other"):
        await admin.put_product_data(account, product, name="n", string_value=value, int_value=1, now=6)
        stamps.append(await stamp(admin, account, product))
    assert await admin.drop_product_data(account, product, name="n", now=6)
    stamps.append(await stamp(admin, account, product))
    assert await admin.edit_product(account, product, now=6, name="Painter", features=(*EIGHT[:7], EIGHT[0]))
    stamps.append(await stamp(admin, account, product))
    assert len(set(stamps)) == len(stamps)
    assert not await admin.drop_product_data(account, product, name="n", now=6)


async def test_data_of_a_name_that_is_there_twice_sets_the_one_that_counts_and_removes_both(admin: Admin) -> None:
    account, product = await a_product(admin)
    for _ in range(2):
        await admin._connection.execute(SQL["product_data_add"], product, "n", "old", 0, account)
    await admin.put_product_data(account, product, name="n", string_value="new", int_value=0, now=6)
    known = await admin.product(account, product)
    assert known is not None
    assert [each.string_value for each in known.data_objects] == ["new", "old"]
    assert await admin.drop_product_data(account, product, name="n", now=6)
    assert (await admin.products(account))[0].data_objects == ()


async def test_accounts_do_not_see_each_other(admin: Admin) -> None:
    account, product = await a_product(admin)
    other = (await admin.add_account("other", b"der", 5)).id
    token = await admin.add_token(
        account, name="t", secret_hash=b"h", permissions=["GetKey"], product_lock=product, key_lock=0, feature_lock=0,
        expires=None, now=5,
    )  # fmt: skip
    assert await admin.products(other) == []
    assert await admin.product(other, product) is None
    assert not await admin.edit_product(other, product, now=6, name="x")
    assert await admin.tokens(other) == []
    assert not await admin.revoke_token(other, token, 6)
    with pytest.raises(NoProduct):
        await admin.put_product_data(other, product, name="n", string_value="", int_value=0, now=6)
    with pytest.raises(NoProduct):
        await admin.drop_product_data(other, product, name="n", now=6)
    with pytest.raises(NoProduct):
        await admin.add_token(
            other, name="t", secret_hash=b"h", permissions=[], product_lock=product, key_lock=0, feature_lock=0,
            expires=None, now=5,
        )  # fmt: skip


async def test_a_change_that_fails_is_undone_whole_and_in_storages_words(admin: Admin) -> None:
    account, product = await a_product(admin)
    with pytest.raises(Broken):
        await admin.edit_product(account, product, now=6, name="x", features=EIGHT[:3])
    assert (await admin.products(account))[0].name == "Editor"
    assert await admin.edit_product(account, product, now=6, name="y")


async def test_a_server_that_is_not_there_is_unavailable(dsn: str) -> None:
    with pytest.raises(Unavailable):
        async with administration("postgresql://nobody@127.0.0.1:1/none"):
            pass
    async with administration(dsn) as admin:
        admin._connection.terminate()
        with pytest.raises(Unavailable):
            await admin.account("default")


def test_the_statements_of_a_file_go_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sql.statements("object_log")["writer_begins"].endswith("select log_writer_begins()")
    assert not [name for name, text in SQL.items() if "-- name:" in text]
    monkeypatch.setattr(sql, "load", lambda _name: "about\n-- name: a\nselect 1\n-- name: b\n-- why\nselect 2\n")
    assert sql.statements("x") == {"a": "select 1", "b": "-- why\nselect 2"}
    monkeypatch.setattr(sql, "load", lambda _name: "-- name: a\nselect 1\n-- name: a\nselect 2\n")
    with pytest.raises(RuntimeError, match="same name"):
        sql.statements("x")
