"""Customers (ports.Customers): found, listed, made, changed and removed, with a token that must still be good."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import pytest
from servers import until
from world import NOW, World, make

from server.rules import editing
from server.rules.grants import Caller
from storage.errors import Busy, Conflict, NoCustomer, Stale
from storage.postgres.connect import SETTINGS
from storage.postgres.customers import STEP, Customers
from storage.postgres.reads import Reads
from storage.records import (
    Creation,
    Customer,
    CustomerEdit,
    CustomerQuery,
    Entry,
    License,
    LicensesQuery,
    Machine,
    NewCustomer,
    NewLicense,
    Product,
    Verdict,
)
from storage.stamps import new_stamp

NOTHING = CustomerEdit(None, None, None, None, None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Desk:
    """The world, and the customers in it."""

    world: World
    customers: Customers

    async def add(self, name: str = "", *, email: str = "", secret: bytes | None = None, created: int = NOW) -> int:
        return await self.customers.add(self.world.token, new(name, email=email, secret=secret, created=created))

    async def find(self, customer: int) -> Customer:
        found = await self.customers.find(self.world.token, customer)
        assert found is not None
        return found

    async def search(self, **query: Any) -> list[int]:
        """The ids that a search finds."""
        return [each.customer.id for each in await self.customers.search(self.world.token, CustomerQuery(**query))]

    async def licenses(self, customer: int = 0, **query: Any) -> list[License]:
        found = await self.customers.licenses(self.world.token, LicensesQuery(customer, **query))
        assert found is not None
        return found

    async def edit(self, customer: int, **values: Any) -> bool | None:
        return await self.customers.edit(self.world.token, customer, NOTHING._replace(**values), NOW)

    async def remove(self, customer: int) -> bool:
        return await self.customers.remove(self.world.token, customer, NOW)

    async def assign(self, key: str, customer: Customer | None, customer_id: int = 7) -> Any:
        """Have the ledger assign a license."""
        rule = partial(
            editing.change_customer, customer=customer, customer_id=customer_id,
            caller=Caller(self.world.token, "", "", ""), now=NOW,
        )  # fmt: skip
        return await self.world.decide(key, rule)

    async def fill(self, customer: int, licenses: int) -> None:
        """Make so many licenses of a customer."""
        await self.world.connection.execute(
            "insert into licenses (account_id, product_id, number, key, created, expires, period, features, notes, block,"
            " trial_activation, max_machines, allowed_machines, stamp, customer_id)"
            " select $1, $2, n, 'F' || n, 0, 0, 0, 0, '', false, false, 5, '', n, $3 from generate_series(1000, 999 + $4) n",
            self.world.account, self.world.product, customer, licenses,
        )  # fmt: skip

    async def holders(self) -> list[int | None]:
        """Whose each license is, by id."""
        rows = await self.world.connection.fetch("select customer_id from licenses order by id")
        return [row["customer_id"] for row in rows]

    async def told(self) -> list[tuple[str, int, str, str]]:
        rows = await self.world.connection.fetch(
            "select object_type, object_id, action, changes from object_log order by id"
        )
        return [tuple(row) for row in rows]


def new(name: str = "", *, email: str = "", secret: bytes | None = None, created: int = NOW) -> NewCustomer:
    return NewCustomer(name, email, "", "", False, False, False, secret, created, new_stamp())  # noqa: FBT003


@pytest.fixture
async def desk(dsn: str) -> AsyncIterator[Desk]:
    world, reports = await make(dsn), Reads(dsn, settings=SETTINGS, connections=2)
    await reports.open()
    yield Desk(world, Customers(world.reads, reports))
    await reports.close()
    await world.close()


# ---- finding and listing


async def test_a_customer_is_what_it_was_made_as(desk: Desk) -> None:
    made = NewCustomer("Ada", "ada@example.org", "Acme", "note", True, False, True, b"hash", 1000, 17)  # noqa: FBT003
    number = await desk.customers.add(desk.world.token, made)
    assert await desk.find(number) == Customer(number, "Ada", "ada@example.org", "Acme", 1000, 17)
    (file,) = await desk.customers.search(desk.world.token, CustomerQuery())
    assert file.customer == await desk.find(number)
    assert (file.notes, file.max_no_of_devices) == ("note", 0)
    assert (
        file.enable_customer_association, file.allow_activation_management, file.allow_multiple_user_association
    ) == (True, False, True)  # fmt: skip


async def test_a_search_looks_at_names_emails_and_companies_in_any_case_and_at_whole_secrets(desk: Desk) -> None:
    ada = await desk.add("Ädá 100%", email="x@EXAMPLE.org", secret=b"one")
    bob = await desk.add("Bob", email="b@elsewhere.org", secret=b"two")
    await desk.edit(bob, company_name="The_Company")
    assert await desk.search(search="äDÁ") == [ada]
    assert await desk.search(search="example.ORG") == [ada]
    assert await desk.search(search="e_c") == [bob]  # no pattern: _ and % are what they are
    assert await desk.search(search="0%") == [ada]
    assert await desk.search(search="%") == [ada]
    assert await desk.search(search="whatever", secret_hash=b"two") == [bob]
    assert await desk.search(search="whatever", secret_hash=b"tw") == []
    assert await desk.search(search="whatever", id_in_search=ada) == [ada]
    assert await desk.search(search="bob", customer_id=ada) == []
    assert await desk.search(search="nobody") == []


async def test_the_newest_come_first_and_of_one_second_the_last_made(desk: Desk) -> None:
    numbers = [await desk.add(created=created) for created in (100, 300, 200, 200)]
    ordered = [numbers[1], numbers[3], numbers[2], numbers[0]]
    assert await desk.search() == ordered
    assert await desk.search(limit=2) == ordered[:2]
    assert await desk.search(customer_id=numbers[2]) == [numbers[2]]


async def test_customers_of_another_account_are_not_there(desk: Desk) -> None:
    connection = desk.world.connection
    foreign = await connection.fetchval(
        "with other as (insert into accounts (name, public_key, created) values ('b', '', 0) returning id)"
        " insert into customers (account_id, name, created, stamp, secret_hash)"
        " select other.id, 'Eve', 0, 1, $1 from other returning id",
        b"hash",
    )
    token = desk.world.token
    assert await desk.customers.find(token, foreign) is None
    assert await desk.search() == await desk.search(search="Eve", secret_hash=b"hash", id_in_search=foreign) == []
    assert await desk.customers.licenses(token, LicensesQuery(foreign)) is None
    assert await desk.customers.licenses(token, LicensesQuery(secret_hash=b"hash")) is None
    assert await desk.edit(foreign, name="x") is None
    assert await desk.remove(foreign) is False
    with pytest.raises(NoCustomer):
        await desk.world.licenses.create(token, desk.world.product, partial(wanted, keys=["A"], customer_id=foreign))
    assert await connection.fetchval("select name from customers where id = $1", foreign) == "Eve"
    assert await desk.told() == []


async def test_the_licenses_of_a_customer_are_as_a_load_has_them(desk: Desk) -> None:
    world, customer = desk.world, await desk.add("Ada", secret=b"hash")
    keys = [await world.license() for _ in range(4)]
    for key in (keys[2], keys[0], keys[1]):
        await desk.assign(key, await desk.find(customer))
    await world.activate(keys[0], "m")
    await world.connection.execute(
        "insert into data_objects (account_id, referencer_type, referencer_id, name, string_value, int_value)"
        " values ($1, 2, $2, 'of the license', 'text', 3), ($1, 1, $3, 'of the product', 'text', 4)",
        world.account, await world.id(keys[0]), world.product,
    )  # fmt: skip
    found = await desk.licenses(customer)
    assert found == [await world.show(key) for key in keys[:3]]
    assert (found[0].machines["m"].ip, found[0].data_objects[0].name) == ("192.0.2.7", "of the license")
    assert await desk.licenses(secret_hash=b"hash") == found
    first = await world.id(keys[0])
    assert await desk.licenses(customer, license_id=first) == await desk.licenses(
        customer, license_id=first, product_id=world.product
    ) == found[:1]  # fmt: skip
    assert await desk.licenses(customer, product_id=world.product) == found
    assert await desk.licenses(customer, product_id=world.product + 1) == []
    assert await desk.licenses(customer, license_id=await world.id(keys[3])) == []


async def test_a_customer_who_is_not_there_has_no_licenses_and_one_without_any_has_an_empty_list(desk: Desk) -> None:
    without_secret = await desk.add()
    assert await desk.licenses(without_secret) == []
    for query in (LicensesQuery(), LicensesQuery(without_secret + 1), LicensesQuery(secret_hash=b"unknown")):
        assert await desk.customers.licenses(desk.world.token, query) is None


async def test_everything_rests_on_the_token(desk: Desk) -> None:
    token, customer, key = desk.world.token, await desk.add("Ada"), await desk.world.license()
    await desk.assign(key, await desk.find(customer))
    before = await desk.told()
    await desk.world.connection.execute("update tokens set revoked = 1, stamp = $1", new_stamp())
    for ask in (
        desk.customers.find(token, customer),
        desk.customers.search(token, CustomerQuery()),
        desk.customers.search(token, CustomerQuery(search="nobody")),
        desk.customers.licenses(token, LicensesQuery(customer)),
        desk.customers.licenses(token, LicensesQuery(customer + 1)),
        desk.customers.add(token, new()),
        desk.customers.edit(token, customer, NOTHING._replace(name="Bob"), NOW),
        desk.customers.remove(token, customer, NOW),
        desk.customers._write("remove", token.account_id, list(token.facts), customer, NOW, token.id),
    ):
        with pytest.raises(Stale):
            await ask
    assert (await desk.holders(), await desk.told()) == ([customer], before)
    assert await desk.world.connection.fetchval("select array_agg(name) from customers") == ["Ada"]


# ---- secrets


async def test_no_two_customers_of_an_account_have_one_secret(desk: Desk) -> None:
    first, second = await desk.add(secret=b"one"), await desk.add(secret=b"two")
    with pytest.raises(Conflict):
        await desk.add(secret=b"one")
    with pytest.raises(Conflict):
        await desk.edit(second, secret_hash=b"one")
    assert await desk.search() == [second, first]
    await desk.add()
    await desk.add()  # many may have none


# ---- changing


async def test_what_is_given_is_changed_under_a_new_stamp_and_told_by_name_only(desk: Desk) -> None:
    customer = await desk.add("Ada", email="ada@example.org", secret=b"one")
    before = await desk.find(customer)
    assert await desk.edit(customer, email="new@example.org", notes="secret plans", max_no_of_devices=3) is False
    after = await desk.find(customer)
    assert (after.name, after.email) == ("Ada", "new@example.org")
    assert after.stamp != before.stamp
    assert await desk.edit(customer, enable_customer_association=True, secret_hash=b"two") is True
    assert await desk.search(search="-", secret_hash=b"two") == [customer]
    assert await desk.search(search="-", secret_hash=b"one") == []
    kind = ("Customer", customer)
    assert await desk.told() == [
        (*kind, "AddCustomer", '{"name": true, "email": true, "secret": true}'),
        (*kind, "EditCustomer", '{"email": true, "notes": true, "maxNoOfDevices": true}'),
        (*kind, "EditCustomer", '{"secret": true, "enableCustomerAssociation": true}'),
    ]


async def test_a_change_that_changes_nothing_is_logged_and_leaves_the_customer_alone(desk: Desk) -> None:
    customer = await desk.add("Ada")
    before = await desk.find(customer)
    for values in ({}, {"name": "Ada", "max_no_of_devices": 0, "allow_activation_management": False}):
        assert await desk.edit(customer, **values) is False
    assert await desk.find(customer) == before
    assert (await desk.told())[1:] == [("Customer", customer, "EditCustomer", "{}")] * 2
    assert await desk.edit(customer + 1, name="x") is None


async def test_a_license_shows_its_customer_as_changed(desk: Desk) -> None:
    customer, key = await desk.add("Ada"), await desk.world.license()
    await desk.assign(key, await desk.find(customer))
    await desk.edit(customer, name="Ada Lovelace")
    shown = await desk.world.ledger.decide(desk.world.token, desk.world.product, key, looked)
    assert shown.license.customer == await desk.find(customer)
    assert shown.license.customer is not None
    assert shown.license.customer.name == "Ada Lovelace"


def looked(_license: License) -> Verdict[None]:
    return Verdict(None)


# ---- assigning through the ledger


async def test_an_assignment_is_committed_only_to_a_customer_as_found(desk: Desk) -> None:
    customer, key = await desk.add("Ada"), await desk.world.license()
    found = await desk.find(customer)
    await desk.edit(customer, name="Bob")
    with pytest.raises(Stale):
        await desk.assign(key, found)
    assert await desk.holders() == [None]
    assert await desk.remove(customer)
    with pytest.raises(Stale):
        await desk.assign(key, found)
    assert await desk.assign(key, None, customer) is not None  # what the handler does as soon as it finds nobody
    assert await desk.holders() == [None]


async def test_a_customer_who_is_being_removed_at_that_very_moment_makes_an_assignment_stale(desk: Desk) -> None:
    customer, key, other = await desk.add("Ada"), await desk.world.license(), await desk.world.license()
    found = await desk.find(customer)
    remover = await asyncpg.connect(desk.world.dsn)
    transaction = remover.transaction()
    await transaction.start()
    await remover.execute("delete from customers where id = $1", customer)
    calls = [asyncio.create_task(desk.assign(key, found)), asyncio.create_task(desk.world.activate(other, "m"))]
    await wait_for_locks(desk)
    await transaction.commit()
    await remover.close()
    with pytest.raises(Stale):
        await calls[0]
    assert await calls[1] == "new"
    assert await desk.holders() == [None, None]


async def wait_for_locks(desk: Desk, waiting: int = 1) -> None:
    """Return once so many wait for what other transactions hold."""

    async def wait() -> bool:
        return waiting == await desk.world.connection.fetchval(
            "select count(*) from pg_locks l join pg_stat_activity a using (pid)"
            " where not l.granted and a.datname = current_database()"
        )

    await until(wait)


async def test_an_assignment_that_was_committed_under_way_does_not_outlive_the_customer(desk: Desk) -> None:
    customer, key = await desk.add("Ada"), await desk.world.license()
    found = await desk.find(customer)
    take, taken = desk.customers._take_from_licenses, 0

    async def assigned_meanwhile(*values: Any) -> bool:
        nonlocal taken
        there = await take(*values)
        taken += 1
        if taken == 1:
            await desk.assign(key, found)
        return there

    desk.customers._take_from_licenses = assigned_meanwhile  # type: ignore[method-assign]
    assert await desk.remove(customer)
    assert (taken, await desk.holders(), await desk.search()) == (2, [None], [])


async def test_a_customer_to_whom_licenses_are_assigned_again_and_again_is_not_removed(desk: Desk) -> None:
    customer, key = await desk.add("Ada"), await desk.world.license()
    take = desk.customers._take_from_licenses

    async def assigned_meanwhile(*values: Any) -> bool:
        there = await take(*values)
        await desk.assign(key, await desk.find(customer))
        return there

    desk.customers._take_from_licenses = assigned_meanwhile  # type: ignore[method-assign]
    with pytest.raises(Busy):
        await desk.remove(customer)
    assert await desk.search() == [customer]


# ---- removing


async def test_licenses_stay_and_lose_the_customer_each_under_a_new_stamp(desk: Desk) -> None:
    ada, bob = await desk.add("Ada"), await desk.add("Bob")
    await desk.fill(ada, STEP)  # exactly one step, and one that finds none
    kept = await desk.world.license()
    await desk.assign(kept, await desk.find(bob))
    stamps = await desk.world.connection.fetchval(
        "select array_agg(stamp order by id) from licenses where customer_id = $1", ada
    )
    assert await desk.remove(ada)
    assert await desk.holders() == [None] * STEP + [bob]
    after = await desk.world.connection.fetchval(
        "select array_agg(stamp order by id) from licenses where customer_id is null"
    )
    assert len({*stamps, *after}) == 2 * STEP
    assert await desk.customers.find(desk.world.token, ada) is None
    told = [each for each in await desk.told() if each[2] == "RemoveCustomer"]
    assert [each[:2] for each in told[-1:]] == [("Customer", ada)]
    assert {(each[0], each[3]) for each in told[:-1]} == {("Key", f'{{"customerId": [{ada}, null]}}')}
    assert len(told) == STEP + 1
    assert await desk.remove(ada) is False


async def test_of_two_who_remove_one_customer_at_once_one_has_done_it(desk: Desk) -> None:
    customer = await desk.add("Ada")
    await desk.fill(customer, 20)
    assert sorted(await asyncio.gather(*(desk.remove(customer) for _ in range(4)))) == [False, False, False, True]
    assert len([each for each in await desk.told() if each[2] == "RemoveCustomer"]) == 21


# ---- made along with licenses


def wanted(
    product: Product,
    *,
    keys: list[str],
    customer_id: int | None = None,
    customer: NewCustomer | None = None,
    reuse: bool = False,
) -> Creation[str]:
    entry = Entry(product.account_id, product.id, 0, "", "192.0.2.0", NOW, 3010)
    licenses = tuple(
        NewLicense(key, NOW, NOW, 0, 0, "", False, customer_id, False, 3, "", new_stamp())  # noqa: FBT003
        for key in keys
    )
    return Creation("made", licenses, entry, customer=customer, reuse=reuse)


async def made(desk: Desk, *keys: str, customer: NewCustomer | None = None, reuse: bool = False) -> int | None:
    rule = partial(wanted, keys=list(keys), customer=customer, reuse=reuse)
    return (await desk.world.licenses.make(desk.world.token, desk.world.product, rule)).customer_id


async def test_a_customer_is_made_along_with_the_licenses_or_not_at_all(desk: Desk) -> None:
    customer = await made(desk, "A", "B", customer=new("Ada"))
    assert await desk.holders() == [customer, customer]
    assert (await desk.told())[0] == ("Customer", customer, "AddCustomer", '{"name": true}')
    with pytest.raises(Conflict):
        await made(desk, "A", customer=new("Bob"))  # that key is taken
    assert await made(desk, customer=new("Bob")) is None  # a refusal: nothing is made
    assert await made(desk, "C") is None
    assert await desk.search() == [customer]


async def test_who_has_the_email_in_any_case_is_used_again_of_several_the_oldest(desk: Desk) -> None:
    oldest = await desk.add("Ada", email="Ädá@Example.org")
    await desk.add("Ada again", email="ädá@example.org")
    assert await made(desk, "A", customer=new("Bob", email="äDÁ@example.ORG"), reuse=True) == oldest
    assert await made(desk, "B", customer=new("Bob", email="ädá@example.org")) not in (oldest, None)
    other = await made(desk, "C", customer=new("Cid", email="cid@example.org"), reuse=True)
    assert await made(desk, "D", customer=new("Cid", email="cid@example.org"), reuse=True) == other
    assert len(await desk.search()) == 4
    assert (await desk.find(oldest)).name == "Ada"


async def test_who_comes_while_a_customer_of_that_email_is_being_made_waits_for_it(desk: Desk) -> None:
    holder = await asyncpg.connect(desk.world.dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("select last from product_counters for update")  # for which who makes the customer waits, then
    asked = [
        asyncio.create_task(made(desk, f"K{number}", customer=new(email=email), reuse=True))
        for number, email in enumerate(("a@example.org", "A@Example.org"))
    ]
    await wait_for_locks(desk, 2)
    await transaction.commit()
    await holder.close()
    numbers = await asyncio.gather(*asked)
    assert await desk.search() == list(set(numbers))


async def test_twenty_who_come_at_once_make_one_customer(desk: Desk) -> None:
    numbers = await asyncio.gather(
        *(made(desk, f"K{number}", customer=new(email="a@example.org"), reuse=True) for number in range(20))
    )
    assert await desk.search() == list(set(numbers))
    assert await desk.holders() == [numbers[0]] * 20


async def test_licenses_for_a_customer_who_is_being_removed_are_refused(desk: Desk) -> None:
    customer = await desk.add("Ada")
    remover = await asyncpg.connect(desk.world.dsn)
    transaction = remover.transaction()
    await transaction.start()
    await remover.execute("delete from customers where id = $1", customer)
    rule = partial(wanted, keys=["A"], customer_id=customer)
    call = asyncio.create_task(desk.world.licenses.create(desk.world.token, desk.world.product, rule))
    await wait_for_locks(desk)
    await transaction.commit()
    await remover.close()
    with pytest.raises(NoCustomer):
        await call


async def test_licenses_are_locked_in_the_order_of_the_ledger(desk: Desk) -> None:
    customer = await desk.add("Ada")
    await desk.fill(customer, 2)
    other = await asyncpg.connect(desk.world.dsn)
    transaction, lock = other.transaction(), "select id from licenses where key = $1 for no key update nowait"
    await transaction.start()
    await other.execute(lock, "F1000")
    removing = asyncio.create_task(desk.remove(customer))
    await wait_for_locks(desk)
    await other.execute(lock, "F1001")  # nobody has it who waits for the first
    await transaction.commit()
    await other.close()
    assert await removing


async def test_removing_does_not_deadlock_with_what_registers_machines(desk: Desk) -> None:
    customer = await desk.add("Ada")
    await desk.fill(customer, 300)

    async def register(number: int) -> None:
        await desk.world.activate(f"F{1000 + number}", f"m{number}")

    removed, *_ = await asyncio.gather(desk.remove(customer), *(register(number) for number in reversed(range(300))))
    assert removed
    assert set(await desk.holders()) == {None}
    assert await desk.world.connection.fetchval("select count(*) from machines") == 300
    assert isinstance((await desk.world.show("F1000")).machines["m0"], Machine)
