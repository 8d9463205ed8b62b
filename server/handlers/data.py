"""The `data/` methods, each in its three forms. Each docstring is the method's entry in the API documentation."""

from functools import partial

from server import metrics
from server.rules import values
from server.rules.codes import Code, Refusal
from server.rules.grants import Caller
from server.rules.states import State
from server.rules.values import Call, Outcome
from server.services import Services
from server.wire import replies, requests
from storage.records import DataObject, Place, Referencer

Add = requests.AddDataObject | requests.AddDataObjectToKey | requests.AddDataObjectToMachineCode
List = requests.ListDataObjects | requests.ListDataObjectsToKey | requests.ListDataObjectsToMachineCode
SetInt = requests.SetIntValue | requests.SetIntValueToKey | requests.SetIntValueToMachineCode
SetString = requests.SetStringValue | requests.SetStringValueToKey | requests.SetStringValueToMachineCode
Step = requests.StepIntValue | requests.StepIntValueToKey | requests.StepIntValueToMachineCode
Remove = requests.ById | requests.OfKey | requests.OfMachine
Ask = Add | List | SetInt | SetString | Step | Remove


async def add_data_object(svc: Services, ask: Add, now: int) -> replies.Id:
    """Create a data object; with `CheckForDuplicates` only if there is none of that name yet."""
    new = DataObject(await svc.objects.new_id(), ask.name, ask.string_value, ask.int_value)
    act = partial(values.add, new=new, unique=ask.check_for_duplicates)
    await _decide(svc, ask, now, Call(act, State.OBJECT_DONE, State.OBJECT_REFUSED, ask.int_value, "AddDataObject"))
    return replies.Id(new.id)


async def list_data_objects(svc: Services, ask: List, now: int) -> replies.DataObjects:
    """List data objects, those whose name contains a text if one is given.

    `ShowAll` of the general form lists all that the token's locks reach, and says what each hangs at.
    """
    if isinstance(ask, requests.ListDataObjects) and ask.show_all:
        return await _everything(svc, ask)
    act = partial(values.listed, contains=ask.contains)
    outcome = await _decide(svc, ask, now, Call(act, State.OBJECT_DONE, State.OBJECT_REFUSED))
    return replies.DataObjects(outcome.shown)


async def set_int_value(svc: Services, ask: SetInt, now: int) -> replies.Done:
    """Set the number of a data object. One that is no int32 becomes 0."""
    act = partial(values.set_int, which=ask.which, value=ask.int_value)
    await _decide(svc, ask, now, Call(act, State.INT_SET, State.INT_REFUSED, ask.int_value, "SetIntValue"))
    return replies.Done()


async def set_string_value(svc: Services, ask: SetString, now: int) -> replies.Done:
    """Set the text of a data object."""
    act = partial(values.set_string, which=ask.which, value=ask.string_value)
    await _decide(svc, ask, now, Call(act, State.STRING_SET, State.STRING_REFUSED, action="SetStringValue"))
    return replies.Done()


async def increment_int_value(svc: Services, ask: Step, now: int) -> replies.Done:
    """Add to the number of a data object, never beyond `Bound` if `EnableBound` is set. Concurrent calls all count."""
    act = partial(
        values.increment, which=ask.which, amount=ask.int_value, bound=ask.limit, largest=ask.caller.token.feature_lock
    )
    await _decide(svc, ask, now, Call(act, State.INCREMENTED, State.INCREMENT_REFUSED, ask.int_value))
    return replies.Done()


async def decrement_int_value(svc: Services, ask: Step, now: int) -> replies.Done:
    """Take from the number of a data object, never below `Bound` if `EnableBound` is set. Concurrent calls all count."""
    act = partial(
        values.decrement, which=ask.which, amount=ask.int_value, bound=ask.limit, largest=ask.caller.token.feature_lock
    )
    await _decide(svc, ask, now, Call(act, State.DECREMENTED, State.DECREMENT_REFUSED, ask.int_value))
    return replies.Done()


async def remove_data_object(svc: Services, ask: Remove, now: int) -> replies.Done:
    """Remove a data object."""
    act = partial(values.remove, which=ask.which)
    await _decide(svc, ask, now, Call(act, State.OBJECT_DONE, State.OBJECT_REFUSED, action="RemoveDataObject"))
    return replies.Done()


async def _decide(svc: Services, ask: Ask, now: int, call: Call) -> Outcome:
    """Have a call decided wherever its object hangs, or raise what it was refused with."""
    match ask:
        case requests.AtMachine() | requests.OfMachine():
            outcome = await _of_license(svc, ask.caller, _license(ask), now, call, machine_code=ask.machine_code)
        case requests.LicenseAsk():
            outcome = await _of_license(svc, ask.caller, _license(ask), now, call)
        case requests.AtReferencer():
            outcome = await _at(svc, ask, await _named(svc, ask), now, call)
        case requests.ById():
            outcome = await _at(svc, ask, await _found(svc, ask), now, call)
    if outcome.refusal is not None:
        raise Refusal(outcome.refusal, confirmed=True)
    return outcome


def _license(ask: requests.LicenseAsk) -> Place:
    return Place(Referencer.KEY, 0, ask.product_id, ask.key)


async def _of_license(
    svc: Services, caller: Caller, place: Place, now: int, call: Call, *, machine_code: str | None = None
) -> Outcome:
    rule = partial(values.of_license, machine_code=machine_code, call=call, caller=caller, now=now)
    with metrics.decide_seconds.time():
        return (await svc.ledger.decide(caller.token, place.product_id, place.key, rule)).answer


async def _named(svc: Services, ask: requests.AtReferencer) -> Place:
    """Return what a call names by kind and number, if the locks allow it."""
    token, kind = ask.caller.token, ask.referencer_type
    place: Place | None = Place(kind, token.account_id if kind is Referencer.USER else ask.referencer_id)
    if kind is Referencer.KEY:
        place = await svc.objects.find_license(token, ask.referencer_id)
    if place is None:
        raise Refusal(Code.OBJECT, confirmed=True)
    if (refusal := values.locked_out(token, place)) is not None:
        raise Refusal(refusal)
    return place


async def _found(svc: Services, ask: requests.ById) -> Place:
    """Return what the object of an id hangs at, if there is one and the locks reach it: neither may be told apart."""
    place = await svc.objects.find(ask.caller.token, ask.id)
    if place is None or values.hides(ask.caller.token, place):
        raise Refusal(Code.OBJECT, confirmed=True)
    return place


async def _at(svc: Services, ask: requests.AtReferencer | requests.ById, place: Place, now: int, call: Call) -> Outcome:
    """Have a call of the general form decided: of a license as if it had named the key."""
    caller = ask.caller
    if place.referencer is Referencer.KEY:
        return await _of_license(svc, caller, place, now, call)
    if isinstance(ask, requests.ListDataObjects):
        return call.act(await svc.objects.read(caller.token, place))
    rule = partial(values.of_owner, place=place, call=call, caller=caller, now=now)
    return await svc.objects.decide(caller.token, place, rule, edits=bool(call.action))


async def _everything(svc: Services, ask: requests.ListDataObjects) -> replies.DataObjects:
    """List what the locks reach: a lock to one key does not reach everything of anything."""
    token = ask.caller.token
    if token.key_lock > 0:
        raise Refusal(Code.OBJECT)
    found = await svc.objects.read_all(token, token.product_lock, ask.contains)
    return replies.DataObjects([each for each, _ in found], [(place.referencer, place.id) for _, place in found])
