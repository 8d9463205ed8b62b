"""The Python SDK's data objects of keys and machines, what is counted with them, and metered usage."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from licensing.methods import AI, Data, Helpers, Key, Subscription  # type: ignore[import-untyped]
from licensing.models import LicenseKey  # type: ignore[import-untyped]

from .given import (
    AUTHENTICATE,
    BOUND,
    DENIED,
    INPUT,
    NO_ID,
    NO_KEY,
    NO_PRODUCT,
    NO_TOKEN,
    OBJECT,
    OBJECT_EXISTS,
    OVERFLOW,
    PRODUCT,
    SUBSCRIPTION_ITEM,
    NewToken,
    Vendor,
)

pytestmark = pytest.mark.usefixtures("python_sdk")

COUNTER = "usagecount"
DONE = ({"result": 0, "message": ""}, "")
HIGHEST, LOWEST = 2**31 - 1, -(2**31)


class Software:
    """The vendor's software on one license: the SDK's calls with what is built in."""

    def __init__(self, vendor: Vendor, key: str = "", token: str = "") -> None:
        self.vendor = vendor
        self.key = key or vendor.new_key(2)
        self.scope = (token or vendor.token, vendor.product, self.key)

    def add(self, *values: object, machine: str | None = None, unique: bool = False) -> int:
        """Add an object (name, text, number); return its id, from an answer that has nothing else."""
        answer, message = self.try_add(*values, machine=machine, unique=unique)
        assert message == ""
        number: int = answer["id"]
        assert type(number) is int
        assert list(answer.items()) == [("id", number), ("result", 0), ("message", "")]
        return number

    def try_add(self, *values: object, machine: str | None = None, unique: bool = False) -> tuple[Any, str]:
        there = () if machine is None else (machine,)
        method = Data.add_data_object_to_key if machine is None else Data.add_data_object_to_machine
        outcome: tuple[Any, str] = method(*self.scope, *there, *values, check_for_duplicates=unique)
        return outcome

    def listed(self, contains: str = "", machine: str | None = None) -> list[tuple[int, str, str, int]]:
        """Return the objects that a listing shows, in its order, from an answer that has nothing else."""
        if machine is None:
            answer, message = Data.list_key_data_objects(*self.scope, contains)
        else:
            answer, message = Data.list_machine_data_objects(*self.scope, machine, contains)
        assert message == ""
        assert list(answer) == ["dataObjects", "result", "message"]
        assert (answer["result"], answer["message"]) == (0, "")
        assert all(list(each) == ["id", "name", "stringValue", "intValue"] for each in answer["dataObjects"])
        return [tuple(each.values()) for each in answer["dataObjects"]]

    def increment(self, by: object = 1, name: str | None = COUNTER, **params: object) -> tuple[Any, str]:
        outcome: tuple[Any, str] = Data.increment_int_value_to_key(*self.scope, name=name, int_value=by, **params)
        return outcome

    def decrement(self, by: object = 1, name: str | None = COUNTER, **params: object) -> tuple[Any, str]:
        outcome: tuple[Any, str] = Data.decrement_int_value_to_key(*self.scope, name=name, int_value=by, **params)
        return outcome

    def number(self, name: str = COUNTER) -> int:
        """Return the number of the only object of this name, as the license shows it, whose signature is verified."""
        (number,) = [each["IntValue"] for each in self.license().data_objects if each["Name"] == name]
        assert type(number) is int
        return number

    def license(self) -> LicenseKey:
        license, message = Key.get_key(self.vendor.token, self.vendor.public_key, self.vendor.product, self.key)
        assert message == ""
        return license

    def log(self) -> list[tuple[int, int, int]]:
        """Return what the Web API log has on data objects: state, object and number of each call."""
        rows, message = AI.get_web_api_log(self.vendor.admin, self.vendor.product, self.key, limit=100)
        assert message == ""
        return [(row["state"], row["doId"], row["doIntValue"]) for row in rows if row["state"] // 100 == 80]


@pytest.fixture
def software(vendor: Vendor) -> Software:
    """The software with a license of its own, which has no data objects yet."""
    return Software(vendor)


# ---- adding and listing


def test_an_object_of_a_key_is_listed_and_shown_by_its_license(software: Software) -> None:
    first = software.add(COUNTER, "Åsa & Co", 12)
    second = software.add("a second", "", -7)
    assert software.listed() == sorted([(first, COUNTER, "Åsa & Co", 12), (second, "a second", "", -7)])
    shown = sorted([
        [("Id", first), ("Name", COUNTER), ("StringValue", "Åsa & Co"), ("IntValue", 12)],
        [("Id", second), ("Name", "a second"), ("StringValue", ""), ("IntValue", -7)],
    ])  # fmt: skip
    vendor = software.vendor
    license, message = Key.activate(vendor.token, vendor.public_key, vendor.product, software.key, "m")
    assert message == ""
    for each in (license, software.license()):
        assert [list(found.items()) for found in each.data_objects] == shown


def test_where_there_are_no_objects_an_empty_list_is_answered(software: Software) -> None:
    assert software.listed() == software.listed(machine="m") == software.license().data_objects == []


def test_a_list_has_the_names_that_contain_a_text_in_any_case(software: Software) -> None:
    count, usage, *_ = ids = [software.add(name) for name in ("usagecount", "Usage of Ä", "other", "")]
    assert [each[0] for each in software.listed()] == sorted(ids)
    assert [each[0] for each in software.listed("uSAGE")] == sorted([count, usage])
    assert [each[0] for each in software.listed("ä")] == [usage]
    assert software.listed("usage%") == software.listed("_") == []
    vendor = software.vendor
    answer, _ = Data.list_key_data_objects(vendor.token, vendor.product, software.key, None)  # it sends the text None
    assert [each["id"] for each in answer["dataObjects"]] == sorted(ids)


def test_what_is_not_given_is_empty(software: Software) -> None:
    plain, nothing = software.add(), software.add(None, None)  # it sends the text None
    assert software.listed() == sorted([(plain, "", "", 0), (nothing, "", "", 0)])


@pytest.mark.parametrize(
    "text",
    ["1+1 = 2 & 100% %41", "line\nbreak\ttab", 'say "cheese" \\o/ </script>', "机器 🖥 é", "  blanks  ", '["F1",["F2"]]',
     "x" * 10_000, "🖥" * 10_000],
    ids=lambda text: ascii(text[:16]),
)  # fmt: skip
def test_texts_come_back_as_they_were_sent(software: Software, text: str) -> None:
    software.add(text[:100], text)
    assert [each[1:3] for each in software.listed()] == [(text[:100], text)]
    assert [(each["Name"], each["StringValue"]) for each in software.license().data_objects] == [(text[:100], text)]


@pytest.mark.parametrize(
    "values", [("n" * 101,), ("n", "x" * 10_001), ("n", "", "many"), ("n", "", "1.5")], ids=["name", "text", "word", "dot"]
)
def test_what_an_object_cannot_be_is_refused(software: Software, values: tuple[object, ...]) -> None:
    assert software.try_add(*values) == software.try_add(*values, machine="m") == (None, INPUT)
    assert software.listed() == software.listed(machine="m") == []


@pytest.mark.parametrize("machine", [None, "m"], ids=["key", "machine"])
def test_a_name_is_added_twice_unless_duplicates_are_looked_for(software: Software, machine: str | None) -> None:
    ids = [software.add(COUNTER, machine=machine, unique=True), software.add(COUNTER, machine=machine)]
    assert software.try_add(COUNTER, machine=machine, unique=True) == (None, OBJECT_EXISTS)
    ids += [software.add(COUNTER.upper(), machine=machine, unique=True)]  # names have a case
    assert [each[0] for each in software.listed(machine=machine)] == sorted(ids)


# ---- counting


def test_a_counter_is_moved_by_name_or_by_id_and_the_sign_does_not_matter(software: Software) -> None:
    number = software.add(COUNTER, "stays", 10)
    assert software.increment(5) == DONE
    assert software.number() == 15
    assert software.increment(-5) == DONE
    assert software.number() == 20
    assert software.decrement(3) == DONE
    assert software.decrement(-3) == DONE
    assert software.number() == 14
    assert software.increment(0) == software.increment("") == software.increment("None") == DONE
    assert software.number() == 14
    assert software.increment(1, "", object_id=number) == software.decrement(2, "", object_id=number) == DONE
    assert software.listed() == [(number, COUNTER, "stays", 13)]


def test_an_id_counts_before_a_name_and_a_name_means_the_lowest_id(software: Software) -> None:
    first, second = sorted([software.add(COUNTER), software.add(COUNTER)])
    assert software.increment(1) == DONE
    assert software.increment(10, COUNTER, object_id=second) == DONE
    assert software.increment(100, "no such name", object_id=second) == DONE
    assert software.listed() == [(first, COUNTER, "", 1), (second, COUNTER, "", 110)]
    assert software.increment(1, COUNTER, object_id=NO_ID) == (None, OBJECT)
    assert software.increment(1, COUNTER.upper()) == (None, OBJECT)


def test_a_bound_may_be_reached_and_not_passed(software: Software) -> None:
    software.add(COUNTER, "", 8)
    assert software.increment(2, enable_bound=True, bound=10) == DONE
    assert software.increment(1, enable_bound=True, bound=10) == (None, BOUND)
    assert software.increment(0, enable_bound=True, bound=9) == (None, BOUND)
    assert software.number() == 10
    assert software.increment(1, enable_bound=False, bound=10) == DONE
    assert software.decrement(11, enable_bound=True) == DONE
    assert software.decrement(1, enable_bound=True) == (None, BOUND)
    assert software.number() == 0
    assert software.decrement(5, enable_bound=True, bound=-5) == DONE
    assert software.number() == -5


def test_of_calls_at_the_same_time_exactly_as_many_count_as_the_bound_allows(software: Software) -> None:
    software.add(COUNTER)
    with ThreadPoolExecutor(12) as clients:
        outcomes = list(clients.map(lambda _: software.increment(1, enable_bound=True, bound=17), range(24)))
    assert sum(outcome == DONE for outcome in outcomes) == 17
    assert [outcome for outcome in outcomes if outcome != DONE] == [(None, BOUND)] * 7
    assert software.number() == 17


def test_a_number_stays_within_32_bits(software: Software) -> None:
    software.add("high", "", HIGHEST)
    software.add("low", "", LOWEST)
    assert software.increment(1, "high") == software.decrement(1, "low") == (None, OVERFLOW)
    assert software.increment(2**32, "low") == (None, OVERFLOW)
    assert (software.number("high"), software.number("low")) == (HIGHEST, LOWEST)
    assert software.increment(HIGHEST, "low") == software.decrement(HIGHEST, "high") == DONE
    assert (software.number("high"), software.number("low")) == (0, -1)


def test_software_meters_what_it_uses_as_the_vendors_help_has_it(software: Software) -> None:
    def use() -> tuple[Any, str]:
        outcome = software.increment(1, enable_bound=True, bound=3)
        if outcome != (None, OBJECT):
            return outcome
        software.try_add(COUNTER, "", 0, unique=True)
        return software.increment(1, enable_bound=True, bound=3)

    with ThreadPoolExecutor(5) as clients:
        outcomes = list(clients.map(lambda _: use(), range(5)))
    assert sorted(outcomes, key=str) == sorted([DONE] * 3 + [(None, BOUND)] * 2, key=str)
    assert [each[1:] for each in software.listed()] == [(COUNTER, "", 3)]


# ---- removing, and the objects of machines


def test_an_object_is_removed_by_name_or_by_id_and_leaves_the_license(software: Software) -> None:
    kept, (first, second) = software.add("kept"), sorted([software.add(COUNTER), software.add(COUNTER)])
    assert Data.remove_data_object_to_key(*software.scope, name=COUNTER) == DONE
    assert [each[0] for each in software.listed()] == sorted([kept, second])
    assert Data.remove_data_object_to_key(*software.scope, object_id=first) == (None, OBJECT)
    assert Data.remove_data_object_to_key(*software.scope, object_id=second) == DONE
    assert Data.remove_data_object_to_key(*software.scope, object_id=second) == (None, OBJECT)
    assert Data.remove_data_object_to_key(*software.scope, name=COUNTER) == (None, OBJECT)
    assert [each["Id"] for each in software.license().data_objects] == [kept]


def test_the_objects_of_a_machine_are_its_own(software: Software) -> None:
    machine, other = "Åsas dator = 1 & 2", "another"  # neither is activated
    of_machine = software.add(COUNTER, "here", 1, machine=machine)
    of_key = software.add(COUNTER, "key", 2)
    assert software.listed(machine=machine) == [(of_machine, COUNTER, "here", 1)]
    assert software.listed("no", machine=machine) == software.listed(machine=other) == []
    assert software.listed() == [(of_key, COUNTER, "key", 2)]
    assert [each["Id"] for each in software.license().data_objects] == [of_key]
    assert Data.remove_data_object_to_machine(*software.scope, machine, object_id=of_key) == (None, OBJECT)
    assert Data.remove_data_object_to_machine(*software.scope, other, name=COUNTER) == (None, OBJECT)
    assert Data.remove_data_object_to_key(*software.scope, object_id=of_machine) == (None, OBJECT)
    assert Data.remove_data_object_to_machine(*software.scope, machine, name=COUNTER) == DONE
    assert software.listed(machine=machine) == []
    again = software.add(COUNTER, machine=machine)
    assert Data.remove_data_object_to_machine(*software.scope, machine, object_id=again) == DONE
    assert software.listed() == [(of_key, COUNTER, "key", 2)]


def test_another_keys_object_is_not_found(software: Software) -> None:
    theirs = Software(software.vendor)
    number = theirs.add(COUNTER)
    assert software.increment(1, object_id=number) == software.decrement(1, object_id=number) == (None, OBJECT)
    assert Data.remove_data_object_to_key(*software.scope, object_id=number) == (None, OBJECT)
    assert theirs.listed() == [(number, COUNTER, "", 0)]


# ---- what is made of them


def test_the_log_tells_every_call_with_its_object_and_its_number(software: Software) -> None:
    number = software.add(COUNTER, "", 3)
    software.increment(5)
    software.increment(-5, enable_bound=True, bound=1)
    software.decrement(2)
    software.decrement(7, "no such name")
    software.try_add(COUNTER, unique=True)
    software.listed()
    machine_object = software.add("n", machine="m")
    software.listed(machine="m")
    Data.remove_data_object_to_key(*software.scope, name=COUNTER)
    Data.remove_data_object_to_key(*software.scope, name=COUNTER)
    assert software.log() == [
        (8010, number, 3), (8011, number, 5), (8021, number, -5), (8012, number, 2), (8022, 0, 7), (8020, 0, 0),
        (8010, 0, 0), (8010, machine_object, 0), (8010, 0, 0), (8010, number, 0), (8020, 0, 0),
    ]  # fmt: skip


def test_custom_features_are_read_from_the_object_that_names_them(software: Software) -> None:
    assert not Helpers.HasFeature(software.license(), "ModuleA")
    software.add("cryptolens_features", '["ModuleA",["ModuleB",["Sub 1"]]]')
    license = software.license()
    names = ("ModuleA", "ModuleB", "ModuleB.Sub 1", "ModuleB.Sub 2", "ModuleC")
    assert [Helpers.HasFeature(license, name) for name in names] == [True, True, True, False, False]


def test_usage_is_recorded_for_a_license_that_names_its_subscription(software: Software) -> None:
    vendor = software.vendor
    scope = (vendor.admin, vendor.product, software.key)
    assert Subscription.record_usage_to_stripe(*scope, 5) == (None, SUBSCRIPTION_ITEM)
    software.add("cryptolens_stripesubscriptionitemid", "si_1")
    assert Subscription.record_usage_to_stripe(*scope, 5) == DONE
    assert Subscription.record_usage_to_stripe(*scope) == DONE  # it sends nothing for the amount
    assert Subscription.record_usage_to_stripe(*scope, -1) == (None, INPUT)
    assert Subscription.record_usage_to_stripe(*scope, "much") == (None, INPUT)
    rows, _ = AI.get_web_api_log(*scope)
    assert [row["state"] for row in rows] == [3010, 7020, 8010, 7010, 7010]


# ---- refusals, word for word

CALLS: dict[str, Callable[[str, int, str], tuple[Any, ...]]] = {
    "add": lambda *scope: Data.add_data_object_to_key(*scope, "n"),
    "add to a machine": lambda *scope: Data.add_data_object_to_machine(*scope, "m", "n"),
    "list": Data.list_key_data_objects,
    "list of a machine": lambda *scope: Data.list_machine_data_objects(*scope, "m"),
    "increment": lambda *scope: Data.increment_int_value_to_key(*scope, name="n", int_value=1),
    "decrement": lambda *scope: Data.decrement_int_value_to_key(*scope, name="n", int_value=1),
    "remove": lambda *scope: Data.remove_data_object_to_key(*scope, name="n"),
    "remove from a machine": lambda *scope: Data.remove_data_object_to_machine(*scope, "m", name="n"),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
ON_NONE = [name for name in CALLS if name.startswith(("increment", "decrement", "remove"))]


@every_call
def test_refused_calls_say_why(vendor: Vendor, call: Callable[..., tuple[Any, ...]]) -> None:
    key = vendor.new_key(1)
    assert [call(token, vendor.product, key) for token in (NO_TOKEN, "", "None")] == [(None, AUTHENTICATE)] * 3
    assert [call(vendor.admin, product, key) for product in ("x", 2**31, -1, "")] == [(None, INPUT)] * 4
    assert call(vendor.admin, vendor.product, "") == (None, INPUT)
    assert call(vendor.admin, NO_PRODUCT, key) == (None, PRODUCT)
    assert call(vendor.token, NO_PRODUCT, key) == (None, DENIED)  # its lock is to one product
    assert call(vendor.token, vendor.product, NO_KEY) == call(vendor.token, vendor.product, "Åsa") == (None, OBJECT)


@pytest.mark.parametrize("name", ON_NONE)
def test_an_object_that_is_not_there_is_said_to_be_out_of_reach(vendor: Vendor, name: str) -> None:
    assert CALLS[name](vendor.token, vendor.product, vendor.new_key(1)) == (None, OBJECT)


@every_call
async def test_a_token_without_the_permission_is_denied(
    vendor: Vendor, new_token: NewToken, call: Callable[..., tuple[Any, ...]]
) -> None:
    token = await new_token(permissions=("Activate", "GetKey"))
    assert call(token, vendor.product, vendor.new_key(1)) == (None, DENIED)


async def test_a_token_for_one_key_reaches_no_other(software: Software, new_token: NewToken) -> None:
    theirs = Software(software.vendor)
    theirs.add("n")
    theirs.add("n", machine="m")
    token = await new_token(key_lock=software.license().global_id)
    for name, call in CALLS.items():
        assert call(token, theirs.vendor.product, theirs.key) == (None, OBJECT), name
    assert len(theirs.listed()) == len(theirs.listed(machine="m")) == 1
    locked = Software(software.vendor, software.key, token)
    locked.add(COUNTER)
    assert locked.increment() == DONE
    assert locked.number() == 1


async def test_the_token_that_the_help_advises_moves_a_counter_by_one_only(software: Software, new_token: NewToken) -> None:
    allowed = ("AddDataObject", "ListDataObjects", "IncrementIntValue", "DecrementIntValue")
    token = await new_token(permissions=allowed, product_lock=software.vendor.product, key_lock=-1, feature_lock=1)
    careful = Software(software.vendor, software.key, token)
    number = careful.add(COUNTER, "", 5)
    for step in (1, -1):
        assert careful.increment(step) == careful.decrement(step) == DONE
    for step in (2, -2):
        assert careful.increment(step) == careful.decrement(step) == (None, OBJECT)
    assert careful.listed() == [(number, COUNTER, "", 5)]
    assert Data.remove_data_object_to_key(*careful.scope, name=COUNTER) == (None, DENIED)
