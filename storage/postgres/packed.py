"""A license as one string of bytes, for memory alone: a fifth of its size, and nothing for garbage collection to visit.

Not for a disk or a wire: the format is that of this Python (`marshal`), and the order of values that of this program.
"""

import marshal
from operator import attrgetter

from storage.postgres.rows import NOTHING, Address, lease
from storage.records import Customer, DataObject, Epoch, License, Machine, Product

# What is packed as it is. The account and the key are the address, under which the bytes are kept.
_PLAIN = (
    "id", "number", "created", "expires", "period", "features", "notes", "block", "trial_activation", "ever_activated",
    "max_machines", "allowed_machines", "stamp", "counted_codes",
)  # fmt: skip
_CUSTOMER = ("id", "name", "email", "company_name", "created", "stamp")
_plain, _customer = attrgetter(*_PLAIN), attrgetter(*_CUSTOMER)


def pack(license_: License) -> bytes:
    """Return the license without its address and its product. Raises ValueError for a value of no plain type."""
    customer = license_.customer
    return marshal.dumps(
        (
            license_.product.stamp,
            None if customer is None else _customer(customer),
            tuple(map(tuple, license_.machines.values())),
            tuple(map(tuple, license_.data_objects)),
            tuple((code, tuple(map(tuple, each))) for code, each in license_.machine_objects.items()),
            tuple(license_.epoch),
            tuple((each.code, int(each.kind), *each[2:]) for each in license_.leases.values()),
            _plain(license_),
        )
    )


def unpack(packed: bytes, address: Address, product: Product | None) -> License | None:
    """Return the license that was packed; None if `product` is not the one, in the same state, that it belonged to."""
    stamp, customer, machines, objects, by_code, epoch, leases, plain = marshal.loads(packed)  # noqa: S302 (our own)
    if product is None or product.stamp != stamp:
        return None
    return License(
        account_id=address.account_id,
        product=product,
        key=address.key,
        customer=None if customer is None else Customer(*customer),
        machines={each[0]: Machine(*each) for each in machines},
        data_objects=tuple(DataObject(*each) for each in objects),
        machine_objects={code: tuple(DataObject(*each) for each in some) for code, some in by_code} or NOTHING,
        epoch=Epoch(*epoch),
        leases={each[0]: lease(each) for each in leases} or NOTHING,
        **dict(zip(_PLAIN, plain, strict=True)),
    )
