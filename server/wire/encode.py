"""From replies and licenses to bytes: the only module that knows the names in the JSON. It signs nothing.

Three spellings of a license exist (protocol: LicenseKey): the signed document of StringSign, with PascalCase names and
times in Unix seconds; the object of LinqSign, in camelCase with ISO times; and the text of which LinqSign signs.
"""

import itertools
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from server.rules.fields import Field
from server.rules.floating import PREFIXES
from server.rules.term import status
from server.wire.replies import (
    CustomerDone,
    CustomerLicenses,
    Customers,
    DataObjects,
    DerivedToken,
    Done,
    Events,
    Id,
    Key,
    Keys,
    Licensed,
    Logs,
    MessageId,
    Messages,
    Reply,
)
from storage.records import Customer, CustomerFile, Lease, License, LoggedEntry, LoggedEvent


class View(NamedTuple):
    """How a caller sees a license. `mask` has the bits of `Field` that are hidden.

    `own` is the machine of the call as a row names it, None if there is none: shown alone when machines are hidden.
    """

    model_version: int = 1
    mask: int = 0
    own: str | None = None


class Row(NamedTuple):
    """A machine as an answer lists it: `mid` with its prefix if it floats, `floating_expires` 0 if it does not."""

    mid: str
    ip: str
    time: int
    friendly_name: str
    floating_expires: int = 0


_NO_ADDRESS = "0.0.0.0"  # noqa: S104 (an answer, nothing listens there): the Rust SDK parses the address


def lease_row(lease: Lease) -> Row:
    """Return a floating seat as an answer lists it."""
    return Row(
        PREFIXES[lease.kind] + lease.code, lease.ip or _NO_ADDRESS, lease.start, lease.friendly_name, lease.expires
    )


def rows(license: License, leases: Iterable[Lease]) -> list[Row]:
    """Return all machines: the node-locked ones, then the floating seats."""
    return [*_node_locked(license, license.machines), *map(lease_row, leases)]


def _node_locked(license: License, codes: Iterable[str]) -> list[Row]:
    """Return the machines with these codes, as far as there are such. A license may have a great many."""
    machines = (license.machines[code] for code in codes if code in license.machines)
    return [Row(each.code, each.ip, each.time, each.friendly_name) for each in machines]


class Reseller(NamedTuple):
    """The reseller that issued a license, as far as the license shows it, in the order of the wire."""

    id: int
    invite_id: int
    reseller_user_id: int
    created: int
    name: str
    url: str
    email: str
    phone: str
    description: str


class Linq(NamedTuple):
    """A license for LinqSign: `text` is what to sign (empty for an unsigned one), `body` the object for `signed`."""

    text: bytes
    body: dict[str, object]


class Metadata(NamedTuple):
    """A metadata block before it is signed: `data` is what to sign (SHA-512), `body` is all but the signature."""

    data: bytes
    body: dict[str, object]


# ---- replies


def reply(answer: Reply) -> bytes:
    """Return the body of a success. What does not apply is left out."""
    members = _MEMBERS[type(answer)](answer)
    return orjson.dumps({**members, "result": 0, "message": ""})


def refusal(message: str) -> bytes:
    """Return the body of a refusal."""
    return orjson.dumps({"result": 1, "message": message})


def base64_text(data: bytes) -> str:
    """Return a document or a signature as replies carry it."""
    return b64encode(data).decode()


def _licensed(answer: Licensed) -> dict[str, object]:
    return _given({"metadata": answer.metadata, "licenseKey": answer.license_key, "signature": answer.signature})


def _keys(answer: Keys) -> dict[str, object]:
    return _given(
        {
            "key": answer.key,
            "keys": answer.keys,
            "customerId": answer.customer_id,
            "portalLink": answer.portal_link,
        }
    )


def _customer_done(answer: CustomerDone) -> dict[str, object]:
    return _given({"customerId": answer.customer_id, "portalLink": answer.portal_link, "secret": answer.secret})


