"""Recorded requests for data objects, replayed byte for byte, and the answers as C, Java and .NET need them."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from .given import AUTHENTICATE, DENIED, INPUT, NO_ID, NO_KEY, NO_PRODUCT, NO_TOKEN, OBJECT_EXISTS, PRODUCT, NewToken, Vendor
from .recorded import Answer, Recorded
from .recorded_data import ADDITIONS, CHANGES, LISTINGS, OBJECT, Adding, At, Change, Listing
from .replaying import done, each, is_json, read, refused, send

NAMES = ["id", "name", "stringValue", "intValue"]
MACHINE = "m-alpha"
INT32 = range(-(2**31), 2**31)


class Shelf:
    """A name of its own, and what may hang under it: at the account, the product, a license, and a machine code of it."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.name = f"n-{uuid4()}"
        self.key = vendor.new_key(1)
        self.global_id: int = read(vendor, self.key)["GlobalId"]
        self._targets: dict[At, dict[str, object]] = {
            At.ACCOUNT: {"ReferencerType": 0},
            At.PRODUCT: {"ReferencerType": 1, "ReferencerId": vendor.product},
            At.KEY: {"Key": self.key},
            At.MACHINE: {"Key": self.key, "MachineCode": MACHINE},
        }

    def call(self, method: str, at: At, **params: object) -> dict[str, Any]:
        form = {At.KEY: "ToKey", At.MACHINE: "ToMachineCode"}.get(at, "")
        answer = self.vendor.live.call(f"data/{method}{form}", **self._targets[at], **params)
        assert answer["message"] == ""
        return answer

    def put(self, at: At, text: str = "old", number: int = 12) -> int:
        """Hang an object there, by another way; return its id."""
        made: int = self.call("AddDataObject", at, Name=self.name, StringValue=text, IntValue=number)["id"]
        return made

    def found(self, at: At) -> list[dict[str, Any]]:
        """Return what hangs there under this name."""
        objects: list[dict[str, Any]] = self.call("ListDataObjects", at, Contains=self.name)["dataObjects"]
        return objects

    def send(self, request: Recorded, **other: object) -> Answer:
        """Send a request about this name, with shipped software's token if that reaches so far, else with the vendor's."""
        token = self.vendor.admin if getattr(request, "at", None) in (At.ACCOUNT, None) else self.vendor.token
        values = {
            "token": token, "key": self.key, "machine": MACHINE, "name": self.name, "global_id": self.global_id,
            "object": NO_ID, **other,
        }  # fmt: skip
        return send(request, self.vendor, **values)  # type: ignore[arg-type]

    def clear(self) -> None:
        """Leave nothing behind that other tests could meet."""
        for at in (At.ACCOUNT, At.PRODUCT):
            for item in self.found(at):
                self.vendor.live.call("data/RemoveDataObject", Id=item["id"])


@pytest.fixture
def shelf(vendor: Vendor) -> Iterator[Shelf]:
    """A shelf that is empty, and cleared afterwards."""
    made = Shelf(vendor)
    yield made
    made.clear()


def objects_of(answer: Answer, names: list[str]) -> list[dict[str, Any]]:
    """Check a list of objects as C does, which gives up on one that lacks a name or has a null; return it."""
    assert answer.status == 200
    assert is_json(answer)
    assert list(answer.json) == ["dataObjects", "result", "message"]
    assert answer.body.endswith(b',"result":0,"message":""}')
    found: list[dict[str, Any]] = answer.json["dataObjects"]
    for item in found:
        assert list(item) == names
        numbers = [item[name] for name in names if name not in ("name", "stringValue")]
        assert all(type(number) is int and number in INT32 for number in numbers)  # Java and C read ids as int, too
        assert type(item["name"]) is type(item["stringValue"]) is str
    return found


@each(ADDITIONS)
def test_a_recorded_addition_hangs_where_it_should(request_: Adding, shelf: Shelf) -> None:
    answer = shelf.send(request_)
    number = answer.json["id"]
    assert (answer.status, answer.body) == (200, b'{"id":%d,"result":0,"message":""}' % number)
    assert is_json(answer)
    made = {"id": number, "name": shelf.name, "stringValue": request_.text, "intValue": request_.number}
    assert {at: shelf.found(at) for at in At} == {at: [made] * (at is request_.at) for at in At}
    shown = {"Id": number, "Name": shelf.name, "StringValue": request_.text, "IntValue": request_.number}
    assert read(shelf.vendor, shelf.key)["DataObjects"] == [shown] * (request_.at is At.KEY)
    again = shelf.send(request_)
    if request_.is_unique:
        assert refused(again, OBJECT_EXISTS)
    else:
        assert again.json["id"] != number


