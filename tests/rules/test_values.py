"""Data objects: what becomes of them, what is refused, and what the logs are told."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rules import values
from server.rules.codes import Code
from server.rules.states import State
from server.rules.values import HIGHEST, LOWEST, MOST, MOST_OF_MACHINES, MOST_TEXT, Act, Call, Objects, Outcome, Which
from storage.records import Change, DataObject, Edit, License, Place, Placed, Referencer, Verdict

from .given import FULL_ADDRESS, MASKED_ADDRESS, NOW, a_caller, a_license, a_token, left_by

UNITS, SEATS, OLD, YOUNG = (
    DataObject(11, "units", "a text", 5), DataObject(12, "seats", "", -3),
    DataObject(13, "twice", "old", 1), DataObject(14, "twice", "young", 2),
)  # fmt: skip
ALL = (UNITS, SEATS, OLD, YOUNG)
NEW = DataObject(99, "new", "text", 1)


def named(name: str) -> Which:
    return Which(0, name)


def licensed(own: Objects = ALL, of_machines: Mapping[str, Objects] | None = None, *, block: bool = False) -> License:
    return replace(a_license(block=block), data_objects=own, machine_objects=of_machines or {})


def step(which: Which, amount: int, *, up: bool = True, bound: int | None = None, largest: int = 0) -> Act:
    return partial(values.increment if up else values.decrement, which=which, amount=amount, bound=bound, largest=largest)


def counter(value: int) -> Objects:
    return (DataObject(1, "n", "", value),)


def counted(value: int, act: Act) -> int | Code:
    """The counter after an act that is to change it, or why it is refused."""
    outcome = act(counter(value))
    if outcome.refusal is not None:
        assert (outcome.put, outcome.drop) == (None, None)
        return outcome.refusal
    return value if outcome.put is None else outcome.put.int_value


N = named("n")


# ---- which object is meant


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (named("units"), UNITS),
        (Which(12, ""), SEATS),
        (Which(12, "units"), SEATS),  # an id wins
        (Which(0, "twice"), OLD),
        (Which(14, "twice"), YOUNG),
        (Which(99, "units"), None),
        (named("Units"), None),
        (named("unit"), None),
        (named(""), None),
        (Which(0, ""), None),
    ],
)
def test_an_object_is_meant_by_its_id_or_else_by_its_name_of_which_the_lowest_id_has_it(
    which: Which, found: DataObject | None
) -> None:
    assert values.remove(ALL, which=which) == (Outcome(Code.OBJECT) if found is None else Outcome(drop=found, found=found))


def test_an_object_without_a_name_is_found_by_its_empty_name() -> None:
    nameless = DataObject(5, "", "", 0)
    assert values.remove((nameless,), which=named("")).drop == nameless


ON_ONE: dict[str, Callable[[Which], Act]] = {
    "SetIntValue": lambda which: partial(values.set_int, which=which, value=1),
    "SetStringValue": lambda which: partial(values.set_string, which=which, value="x"),
    "IncrementIntValue": lambda which: step(which, 1),
    "DecrementIntValue": lambda which: step(which, 1, up=False),
    "RemoveDataObject": lambda which: partial(values.remove, which=which),
}


@pytest.mark.parametrize("method", ON_ONE)
def test_what_is_not_there_is_refused(method: str) -> None:
    assert ON_ONE[method](named("nothing"))(ALL) == Outcome(Code.OBJECT)
    assert ON_ONE[method](named("units"))(()) == Outcome(Code.OBJECT)


# ---- adding, listing, setting, removing


def test_a_new_object_is_added_though_its_name_is_there() -> None:
    assert values.add(ALL, new=NEW._replace(name="units"), unique=False).put == NEW._replace(name="units")


@pytest.mark.parametrize(
    ("name", "refusal"), [("units", Code.OBJECT_EXISTS), ("twice", Code.OBJECT_EXISTS), ("UNITS", None), ("", None)]
)
def test_a_new_object_may_be_refused_for_its_name(name: str, refusal: Code | None) -> None:
    assert values.add(ALL, new=NEW._replace(name=name), unique=True).refusal is refusal


def test_a_referencer_has_at_most_1000_objects() -> None:
    assert MOST == 1_000
    many = tuple(DataObject(number, f"n{number}", "", 0) for number in range(1, MOST + 1))
    assert values.add(many[:-1], new=NEW, unique=True).put == NEW
    assert values.add(many, new=NEW, unique=False) == Outcome(Code.OBJECTS_FULL)
    assert values.add(many, new=NEW._replace(name="n7"), unique=True).refusal is Code.OBJECT_EXISTS
    assert values.set_int(many, which=named("n7"), value=1).refusal is None


def of_machine(license: License, code: str | None, act: Act) -> Verdict[Outcome]:
    call = Call(act, State.OBJECT_DONE, State.OBJECT_REFUSED)
    return values.of_license(license, machine_code=code, call=call, caller=a_caller(), now=NOW)


def test_the_machine_codes_of_a_license_have_at_most_10000_objects_together() -> None:
    assert MOST_OF_MACHINES == 10_000
    full = {
        f"m{machine}": tuple(DataObject(machine * MOST + number, "n", "", 0) for number in range(1, MOST + 1))
        for machine in range(MOST_OF_MACHINES // MOST)
    }
    add = partial(values.add, new=NEW, unique=False)
    for code in ("one more", "m3"):
        verdict = of_machine(licensed((), full), code, add)
        assert (verdict.answer.refusal, verdict.change) == (Code.OBJECTS_FULL, None)
        assert verdict.entry is not None
        assert (verdict.entry.state, verdict.entry.do_id) == (State.OBJECT_REFUSED, 0)
    room = {**full, "m3": full["m3"][1:]}
    assert of_machine(licensed((), room), "m3", add).change == Change(put=Placed(NEW, "m3"))
    assert of_machine(licensed((), room), "one more", add).change == Change(put=Placed(NEW, "one more"))
    assert of_machine(licensed((), full), None, add).change == Change(put=Placed(NEW))
    changed = of_machine(licensed((), full), "m3", step(named("n"), 1)).change
    assert changed == Change(put=Placed(full["m3"][0]._replace(int_value=1), "m3"))


def test_the_texts_that_are_loaded_with_a_license_have_a_bound_together() -> None:
    texts = {"m": (DataObject(9_001, "n", "x" * (MOST_TEXT - 10), 0),)}
    own = (DataObject(9_002, "own", "", 0),)
    for length, refusal in ((10, None), (11, Code.OBJECTS_FULL)):
        add = partial(values.add, new=NEW._replace(string_value="y" * length), unique=False)
        change = partial(values.set_string, which=named("own"), value="y" * length)
        for code, act in ((None, add), ("m", add), ("other", add), (None, change)):
            assert of_machine(licensed(own, texts), code, act).answer.refusal is refusal
    longer = partial(values.set_string, which=named("n"), value="x" * MOST_TEXT)
    assert of_machine(licensed(own, texts), "m", longer).answer.refusal is None
    assert of_machine(licensed(own, texts), "m", step(named("n"), 1)).answer.refusal is None


def test_the_texts_of_a_product_have_a_bound_together() -> None:
    call = Call(partial(values.set_string, which=named("units"), value="y"), State.STRING_SET, State.STRING_REFUSED)
    long = DataObject(9_001, "n", "x" * MOST_TEXT, 0)
    place = Place(Referencer.PRODUCT, 3001)
    verdict = values.of_owner((*ALL, long), place=place, call=call, caller=a_caller(), now=NOW)
    assert (verdict.answer, verdict.change) == (Outcome(Code.OBJECTS_FULL), None)


@pytest.mark.parametrize(
    ("contains", "shown"), [("", ALL), ("TW", (OLD, YOUNG)), ("s", (UNITS, SEATS)), ("units", (UNITS,)), ("%", ())]
)
def test_objects_are_listed_whose_name_contains_a_text_in_whatever_case(contains: str, shown: Objects) -> None:
    assert values.listed(ALL, contains=contains) == Outcome(shown=shown)


def test_setting_one_value_leaves_the_other() -> None:
    assert values.set_int(ALL, which=named("units"), value=-7).put == UNITS._replace(int_value=-7)
    assert values.set_string(ALL, which=named("units"), value="").put == UNITS._replace(string_value="")


# ---- counting


@pytest.mark.parametrize(
    ("value", "act", "after"),
    [
        (5, step(N, 2), 7),
        (5, step(N, -2), 7),
        (5, step(N, 2, up=False), 3),
        (5, step(N, -2, up=False), 3),
        (5, step(N, 0), 5),
        (5, step(N, 5, bound=10), 10),
        (5, step(N, 6, bound=10), Code.BOUND),
        (5, step(N, 6, up=False, bound=-1), -1),
        (5, step(N, 7, up=False, bound=-1), Code.BOUND),
        (12, step(N, 0, bound=10), Code.BOUND),
        (12, step(N, 1, up=False, bound=0), 11),
        (-5, step(N, 1, up=False, bound=0), Code.BOUND),
        (-5, step(N, 1, bound=0), -4),
        (HIGHEST - 1, step(N, 1), HIGHEST),
        (HIGHEST, step(N, 1), Code.OVERFLOW),
        (LOWEST + 1, step(N, 1, up=False), LOWEST),
        (LOWEST, step(N, 1, up=False), Code.OVERFLOW),
        (HIGHEST, step(N, 2**32 - 1, up=False), LOWEST),
        (0, step(N, 2**63 - 1), Code.OVERFLOW),
        (0, step(N, -(2**63)), Code.OVERFLOW),
        (HIGHEST, step(N, 1, bound=HIGHEST), Code.OVERFLOW),
        (0, step(N, 2**31, bound=2**40), Code.OVERFLOW),
        (5, step(N, 3, largest=3), 8),
        (5, step(N, 4, largest=3), Code.OBJECT),
        (5, step(N, -4, largest=3), Code.OBJECT),
        (5, step(N, 4, up=False, largest=3), Code.OBJECT),
        (5, step(N, 0, largest=1), 5),
        (5, step(N, 4, largest=-1), 9),
        (HIGHEST, step(N, 4, largest=3), Code.OBJECT),
    ],
)
def test_a_step_changes_the_number_within_its_bounds_or_nothing(value: int, act: Act, after: int | Code) -> None:
    assert counted(value, act) == after


def test_what_a_refused_step_was_about_is_known() -> None:
    for act in (step(N, 1, bound=0), step(N, 2**31), step(N, 2, largest=1)):
        assert act(counter(5)).found == counter(5)[0]


INT32S = st.integers(LOWEST, HIGHEST)


@given(INT32S, st.lists(st.tuples(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.none() | INT32S), max_size=20))
def test_after_any_steps_the_number_is_the_sum_of_those_that_were_done(
    value: int, steps: list[tuple[bool, int, int | None]]
) -> None:
    total = value
    for up, amount, bound in steps:
        after = counted(value, step(N, amount, up=up, bound=bound))
        if isinstance(after, Code):
            continue
        total += abs(amount) if up else -abs(amount)
        assert after == total
        assert LOWEST <= after <= HIGHEST
        assert bound is None or (after <= bound if up else after >= bound)
        value = after


@given(INT32S, st.integers(-(2**31), 2**31 - 1), st.booleans(), st.integers(1, 2**31))
def test_a_feature_lock_refuses_larger_steps_and_no_other(value: int, amount: int, up: bool, largest: int) -> None:
    free, locked = (counted(value, step(N, amount, up=up, largest=each)) for each in (0, largest))
    assert locked == (Code.OBJECT if abs(amount) > largest else free)


def test_what_stays_as_it_is_needs_no_change() -> None:
    for act in (
        partial(values.set_int, which=named("units"), value=5),
        partial(values.set_string, which=named("units"), value="a text"),
        step(named("units"), 0),
    ):
        outcome = act(ALL)
        assert (outcome.refusal, outcome.put, outcome.found) == (None, None, UNITS)
        assert of_machine(licensed(), None, act).change is None


# ---- verdicts on a license


ADD = partial(values.add, new=NEW, unique=True)
CALLS = {
    "add": (Call(ADD, State.OBJECT_DONE, State.OBJECT_REFUSED, 1), 8010, 99, 1),
    "list": (Call(partial(values.listed, contains=""), State.OBJECT_DONE, State.OBJECT_REFUSED), 8010, 0, 0),
    "remove": (Call(ON_ONE["RemoveDataObject"](named("units")), State.OBJECT_DONE, State.OBJECT_REFUSED), 8010, 11, 0),
    "up": (Call(step(named("units"), -4), State.INCREMENTED, State.INCREMENT_REFUSED, -4), 8011, 11, -4),
    "down": (Call(step(named("units"), 4, up=False), State.DECREMENTED, State.DECREMENT_REFUSED, 4), 8012, 11, 4),
    "int": (Call(ON_ONE["SetIntValue"](named("units")), State.INT_SET, State.INT_REFUSED, 1), 8013, 11, 1),
    "text": (Call(ON_ONE["SetStringValue"](named("units")), State.STRING_SET, State.STRING_REFUSED), 8014, 11, 0),
}


def verdict_on(license: License, call: Call, code: str | None = None, **locks: int) -> Verdict[Outcome]:
    return values.of_license(license, machine_code=code, call=call, caller=a_caller(**locks), now=NOW)


@pytest.mark.parametrize("code", [None, "m"])
@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize(("call", "state", "do_id", "passed"), CALLS.values(), ids=CALLS)
def test_what_is_done_is_logged_with_the_object_and_the_number_that_was_passed(
    *, call: Call, state: int, do_id: int, passed: int, block: bool, code: str | None
) -> None:
    license = licensed(ALL if code is None else (), {"m": ALL} if code else {}, block=block)
    verdict = verdict_on(license, call, code)
    assert verdict.answer.refusal is None
    entry = verdict.entry
    assert entry is not None
    assert (entry.state, entry.do_id, entry.do_int_value, entry.machine_code) == (state, do_id, passed, code or "")
    assert (entry.license_id, entry.key, entry.product_id, entry.time) == (1005, license.key, 3001, NOW)
    assert (entry.ip, verdict.edit) == (MASKED_ADDRESS, None)
    assert FULL_ADDRESS not in repr(verdict)
    assert (verdict.change is None) == (state == 8010 and do_id == 0)


@pytest.mark.parametrize(("call", "state"), [(call, state) for call, state, *_ in CALLS.values()], ids=CALLS)
def test_a_key_lock_to_another_key_is_refused_and_logged_without_an_object(call: Call, state: int) -> None:
    verdict = verdict_on(licensed(), call, key_lock=1006)
    assert (verdict.answer, verdict.change) == (Outcome(Code.OBJECT), None)
    assert verdict.entry is not None
    assert (verdict.entry.state, verdict.entry.do_id) == (state + 10, 0)
    for lock in (1005, -1, 0):
        assert verdict_on(licensed(), call, key_lock=lock).answer.refusal is None


@pytest.mark.parametrize(
    ("call", "state"), [(call, state) for name, (call, state, *_) in CALLS.items() if name not in ("add", "list")]
)
def test_a_missing_object_is_logged_as_failed_without_an_id(call: Call, state: int) -> None:
    """The objects of a machine code are none of the license's, and the other way round; another code's neither."""
    for license, code in (
        (licensed((), {"m": ALL}), None), (licensed(ALL), "m"), (licensed((), {"m": ALL}), "M"),
        (licensed((), {"m": ALL}), ""),
    ):  # fmt: skip
        verdict = verdict_on(license, call, code)
        assert (verdict.answer, verdict.change) == (Outcome(Code.OBJECT), None)
        assert verdict.entry is not None
        assert (verdict.entry.state, verdict.entry.do_id) == (state + 10, 0)


@pytest.mark.parametrize(
    ("act", "state"), [(step(N, 9, bound=10), 8021), (step(N, 9, up=False, bound=0), 8022), (step(N, 2**31), 8021)]
)
def test_a_refused_step_is_logged_with_its_object_and_changes_nothing(act: Act, state: int) -> None:
    done, refused = (State(state - 10), State(state))
    verdict = verdict_on(licensed(counter(5)), Call(act, done, refused, 9))
    assert verdict.change is None
    assert verdict.entry is not None
    assert (verdict.entry.state, verdict.entry.do_id, verdict.entry.do_int_value) == (state, 1, 9)


@pytest.mark.parametrize(("passed", "told"), [(2**40, HIGHEST), (-(2**40), LOWEST), (HIGHEST, HIGHEST), (LOWEST, LOWEST)])
def test_a_number_that_no_log_row_can_hold_is_logged_as_the_nearest_that_it_can(passed: int, told: int) -> None:
    verdict = verdict_on(licensed(counter(5)), Call(step(N, passed), State.INCREMENTED, State.INCREMENT_REFUSED, passed))
    assert verdict.entry is not None
    assert verdict.entry.do_int_value == told


WHICH = st.builds(Which, st.sampled_from([0, 0, 100, 101, 102, 103]), st.sampled_from("ab"))
ACTS = st.one_of(
    st.builds(lambda which: partial(values.remove, which=which), WHICH),
    st.builds(lambda which, amount, up: step(which, amount, up=up), WHICH, st.integers(-2, 2), st.booleans()),
    st.builds(lambda which, value: partial(values.set_int, which=which, value=value), WHICH, st.integers(-2, 2)),
    st.builds(lambda which, value: partial(values.set_string, which=which, value=value), WHICH, st.sampled_from(["", "x"])),
    st.builds(lambda name, unique: (name, unique), st.sampled_from("ab"), st.booleans()),
)


@given(st.lists(st.tuples(ACTS, st.sampled_from([None, "m", "M"])), max_size=25))
def test_a_license_in_memory_has_the_objects_that_its_rows_would_give(acts: list[tuple[Act, str | None]]) -> None:
    """Put and drop as the SQL does them, by id. A machine code without objects leaves no trace."""
    license, rows = licensed(()), dict[int, Placed]()
    for new_id, (drawn, code) in enumerate(acts, 100):
        act = drawn
        if isinstance(drawn, tuple):
            name, unique = drawn
            act = partial(values.add, new=DataObject(new_id, name, "", 0), unique=unique)
        change = of_machine(license, code, act).change
        license = left_by(license, change)
        if change is not None and change.drop is not None:
            del rows[change.drop.object.id]
        if change is not None and change.put is not None:
            rows[change.put.object.id] = change.put
        for holder in (None, "m", "M"):
            held = tuple(rows[each].object for each in sorted(rows) if rows[each].machine_code == holder)
            assert license.objects(holder) == held
    assert all(license.machine_objects.values())


# ---- objects of a product or the account


PRODUCT, ACCOUNT = Place(Referencer.PRODUCT, 3001), Place(Referencer.USER, 1)


@pytest.mark.parametrize(("place", "kind"), [(PRODUCT, "Product"), (ACCOUNT, "Account")])
def test_a_change_of_a_product_or_the_account_is_told_with_the_name_and_no_value(place: Place, kind: str) -> None:
    call = Call(partial(values.set_string, which=named("units"), value="of Ann"), State.STRING_SET, State.STRING_REFUSED,
                action="SetStringValue")  # fmt: skip
    verdict = values.of_owner(ALL, place=place, call=call, caller=a_caller(), now=NOW)
    assert verdict.change == Change(put=Placed(UNITS._replace(string_value="of Ann")))
    assert verdict.edit == Edit(1, NOW, kind, place.id, "SetStringValue", 4, '{"dataObject":"units"}')
    assert verdict.entry is None


@pytest.mark.parametrize(
    ("act", "action", "changes", "told"),
    [
        (ADD, "AddDataObject", True, True),
        (ON_ONE["RemoveDataObject"](named("units")), "RemoveDataObject", True, True),
        (step(named("units"), 1), "", True, False),
        (step(named("units"), 0), "", False, False),
        (partial(values.set_int, which=named("units"), value=5), "SetIntValue", False, False),
        (partial(values.set_int, which=named("none"), value=5), "SetIntValue", False, False),
        (partial(values.listed, contains=""), "", False, False),
    ],
)
def test_only_what_changes_is_told_and_counting_never(act: Act, action: str, changes: bool, told: bool) -> None:
    call = Call(act, State.OBJECT_DONE, State.OBJECT_REFUSED, action=action)
    verdict = values.of_owner(ALL, place=PRODUCT, call=call, caller=a_caller(), now=NOW)
    assert (verdict.change is not None, verdict.edit is not None) == (changes, told)
    assert verdict.answer == act(ALL)


# ---- locks of the general forms


MINE, OTHERS = Place(Referencer.KEY, 1005, 3001, "K"), Place(Referencer.KEY, 2005, 3002, "L")
ELSEWHERE, MACHINE = Place(Referencer.PRODUCT, 3002), Place(Referencer.MACHINE_CODE, 1005, 3001, "K")


@pytest.mark.parametrize(
    ("locks", "refused"),
    [
        ({}, {MACHINE: Code.OBJECT}),
        ({"product_lock": 3001},
         {MACHINE: Code.OBJECT, OTHERS: Code.OBJECT, ELSEWHERE: Code.DENIED, ACCOUNT: Code.DENIED}),
        ({"key_lock": 1005},
         {MACHINE: Code.OBJECT, PRODUCT: Code.OBJECT, ELSEWHERE: Code.OBJECT, ACCOUNT: Code.OBJECT}),
        ({"product_lock": 3001, "key_lock": 1005},
         {MACHINE: Code.OBJECT, OTHERS: Code.OBJECT, PRODUCT: Code.OBJECT, ELSEWHERE: Code.DENIED, ACCOUNT: Code.DENIED}),
    ],
    ids=str,
)  # fmt: skip
def test_the_locks_of_a_token_reach_so_far(locks: dict[str, int], refused: dict[Place, Code]) -> None:
    """A key lock leaves other keys to the ledger, which logs that they were refused."""
    token = a_token(**locks)
    for place in (MINE, OTHERS, PRODUCT, ELSEWHERE, ACCOUNT, MACHINE):
        assert values.locked_out(token, place) == refused.get(place), place
        assert values.hides(token, place) == (place in refused)