def _customers(answer: Customers) -> dict[str, object]:
    """Return the customers; none belongs to or is seen by another user: there are no such users."""
    listed = [_customer(each.customer, _LINQ) for each in answer.customers]
    if answer.portal_links is not None:
        listed = [
            {**(short or {}), **_customer_file(each, link)}
            for short, each, link in zip(listed, answer.customers, answer.portal_links, strict=True)
        ]
    return {"customers": listed, "resellerCustomers": [], "visibleCustomers": []}


def _customer_file(each: CustomerFile, portal_link: str | None) -> dict[str, object]:
    """Return what the extended form of a customer has beyond the short one; there are no resellers."""
    return {
        "notes": each.notes,
        "enableCustomerAssociation": each.enable_customer_association,
        "allowActivationManagement": each.allow_activation_management,
        "allowMultipleUserAssociation": each.allow_multiple_user_association,
        "maxNoOfDevices": each.max_no_of_devices,
        "isPublic": False,
        "resellerId": 0,
        "portalLink": portal_link,
    }


def _customer_licenses(answer: CustomerLicenses) -> dict[str, object]:
    return _given({"metadata": answer.metadata, "licenseKeys": answer.license_keys})


def _logs(answer: Logs) -> dict[str, object]:
    return {"logs": [_log(each, classified=answer.classified) for each in answer.logs]}


def _data_objects(answer: DataObjects) -> dict[str, object]:
    plain: list[dict[str, object]] = [dict(zip(_LINQ.names.data_object, each, strict=True)) for each in answer.objects]
    if answer.referencers is not None:
        for members, (kind, number) in zip(plain, answer.referencers, strict=True):
            members |= {"referencerType": int(kind), "referencerId": number}
    return {"dataObjects": plain}


def _given(members: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}


def _log(row: LoggedEntry, *, classified: bool) -> dict[str, object]:
    """Return a row of the Web API log (protocol: Web API log entry)."""
    entry = row.entry
    anomaly: dict[str, object] = {"isAnomaly": False, "anomalyProperties": None} if classified else {}
    return {
        "id": row.id,
        "productId": entry.product_id,
        "key": entry.key,
        "ip": entry.ip,
        "time": entry.time,
        "state": entry.state,
        "machineCode": entry.machine_code,
        "friendlyName": entry.friendly_name,
        "floatingExpires": entry.floating_expires,
        "doIntValue": entry.do_int_value,
        "doId": entry.do_id,
        **anomaly,
    }


def _event(row: LoggedEvent) -> dict[str, object]:
    """Return an event (protocol: GetEvents). Metadata that there are none of are null, other texts stay texts."""
    event = row.event
    return {
        "id": row.id,
        "productId": event.product_id,
        "key": row.key,
        "machineCode": event.machine_code,
        "featureName": event.feature_name,
        "eventName": event.event_name,
        "value": event.value,
        "currency": event.currency,
        "time": event.time,
        "metadata": event.metadata or None,
    }


_MESSAGE = ("id", "content", "created", "channel")

# What a reply has of its own, in the order of genuine answers.
_MEMBERS: Mapping[type, Callable[[Any], dict[str, object]]] = {  # each takes what its class is
    Done: lambda _answer: {},
    Licensed: _licensed,
    Key: lambda answer: {"key": answer.key},
    Keys: _keys,
    CustomerDone: _customer_done,
    Customers: _customers,
    CustomerLicenses: _customer_licenses,
    Logs: _logs,
    Events: lambda answer: {"events": [_event(each) for each in answer.events]},
    Messages: lambda answer: {"messages": [dict(zip(_MESSAGE, each, strict=True)) for each in answer.messages]},
    MessageId: lambda answer: {"messageId": answer.id},
    DerivedToken: lambda answer: {"keyId": answer.key_id, "token": answer.token},
    Id: lambda answer: {"id": answer.id},
    DataObjects: _data_objects,
}


# ---- licenses


