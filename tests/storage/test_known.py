"""The licenses that a worker remembers: as they were put, within the bytes it may use, in the state of their product."""

import dataclasses
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

import pytest

from storage.postgres import known as known_module
from storage.postgres.known import Known, weight
from storage.postgres.packed import pack, unpack
from storage.postgres.rows import NOTHING, Address
from storage.records import Customer, DataObject, Epoch, Feature, FeatureType, Lease, LeaseKind, License, Machine, Product

PRODUCT = Product(
    3001, 1, "Editor", "An editor", 0, (Feature("", FeatureType.NORMAL),) * 8, all_time_limited=False, block_expired=False,
    data_objects=(), stamp=77,
)  # fmt: skip
CUSTOMER = Customer(9, "Ann", "ann@example.org", "Example", 5, 88)
ROOM = 4 * 2**20


def fresh(text: str) -> str:
    """The text as one of its own: what is loaded shares nothing."""
    return "".join(list(text))


def machine(number: int, *, name: str = "Annabelle") -> Machine:
    return Machine(f"{number:064x}", fresh(name), f"198.51.100.{number % 250}", "", 1_700_000_000 + number)


def an_object(number: int, text: str = "value") -> DataObject:
    return DataObject(10**9 + number, fresh(f"name {number}"), fresh(text), 10**6 + number)


def a_lease(number: int) -> Lease:
    return Lease(
        f"{number:064x}",
        LeaseKind.OVERDRAFT,
        *(10**9 + number * 3 + each for each in range(3)),
        fresh("Ann"),
        fresh("192.0.2.0"),
        10**12 + number,
        10**6 + number,
    )


def a_license(number: int = 1, *, machines: int = 5, **how: Any) -> License:
    """A license such as most are: five machines with codes of the usual length."""
    codes = [machine(number * 1000 + each) for each in range(machines)]
    values: dict[str, Any] = {
        "id": 10**6 + number, "account_id": 1, "product": PRODUCT, "number": 10**5 + number,
        "key": f"ABCDE-FGHIJ-{number:05}",
        "created": 10**9, "expires": 2 * 10**9, "period": 365, "features": 3, "notes": "", "block": False, "customer": None,
        "trial_activation": False, "ever_activated": True, "max_machines": 5, "allowed_machines": "",
        "machines": {each.code: each for each in codes}, "data_objects": (), "stamp": 2**60 + number,
        "leases": NOTHING, "machine_objects": NOTHING,
    }  # fmt: skip
    return License(**{**values, **how})


def address(license_: License) -> Address:
    return Address(license_.account_id, license_.product.id, license_.key)


LEASES = {each.code: each for each in map(a_lease, range(30))}
SHAPES = {
    "no machine": a_license(machines=0),
    "five machines": a_license(),
    "sixty machines": a_license(machines=60),
    "a customer": a_license(customer=CUSTOMER),
    "data objects": a_license(data_objects=tuple(map(an_object, range(10)))),
    "a long text": a_license(data_objects=(an_object(1, "x" * 10_000),), notes=fresh("note " * 100)),
    "objects of machines": a_license(
        machine_objects={f"{code:064x}": tuple(map(an_object, range(2))) for code in range(10**6, 10**6 + 5)}
    ),
    "seats": a_license(epoch=Epoch(5, 10**9, ready=True), leases=LEASES),
    "other letters": a_license(notes="ключ" * 100, machines=0),
    "counted codes": a_license(counted_codes=frozenset(bytes([each]) * 32 for each in range(20))),
}
both = pytest.mark.parametrize("license_", SHAPES.values(), ids=SHAPES)


@both
def test_a_license_is_unpacked_as_it_was(license_: License) -> None:
    again = unpack(pack(license_), address(license_), PRODUCT)
    assert again == license_
    assert list(again.machines) == list(license_.machines)
    assert [type(each) for each in again.leases.values()] == [Lease] * len(license_.leases)
    assert {type(each.kind) for each in again.leases.values()} <= {LeaseKind}


def test_every_field_of_a_license_is_packed() -> None:
    """No two licenses that differ in one field have the same bytes; the key and the account are the address's."""
    first, other = a_license(), SHAPES["seats"]
    changed: Mapping[str, object] = {
        "id": 1, "number": 1, "created": 1, "expires": 1, "period": 1, "features": 1, "notes": "n", "block": True,
        "customer": CUSTOMER, "trial_activation": True, "ever_activated": False, "max_machines": 1, "allowed_machines": "a",
        "machines": {}, "data_objects": (an_object(1),), "stamp": 1, "epoch": other.epoch, "leases": other.leases,
        "counted_codes": frozenset([b"c"]), "machine_objects": {"m": (an_object(2),)},
    }  # fmt: skip
    fields = {each.name for each in dataclasses.fields(License)}
    assert set(changed) == fields - {"account_id", "product", "key"}
    for name, value in changed.items():
        changed_license = dataclasses.replace(first, **{name: value})
        assert unpack(pack(changed_license), address(first), PRODUCT) == changed_license != first


