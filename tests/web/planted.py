"""What is planted for a search through everything that a server keeps: unique texts, where each may stand, its spellings.

The law is protocol: privacy. `STORED` is its inventory, parameter by parameter: what is not in it stands nowhere.
"""

import hashlib
import ipaddress
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import quote

from server.wire.requests import Ask, Cut

# ---- where things may stand: "table.column"; Valkey has its kinds of keys


def places(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Method -> parameter -> where its text stands once the call has succeeded. A parameter of the items of a list has the
# list's name before its own. A method or parameter that is not here keeps its texts nowhere: whoever adds one that does
# keep something says so here, and in protocol: privacy.
STORED: Mapping[str, Mapping[str, str]] = {
    "key/Activate": {
        "machine_code": "machines.code log.machine_code events.machine_code",
        "friendly_name": "machines.friendly_name log.friendly_name",
        "os_info": "events.metadata",
    },
    "key/Deactivate": {"os_info": "events.metadata"},
    "key/CreateTrialKey": {
        "machine_code": "machines.code log.machine_code",
        "friendly_name": "machines.friendly_name log.friendly_name",
    },
    "key/CreateKey": {
        "notes": "licenses.notes",
        "allowed_machines": "licenses.allowed_machines",
        "name": "customers.name",
        "email": "customers.email",
        "company_name": "customers.company_name",
    },
    "key/ChangeNotes": {"notes": "licenses.notes"},
    **{
        f"customer/{method}": {name: f"customers.{name}" for name in ("name", "email", "company_name", "notes")}
        for method in ("AddCustomer", "EditCustomer")
    },
    # Objects of the account and of products are the vendor's own settings: the object log tells their names.
    "data/AddDataObject": {
        "name": "data_objects.name object_log.changes",
        "string_value": "data_objects.string_value",
    },
    "data/AddDataObjectToKey": {"name": "data_objects.name", "string_value": "data_objects.string_value"},
    "data/AddDataObjectToMachineCode": {
        "machine_code": "data_objects.machine_code log.machine_code",
        "name": "data_objects.name",
        "string_value": "data_objects.string_value",
    },
    "data/ListDataObjectsToMachineCode": {"machine_code": "log.machine_code"},
    "data/SetStringValue": {"string_value": "data_objects.string_value"},
    "data/SetStringValueToKey": {"string_value": "data_objects.string_value"},
    "data/SetStringValueToMachineCode": {"string_value": "data_objects.string_value"},
    "ai/RegisterEvent": {
        "machine_code": "events.machine_code",
        "feature_name": "events.feature_name",
        "event_name": "events.event_name",
        "currency": "events.currency",
        "metadata": "events.metadata",
    },
    "ai/RegisterEvents": {
        "machine_code": "events.machine_code",
        "events.feature_name": "events.feature_name",
        "events.event_name": "events.event_name",
        "events.currency": "events.currency",
        "events.metadata": "events.metadata",
    },
    "message/CreateMessage": {"content": "messages.content", "channel": "messages.channel object_log.changes"},
}
KEY = "licenses.key log.key"
KEPT_ADDRESS = "machines.ip"
PROXY = "machines.proxy_ip"
MASKED = "log.ip leases.ip Valkey.seats"
SEAT_CODE = "leases.code log.machine_code Valkey.seats"
SEAT_NAME = "leases.friendly_name log.friendly_name Valkey.seats"
LOGGED_CODE, LOGGED_NAME = "log.machine_code", "log.friendly_name"
HASHED = "tokens.secret_hash"
SECRET = "customers.secret_hash"
NOWHERE = ""

# What is left where once machines, seats, objects, messages and customers are removed and notes cleared: the logs have
# their times of retention, and no method takes a key away.
AFTER_REMOVAL = places(
    "licenses.key licenses.allowed_machines log.key log.ip log.machine_code log.friendly_name object_log.changes"
    " tokens.name tokens.secret_hash events.machine_code events.feature_name events.event_name events.currency"
    " events.metadata"
)
# What is left of that in two years, if everything is retained as is the default: of the object log nothing is removed yet.
AFTER_RETENTION = places("licenses.key licenses.allowed_machines log.key object_log.changes tokens.name tokens.secret_hash")


# ---- what is planted

LONGEST = 16  # characters of a text


class Planted(NamedTuple):
    """A text: what it is, for whoever reads of a failure; where it stands once all is called.

    `once` is where else it stood before, or will later: files may have it.
    """

    label: str
    places: frozenset[str]
    once: frozenset[str] = frozenset()

    @property
    def ever(self) -> frozenset[str]:
        return self.places | self.once


@dataclass
class Book:
    """All that is planted, by text.

    Most texts share a stem, so that a search looks for one text and then reads which it is. They are hexadecimal digits:
    no way of escaping changes them, and nothing else is like them (48 random bits). They are short: a row of some of them
    is far below 2 kB, from where on PostgreSQL would compress its texts out of sight.
    """

    stem: str = field(default_factory=lambda: secrets.token_hex(6))
    planted: dict[str, Planted] = field(default_factory=dict)
    digests: dict[bytes, Planted] = field(default_factory=dict)

    def text(self, label: str, where: str = NOWHERE, *, once: str = NOWHERE) -> str:
        """A new text."""
        return self.known(label, f"{self.stem}{len(self.planted):04d}", where, once=once)

    def short(self, label: str, where: str = NOWHERE) -> str:
        """A new text of ten characters, for what is cut after so many."""
        return self.known(label, secrets.token_hex(5), where)

    def known(self, label: str, text: str, where: str = NOWHERE, *, once: str = NOWHERE) -> str:
        """A text that somebody else has made."""
        assert label not in self.by_label
        self.planted[text] = Planted(label, places(where), places(once))
        return text

    def secret(self, label: str, secret: str, where: str = NOWHERE, *, once: str = NOWHERE) -> str:
        """A secret: nowhere itself, its hash in one place."""
        if secret not in self.planted:
            self.known(label, secret)
        self.digests[hashlib.sha256(secret.encode()).digest()] = Planted(f"hash of {label}", places(where), places(once))
        return secret

    def token(self, label: str, token: str, where: str = HASHED) -> str:
        """A token: its text and its secret nowhere, the hash of the secret in one place."""
        self.known(label, token)
        self.secret(f"secret of {label}", json.loads(b64decode(token))[1], where)
        return token

    @property
    def by_label(self) -> dict[str, Planted]:
        return {each.label: each for each in (*self.planted.values(), *self.digests.values())}

    def stands(self, text: str, where: str) -> None:
        """Say where a text stands once that is known."""
        self.planted[text] = self.planted[text]._replace(places=places(where))

    def texts_of(self, path: str, ask: type[Ask], visit: str, *, stored: bool = False) -> dict[str, str]:
        """A new text for each parameter of a request that is one, by its name on the wire; `stored` if it will succeed."""
        return dict(self._texts(path, ask, visit, STORED.get(path, {}) if stored else {}))

    def _texts(self, path: str, ask: type[Ask], visit: str, where: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        def new(name: str, marks: Collection[object]) -> str:
            is_short = any(isinstance(each, Cut) and each.characters < LONGEST for each in marks)
            plant = self.short if is_short else self.text
            return plant(f"{path} {name}, {visit}", where.get(name, NOWHERE))

        hints = get_type_hints(ask, include_extras=True)
        for name in (each.name for each in fields(ask) if each.metadata.get("parameter", True)):
            kind, *marks = _kind(hints[name])
            wire = name.replace("_", "")
            if kind is str:
                yield wire, new(name, marks)
            elif get_origin(kind) is tuple and hasattr(item := get_args(kind)[0], "_fields"):
                inside = {each: _kind(hint) for each, hint in get_type_hints(item, include_extras=True).items()}
                one = {
                    each.replace("_", ""): new(f"{name}.{each}", more)
                    for each, (within, *more) in inside.items()
                    if within is str
                }
                yield wire, json.dumps([one])


def _kind(hint: object) -> tuple[object, ...]:
    """A type, then its marks."""
    return get_args(hint) if get_origin(hint) is Annotated else (hint,)


# ---- addresses

# In networks for documentation and tests. All of one kind share a stem as texts do; none is masked to itself.
STEM_4, STEM_6 = "198.19.233.", "2001:db8:b7e3:9c41:"
MASKED_4, MASKED_6 = "198.19.233.0", "2001:db8:b7e3::"
PROXIES = ("127.183.60.233", "127.201.94.239")


class Trio(NamedTuple):
    """Addresses that go the same ways: two of IPv4 (see `Hunt`), one of IPv6."""

    first: str
    second: str
    third: str


def trio(book: Book, number: int, label: str, where: str = NOWHERE, *, once: str = NOWHERE) -> Trio:
    """Plant three addresses; `number` is 0 to 9."""
    made = Trio(f"{STEM_4}{150 + number}", f"{STEM_4}{231 + number}", f"{STEM_6}:{number + 1}f{number}")
    for name, address in zip(("IPv4 a", "IPv4 b", "IPv6"), made, strict=True):
        book.known(f"{label}, {name}", address, where, once=once)
    return made


# ---- looking for it


class Found(NamedTuple):
    """What was found, and how it was spelled."""

    label: str
    spelling: str


def spellings(text: str) -> dict[str, bytes]:
    """The ways of writing a text. What escapes letters and digits is none of them; all others leave a stem as it is."""
    plain = text.encode()
    return {
        "plain": plain,
        "in capitals": text.upper().encode(),
        "UTF-16": text.encode("utf-16-le")[:-1],  # either order of bytes has this
        "escaped": quote(text, safe="").encode(),
        "hex": plain.hex().encode(),
        "HEX": plain.hex().upper().encode(),
        **{f"base64, {before} bytes in": _core(plain, before) for before in range(3)},
    }


def _core(plain: bytes, before: int) -> bytes:
    """What base64 always makes of a text that begins so many bytes after a group of three: its whole groups."""
    groups = plain[-before % 3 :]
    return b64encode(groups[: len(groups) // 3 * 3])


# Four bytes are found by chance in four gigabytes of random ones, say once in a thousand searches of all that is random
# here (stamps, hashes, checksums: some megabytes at the very most). So they count only where both addresses that went the
# same ways are found, which chance brings about once in a million. All else is of 48 bits at least.
SHORT = ("4 bytes", "4 bytes reversed", "8 hex digits")


def spellings_of_address(text: str) -> dict[str, bytes]:
    """The other ways of writing an address. PostgreSQL's inet has the bytes of the network's order, after two others."""
    address = ipaddress.ip_address(text)
    packed = address.packed
    short = address.version == 4
    names = SHORT if short else ("16 bytes", "16 bytes reversed", "32 hex digits")
    return {
        "backwards": text[::-1].encode(),
        "in full": address.exploded.encode(),
        "a number": str(int(address)).encode(),
        **dict(zip(names, (packed, packed[::-1], packed.hex().encode()), strict=True)),
    }


class Hunt:
    """Finds all that is planted, in bytes."""

    def __init__(self, book: Book) -> None:
        self._sought: dict[bytes, dict[bytes, Found]] = {}
        self._labels = book.by_label.keys()
        stems = {stem: spellings(stem) for stem in (book.stem, STEM_4, STEM_6)}
        for text, planted in book.planted.items():
            stem = next((spelled for start, spelled in stems.items() if text.startswith(start)), None)
            for spelling, whole in spellings(text).items():
                self._seek(whole if stem is None else stem[spelling], whole, Found(planted.label, spelling))
            if _is_address(text):
                for spelling, whole in spellings_of_address(text).items():
                    self._seek(whole, whole, Found(planted.label, spelling))
        for digest, planted in book.digests.items():
            for spelling, whole in (("hash", digest), ("hash in hex", digest.hex().encode())):
                self._seek(whole, whole, Found(planted.label, spelling))
        self._lengths = {
            stem: sorted({len(whole) for whole in wholes}, reverse=True) for stem, wholes in self._sought.items()
        }

    def _seek(self, stem: bytes, whole: bytes, found: Found) -> None:
        self._sought.setdefault(stem, {}).setdefault(whole, found)

    def hits(self, data: bytes) -> Iterator[tuple[int, Found]]:
        """Where something stands, and what it is; a stem that goes on otherwise is a part of something."""
        for stem, wholes in self._sought.items():
            at = data.find(stem)
            while at >= 0:
                ends = (data[at : at + length] for length in self._lengths[stem])
                yield at, next((wholes[each] for each in ends if each in wholes), Found("a part of a text", "plain"))
                at = data.find(stem, at + 1)

    def in_bytes(self, data: bytes) -> set[str]:
        """The labels of what stands there."""
        found = {each for _, each in self.hits(data)}
        return {each.label for each in found if is_sure(each, found)}


def is_sure(found: Found, all_found: Collection[Found]) -> bool:
    """Whether it is no chance (`SHORT`)."""
    if found.spelling not in SHORT:
        return True
    name, _, which = found.label.rpartition(" ")
    twin = Found(f"{name} {'b' if which == 'a' else 'a'}", found.spelling)
    return twin in all_found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