def document(
    license: License,
    view: View,
    now: int,
    *,
    rows: Sequence[Row] | None = None,
    reseller: Reseller | None = None,
) -> bytes:
    """Return the document that StringSign signs and sends, signed at `now` (Unix seconds).

    `rows` None lists the node-locked machines. All but the list of machines and the sign date is kept for the next call;
    of the node-locked machines the list, too.
    """
    if reseller is not None:
        return b'%b,"SignDate":%d}' % (_open_document(license, view, rows, reseller), now)
    key = _shown_as(license, view, rows)
    kept = _documents.find(key)
    if kept is None:
        kept = _open_document(license, view, None if rows is None else (), None)
        _documents.keep(key, kept)
    if rows is not None:  # this text stands nowhere else: in a value, its quotes would be escaped
        machines = orjson.dumps(_machines(license, view, rows, _STRING))
        kept = kept.replace(_NO_MACHINES, _MACHINES_FOLLOW + machines, 1)
    return b'%b,"SignDate":%d}' % (kept, now)


def unsigned(license: License, view: View, *, rows: Sequence[Row] | None = None) -> orjson.Fragment:
    """Return the license as LinqSign sends it without a signature; kept for the next call where `rows` is None."""
    key = (*_shown_as(license, view, rows), "linq")
    kept = None if rows is not None else _documents.find(key)
    if kept is None:
        kept = orjson.dumps(linq(license, view, None, rows=rows).body)
        if rows is None:
            _documents.keep(key, kept)
    return orjson.Fragment(kept)


def _shown_as(license: License, view: View, rows: Sequence[Row] | None) -> tuple[object, ...]:
    """Return what a document depends on, its machines that are given as `rows` aside: equal stamps are equal content."""
    customer = 0 if license.customer is None else license.customer.stamp
    own = view.own if view.mask & _MACHINES and rows is None else None
    return license.stamp, customer, view.model_version, int(view.mask), own, rows is None


def linq(
    license: License,
    view: View,
    sign_date: int | None,
    *,
    rows: Sequence[Row] | None = None,
    reseller: Reseller | None = None,
) -> Linq:
    """Return the license as LinqSign sends it, and what it signs; `sign_date` None is for an unsigned one."""
    body = _license_members(license, view, rows, reseller, _LINQ)
    body["signDate"] = _NO_ISO if sign_date is None else _iso(sign_date)
    body["signature"] = None
    return Linq(b"" if sign_date is None else _linq_text(body).encode("utf-16-le"), body)


def signed(body: Mapping[str, object], seal: bytes) -> dict[str, object]:
    """Return the object of LinqSign with its signature in it."""
    return {**body, "signature": base64_text(seal)}


def basic(license: License) -> dict[str, object]:
    """Return the reduced, unsigned object of a license (protocol: LicenseKey, basic license key)."""
    members = _license_members(license, View(), (), None, _LINQ)
    return dict(itertools.islice(members.items(), _BASIC))


def metadata(license: License, now: int, used_floating: int = 0) -> Metadata:
    """Return the metadata of a license: node-locked machines, what it is worth at `now`, floating seats in use."""
    is_now = status(license, now=now)
    worth = (is_now.is_valid, int(is_now.reason), is_now.trial, is_now.time_limited, is_now.time_left)
    plain, data = (
        {
            spell("ActivatedMachines"): len(license.machines),
            spell("LicenseStatus"): dict(zip(map(spell, _STATUS), worth, strict=True)),
            spell("UsedFloatingMachines"): used_floating,
        }
        for spell in (_camel, str)
    )
    return Metadata(orjson.dumps({**data, "Signature": None}), plain)


def metadata_block(unsigned: Metadata, seal: bytes, now: int) -> dict[str, object]:
    """Return the block with its signature, which is an envelope of its own (protocol: Metadata, signature format)."""
    envelope = {"Data": base64_text(unsigned.data), "Signature": base64_text(seal), "Date": now, "Version": 1}
    # In lower case: the Python SDK reads exactly this name.
    return {**unsigned.body, "signature": base64_text(orjson.dumps(envelope))}