@each(ADDITIONS + LISTINGS)
def test_a_recorded_addition_or_list_is_refused_word_for_word(request_: Adding | Listing, shelf: Shelf) -> None:
    assert refused(shelf.send(request_, token=NO_TOKEN), AUTHENTICATE)
    names_key = "{key}" in (request_.body or request_.path)
    if names_key:
        assert refused(shelf.send(request_, key=NO_KEY), OBJECT)
        assert refused(shelf.send(request_, product="none"), INPUT)
        assert refused(shelf.send(request_, product=NO_PRODUCT, token=shelf.vendor.admin), PRODUCT)
    if request_.at is At.KEY and not names_key:
        assert refused(shelf.send(request_, global_id=NO_ID), OBJECT)
    if request_.at in (At.PRODUCT, At.MACHINE) or names_key:
        assert refused(shelf.send(request_, product=NO_PRODUCT), DENIED)  # the token's lock is to another
    if request_.at is At.ACCOUNT:
        assert refused(shelf.send(request_, token=shelf.vendor.token), DENIED)


@each(LISTINGS)
def test_a_recorded_list_is_whole_and_present_even_if_it_is_empty(request_: Listing, shelf: Shelf) -> None:
    assert shelf.send(request_).body == b'{"dataObjects":[],"result":0,"message":""}'
    hung = {at: shelf.put(at, "Åsa & Co", -5) for at in At if at is not At.MACHINE or request_.at is At.MACHINE}
    plain = {"name": shelf.name, "stringValue": "Åsa & Co", "intValue": -5}
    if request_.at is not None:
        assert objects_of(shelf.send(request_), NAMES) == [{"id": hung[request_.at], **plain}]
        return
    found = objects_of(shelf.send(request_), [*NAMES, "referencerType", "referencerId"])
    assert [item["id"] for item in found] == sorted(hung.values())
    where = {item["referencerType"]: (item["id"], item["referencerId"]) for item in found}
    assert all(plain.items() <= item.items() for item in found)
    assert [where[at][0] for at in hung] == list(hung.values())
    assert (where[At.PRODUCT][1], where[At.KEY][1]) == (shelf.vendor.product, shelf.global_id)


@each(tuple(request for request in LISTINGS if request.at is None))
def test_shipped_software_is_shown_everything_of_its_product_only(request_: Listing, shelf: Shelf) -> None:
    hung = [shelf.put(at) for at in (At.ACCOUNT, At.PRODUCT, At.KEY)]
    found = objects_of(shelf.send(request_, token=shelf.vendor.token), [*NAMES, "referencerType", "referencerId"])
    assert [item["id"] for item in found] == sorted(hung[1:])


@each(CHANGES)
def test_a_recorded_change_of_an_object_does_what_it_says(request_: Change, shelf: Shelf) -> None:
    number = shelf.put(request_.at)
    others = {at: shelf.put(at) for at in (At.KEY, At.MACHINE) if at is not request_.at}
    assert done(shelf.send(request_, object=number))
    after = request_.after and {
        "id": number, "name": shelf.name, "stringValue": request_.after[0], "intValue": request_.after[1],
    }  # fmt: skip
    assert shelf.found(request_.at) == ([after] if after else [])
    for at, other in others.items():
        assert shelf.found(at) == [{"id": other, "name": shelf.name, "stringValue": "old", "intValue": 12}]
    again = shelf.send(request_, object=number)
    assert refused(again, request_.again) if request_.again else done(again)


@each(CHANGES)
def test_a_recorded_change_of_an_object_is_refused_word_for_word(request_: Change, shelf: Shelf) -> None:
    number = shelf.put(request_.at)
    assert refused(shelf.send(request_, name="absent"), OBJECT)
    assert refused(shelf.send(request_, object=number, token=NO_TOKEN), AUTHENTICATE)
    if "{key}" in (request_.body or request_.path):
        assert refused(shelf.send(request_, object=number, key=NO_KEY), OBJECT)
        assert refused(shelf.send(request_, object=number, key=shelf.vendor.new_key(1)), OBJECT)
        assert refused(shelf.send(request_, object=number, product=NO_PRODUCT), DENIED)
        assert refused(shelf.send(request_, object=number, product=NO_PRODUCT, token=shelf.vendor.admin), PRODUCT)
    if request_.at is At.ACCOUNT:
        assert refused(shelf.send(request_, object=number, token=shelf.vendor.token), OBJECT)
    (left,) = shelf.found(request_.at)
    assert (left["stringValue"], left["intValue"]) == ("old", 12)


@pytest.fixture(scope="session")
async def careful(vendor: Vendor, new_token: NewToken) -> str:
    """A token as the help advises for counters: key lock -1, so that product and key have to be named."""
    return await new_token(product_lock=vendor.product, key_lock=-1)


@each(tuple(request for request in (*ADDITIONS, *LISTINGS, *CHANGES) if getattr(request, "at", None) is At.KEY))
def test_a_token_that_must_name_the_key_is_refused_where_a_request_does_not(
    request_: Adding | Listing | Change, shelf: Shelf, careful: str
) -> None:
    answer = shelf.send(request_, object=shelf.put(At.KEY), token=careful)
    if "{key}" not in (request_.body or request_.path):
        assert refused(answer, OBJECT)
        return
    exists = isinstance(request_, Adding) and request_.is_unique
    assert answer.json["message"] == (OBJECT_EXISTS if exists else "")