def test_a_license_of_a_product_that_has_changed_is_not_unpacked() -> None:
    license_ = a_license()
    assert unpack(pack(license_), address(license_), dataclasses.replace(PRODUCT, stamp=78)) is None
    assert unpack(pack(license_), address(license_), None) is None


def filled(licenses: int, room: int = ROOM) -> tuple[Known, list[License]]:
    known, made = Known(room), [a_license(number) for number in range(licenses)]
    for each in made:
        known.put(address(each), each)
    return known, made


def test_licenses_that_were_not_used_for_long_are_packed_and_found_again() -> None:
    known, made = filled(2000)
    assert len(known._packed) > 1000
    assert len(known) == 2000
    assert [known.get(address(each)) for each in made] == made
    assert len(known) == 2000


def test_memory_is_bounded_and_what_was_used_last_stays() -> None:
    known, made = filled(10_000)
    assert known.weight <= ROOM
    kept = [known.get(address(each)) is not None for each in made]
    assert kept == sorted(kept)
    assert sum(kept) > 2 * ROOM / weight(made[0])  # far more than there would be room for as they are
    assert known.get(address(made[-1])) == made[-1]


def test_licenses_that_grow_while_they_are_known_stay_within_the_bound() -> None:
    known, made = filled(1000)
    for round_ in range(1, 40):
        for each in made[::10]:
            known.put(address(each), a_license(each.number - 10**5, machines=5 + round_ * 5))
            assert known.weight <= ROOM


def test_a_license_is_remembered_once_and_as_it_was_put_last() -> None:
    known, made = filled(2000)
    packed = made[0]
    assert address(packed) in known._packed._values
    changed = dataclasses.replace(packed, stamp=5, notes="changed")
    known.put(address(packed), changed)
    assert len(known) == 2000
    assert known.get(address(packed)) is changed
    known.drop(address(packed))
    assert known.get(address(packed)) is None
    known.drop(address(made[1]))
    assert known.get(address(made[1])) is None
    assert len(known) == 1998


def test_a_heavier_license_than_there_is_room_for_is_known_until_the_next_one() -> None:
    known = Known(2**16)
    heavy, light = a_license(1, machines=1000), a_license(2)
    known.put(address(heavy), heavy)
    assert known.get(address(heavy)) is heavy
    known.put(address(light), light)
    assert known.get(address(heavy)) is None  # nor is it packed: that would take too long
    assert known.get(address(light)) is light


def test_a_product_that_changed_takes_its_packed_licenses_with_it() -> None:
    known, made = filled(2000)
    new = dataclasses.replace(PRODUCT, stamp=78)
    last = dataclasses.replace(made[-1], product=new)
    known.put(address(last), last)
    assert known.product(PRODUCT.id) is new
    assert known.get(address(made[0])) is None
    assert known.get(address(last)) is last


def test_a_license_used_lately_is_found_by_its_id() -> None:
    known, made = filled(2000)
    assert known.address(made[-1].id) == address(made[-1])
    assert known.address(made[0].id) is None
    assert len(known._addresses) == len(known._fresh)
    known.clear()
    assert (len(known), known.weight, known.address(made[-1].id), known.product(PRODUCT.id)) == (0, 0, None, None)


SHARED: tuple[object, ...] = ((), "", frozenset())


def walked(value: object, seen: set[int]) -> int:
    """The bytes of an object and of all that hangs at it, as malloc gives them; what all licenses share is not counted."""
    if id(value) in seen or isinstance(value, bool | Enum | Product | type(None)) or value in (*SHARED, NOTHING):
        return 0
    seen.add(id(value))
    size = -(-sys.getsizeof(value) // 16) * 16
    parts: list[object] = []
    if dataclasses.is_dataclass(value):
        parts = [getattr(value, each.name) for each in dataclasses.fields(value)]
    elif isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, tuple | frozenset):
        parts = list(value)
    return size + sum(walked(each, seen) for each in parts)


@both
def test_what_a_license_is_taken_to_weigh_is_what_it_weighs(license_: License) -> None:
    entry = 400  # its address, and its places in two dictionaries
    assert weight(license_) == pytest.approx(walked(license_, set()) + entry, rel=0.25)


def test_to_weigh_a_license_takes_no_longer_the_more_belongs_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr(known_module, "getsizeof", lambda value: looked.append(value) or 50)
    weight(a_license(machines=50))
    before = len(looked)
    weight(a_license(machines=5000, leases={str(each): a_lease(each) for each in range(5000)}))
    assert len(looked) < before + 60