def unsigned_metadata(license: License, now: int) -> dict[str, object]:
    """Return the block of a license in a list, which does not count floating seats.

    Its signature is null: the list is not signed either, so a signature beside one of its items would vouch for nothing.
    """
    return {**metadata(license, now).body, "signature": None}


# ---- the two spellings of a license


class _Names(NamedTuple):
    """The names of the fields, in their order."""

    license: tuple[str, ...]
    machine: tuple[str, ...]
    customer: tuple[str, ...]
    data_object: tuple[str, ...]
    reseller: tuple[str, ...]


class _Spelling(NamedTuple):
    """How names and times are written, and what stands for a field that is hidden."""

    names: _Names
    time: Callable[[int], object]
    lease_end: Callable[[int], object]
    hidden: tuple[object, ...]


def _camel(name: str) -> str:
    return name.lower() if name.isupper() else name[0].lower() + name[1:]


def _iso(time: int) -> str:
    """Return a time as LinqSign has it: UTC, without zone or fraction."""
    return datetime.fromtimestamp(time, UTC).replace(tzinfo=None).isoformat()


def _iso_or_none(time: int) -> str | None:
    return _iso(time) if time else None


def _hidden(no_time: object) -> tuple[object, ...]:
    """Return what hidden fields show: they all stay, because SDKs need them (protocol: masking). Bit 0 comes first."""
    features = (False,) * 8
    return (0, 0, None, no_time, no_time, 0, *features, None, False, 0, None, None, False, 0, None, (), None)


_LICENSE = (
    "ProductId ID Key Created Expires Period F1 F2 F3 F4 F5 F6 F7 F8 Notes Block GlobalId Customer "
    "ActivatedMachines TrialActivation MaxNoOfMachines AllowedMachines DataObjects Reseller"
)
_PASCAL = _Names(
    license=tuple(_LICENSE.split()),
    machine=("Mid", "IP", "Time", "FriendlyName", "FloatingExpires"),
    customer=("Id", "Name", "Email", "CompanyName", "Created"),
    data_object=("Id", "Name", "StringValue", "IntValue"),
    reseller=("Id", "InviteId", "ResellerUserId", "Created", "Name", "Url", "Email", "Phone", "Description"),
)
_STATUS = ("IsValid", "ReasonForInvalidity", "Trial", "TimeLimited", "TimeLeft")
_NO_ISO = "0001-01-01T00:00:00"  # .NET's default for a time

_STRING = _Spelling(_PASCAL, time=int, lease_end=int, hidden=_hidden(0))
_LINQ = _Spelling(
    _Names._make(tuple(map(_camel, names)) for names in _PASCAL),
    time=_iso,
    lease_end=_iso_or_none,
    hidden=_hidden(_NO_ISO),
)

_MACHINES = int(Field.ACTIVATED_MACHINES)
_MACHINES_FOLLOW = b'"ActivatedMachines":'
_NO_MACHINES = _MACHINES_FOLLOW + b"[]"
_BASIC = _LICENSE.split().index("GlobalId") + 1  # how many of the fields a basic license has
_WITH_RESELLER = 3  # the model version that shows it


def _open_document(license: License, view: View, rows: Sequence[Row] | None, reseller: Reseller | None) -> bytes:
    """Return the document up to where its sign date follows."""
    return orjson.dumps(_license_members(license, view, rows, reseller, _STRING))[:-1]


