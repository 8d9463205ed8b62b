"""What one worker remembers of licenses, within a number of bytes: by address, and whether it still is so nobody here asks.

Those used last are here as they are; the others packed, in a third of the room. To read a license from PostgreSQL costs
ten times as much as to unpack it.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from sys import getsizeof
from typing import NamedTuple, TypeVar

from storage.lru import Lru
from storage.postgres.packed import pack, unpack
from storage.postgres.rows import Address
from storage.records import Customer, DataObject, License, Product

T = TypeVar("T")

FRESH_PART, PRODUCTS_PART = 8, 16  # an eighth of the room for licenses as they are, a sixteenth for their products
MOST_FRESH, MOST_PRODUCTS = 2**25, 2**24  # bytes: garbage collection visits what is not packed, 4 µs a license
MOST_PACKED = 100  # things that belong to a license that is packed: to pack a large one holds up the worker, too

# What things take in CPython, in bytes, beside what is counted; a test compares the sums with what is there.
LICENSE, PACKED = 950, 400  # with the place here, and the address
CUSTOMER, PRODUCT, COUNTED = 250, 1_500, 180
PLACE = 40  # in a dictionary or a tuple
LOOKED_AT = 3  # of the machines, and so on, of a license: to weigh it is quick however many there are


class _Fresh(NamedTuple):
    """A license as it is, about how many bytes it takes, and its bytes if it was packed before."""

    license: License
    weight: int
    packed: bytes | None = None


class Known:
    """The licenses that a worker knows. What is put is found until too much else was used since."""

    def __init__(self, most_bytes: int) -> None:
        fresh, products = min(most_bytes // FRESH_PART, MOST_FRESH), min(most_bytes // PRODUCTS_PART, MOST_PRODUCTS)
        self._fresh: Lru[Address, _Fresh] = Lru(fresh, attrgetter("weight"))
        self._packed: Lru[tuple[object, ...], bytes] = Lru(most_bytes - fresh - products, _packed_weight)
        self._products: Lru[int, Product] = Lru(products, _product_weight)
        self._addresses: dict[int, Address] = {}  # of the fresh ones, by id

    def __len__(self) -> int:
        return len(self._fresh) + len(self._packed)

    @property
    def weight(self) -> int:
        """About how many bytes all of it takes."""
        return self._fresh.weight + self._packed.weight + self._products.weight

    def get(self, address: Address) -> License | None:
        """Return a license as it was put, or None."""
        found = self._fresh.get(address)
        return self._unpacked(address) if found is None else found.license

    def put(self, address: Address, license_: License) -> None:
        """Keep a license, in the place of what was known of it."""
        product = license_.product
        if self._products.get(product.id) is not product:
            self._products.put(product.id, product)
        self._packed.drop(address)
        self._keep(address, _Fresh(license_, weight(license_)))

    def drop(self, address: Address) -> None:
        """Forget a license, if it is here."""
        self._packed.drop(address)
        if (found := self._fresh.pop(address)) is not None:
            del self._addresses[found.license.id]

    def clear(self) -> None:
        """Forget all."""
        self._fresh.clear()
        self._packed.clear()
        self._products.clear()
        self._addresses.clear()

    def product(self, product_id: int) -> Product | None:
        """Return a product as the license last put had it, or None."""
        return self._products.get(product_id)

    def address(self, license_id: int) -> Address | None:
        """Return the address of a license that was used lately, by its id."""
        return self._addresses.get(license_id)

    def _keep(self, address: Address, fresh: _Fresh) -> None:
        self._addresses[fresh.license.id] = address
        for least, each in self._fresh.put(address, fresh):
            del self._addresses[each.license.id]
            self._pack(least, each)

    def _pack(self, address: Address, fresh: _Fresh) -> None:
        license_ = fresh.license
        if _size(license_) > MOST_PACKED:
            return
        product = license_.product
        plain = (product.account_id, product.id, address.key)  # equal to the Address, and not visited by garbage collection
        with suppress(ValueError):
            self._packed.put(plain, fresh.packed or pack(license_))

    def _unpacked(self, address: Address) -> License | None:
        packed = self._packed.pop(address)
        if packed is None:
            return None
        license_ = unpack(packed, address, self._products.get(address.product_id))
        if license_ is not None:
            self._keep(address, _Fresh(license_, weight(license_), packed))
        return license_


def weight(license_: License) -> int:
    """Return about how many bytes a license takes here, without its product. Quick, however much belongs to it."""
    return (
        LICENSE
        + getsizeof(license_.notes)
        + getsizeof(license_.allowed_machines)
        + (0 if license_.customer is None else _customer_weight(license_.customer))
        + _sum(license_.machines.values(), _flat_weight)
        + _sum(license_.data_objects, _flat_weight)
        + _sum(license_.machine_objects.items(), _code_weight)
        + _sum(license_.leases.values(), _flat_weight)
        + len(license_.counted_codes) * COUNTED
    )


def _sum(values: Collection[T], weigh: Callable[[T], int]) -> int:
    """Weigh the first of the values, and take the others for as heavy on average."""
    if not values:
        return 0
    some = [weigh(each) for each in islice(values, LOOKED_AT)]
    return (PLACE + sum(some) // len(some)) * len(values)


def _flat_weight(values: tuple[object, ...]) -> int:
    return getsizeof(values) + sum(map(getsizeof, values))


def _code_weight(each: tuple[str, tuple[DataObject, ...]]) -> int:
    return getsizeof(each[0]) + getsizeof(each[1]) + _sum(each[1], _flat_weight)


def _customer_weight(customer: Customer) -> int:
    return CUSTOMER + getsizeof(customer.name) + getsizeof(customer.email) + getsizeof(customer.company_name)


def _product_weight(product: Product) -> int:
    return PRODUCT + getsizeof(product.name) + getsizeof(product.description) + _sum(product.data_objects, _flat_weight)


def _packed_weight(packed: bytes) -> int:
    return PACKED + len(packed)


def _size(license_: License) -> int:
    """Return of how many things a license consists; of the data objects of one machine code there are few."""
    machines, leases = len(license_.machines), len(license_.leases) + len(license_.counted_codes)
    return machines + leases + len(license_.data_objects) + len(license_.machine_objects)