def _license_members(
    license: License, view: View, rows: Sequence[Row] | None, reseller: Reseller | None, spelling: _Spelling
) -> dict[str, object]:
    """Return the members of a license in the order of the wire, without what signing adds."""
    values = (
        license.product.id,
        license.number,
        license.key,
        spelling.time(license.created),
        spelling.time(license.expires),
        license.period,
        *(license.features >> bit & 1 == 1 for bit in range(8)),
        license.notes,
        license.block,
        license.id,
        _customer(license.customer, spelling),
        _machines(license, view, rows, spelling),
        license.trial_activation,
        license.max_machines,
        license.allowed_machines,
        [dict(zip(spelling.names.data_object, each, strict=True)) for each in license.data_objects],
        _reseller(reseller, spelling),
    )
    mask = int(view.mask) & ~_MACHINES
    shown = zip(spelling.names.license, values, spelling.hidden, strict=True)
    members = {name: hidden if mask >> bit & 1 else value for bit, (name, value, hidden) in enumerate(shown)}
    if view.model_version < _WITH_RESELLER:
        del members[spelling.names.license[-1]]
    return members


def _machines(license: License, view: View, rows: Sequence[Row] | None, spelling: _Spelling) -> list[dict[str, object]]:
    """Return the machines to list; if they are hidden, only the caller's own, whatever prefix it has."""
    hidden = view.mask & _MACHINES
    if rows is None:
        own = () if view.own is None else (view.own,)
        rows = _node_locked(license, own if hidden else license.machines)
    elif hidden:
        rows = [row for row in rows if row.mid == view.own]
    code, address, since, name, ends = spelling.names.machine
    time, end = spelling.time, spelling.lease_end
    # Written out for each version: this is done for every machine of every answer that lists floating seats.
    if view.model_version == 1:
        return [{code: row[0], address: row[1], since: time(row[2])} for row in rows]
    if view.model_version == 2:  # noqa: PLR2004 (a model version)
        return [{code: row[0], address: row[1], since: time(row[2]), name: row[3]} for row in rows]
    return [{code: row[0], address: row[1], since: time(row[2]), name: row[3], ends: end(row[4])} for row in rows]


def _customer(customer: Customer | None, spelling: _Spelling) -> dict[str, object] | None:
    if customer is None:
        return None
    created = spelling.time(customer.created)
    values = (customer.id, customer.name, customer.email, customer.company_name, created)
    return dict(zip(spelling.names.customer, values, strict=True))


def _reseller(reseller: Reseller | None, spelling: _Spelling) -> dict[str, object] | None:
    if reseller is None:
        return None
    number, invite_id, user_id, created, *texts = reseller
    values = (number, invite_id, user_id, spelling.time(created), *texts)
    return dict(zip(spelling.names.reseller, values, strict=True))


# ---- the text of LinqSign


# What is signed of a customer (all but its Id), of a machine (Mid, IP, Time) and of a data object.
_SIGNED = {"customer": slice(1, None), "activatedMachines": slice(3), "dataObjects": slice(None)}


def _linq_text(body: Mapping[str, object]) -> str:
    """Return what LinqSign signs: the client builds the same from the object that it gets (protocol: LinqSign).

    The signature is still empty, so that the text ends with a comma.
    """
    return ",".join(_text(value, _SIGNED.get(name)) for name, value in body.items() if name != "reseller")


def _text(value: object, part: slice | None) -> str:
    """Return the text of a value: empty for null, a comma after each item of a list, the signed part of an object."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ",".join(_text(each, None) for each in list(value.values())[part or slice(None)])
    if isinstance(value, list | tuple):
        return "[" + "".join(_text(each, part) + "," for each in value) + "]"
    return str(value)


# ---- documents that were made before


class _Documents:
    """The documents last used, without their sign date, up to a number of bytes. Equal stamps are equal content."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def find(self, key: tuple[object, ...]) -> bytes | None:
        """Return a document, and take it for the last one used."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: tuple[object, ...], document: bytes) -> None:
        """Keep a new document, and drop those that were not used for longest until there is room."""
        self._kept[key] = bytes(memoryview(document))  # a copy: what orjson returns fills a tenth of its memory
        self._bytes += len(document) + _ENTRY_BYTES
        while self._bytes > self._most_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped) + _ENTRY_BYTES


_ENTRY_BYTES = 500  # about what an entry costs beside its text
_KEPT_BYTES = 64 * 2**20  # in each worker: some 40,000 licenses of the usual size

_documents = _Documents(_KEPT_BYTES)
