"""The `ai/` methods. Each docstring is the method's entry in the API documentation."""

from functools import partial

from server.handlers.key import decide
from server.rules import events, grants
from server.rules.events import About
from server.services import Services
from server.wire import replies, requests
from storage.records import EventQuery, LogQuery


async def get_web_api_log(svc: Services, ask: requests.GetWebAPILog, now: int) -> replies.Logs:  # noqa: ARG001
    """Read the Web API log, page by page. A reader that follows the ids misses no row and sees none twice."""
    token = ask.caller.token
    product_id, license_id = await _scope(svc, ask)
    query = LogQuery(
        account_id=token.account_id,
        product_id=product_id,
        license_id=license_id,
        machine_code=ask.machine_code or None,
        friendly_name=ask.friendly_name,
        states=ask.states,
        since=ask.time.since,
        until=ask.time.until,
        after_id=ask.after_id,
        before_id=ask.ending_before,
        descending=ask.descending,
        limit=ask.limit,
    )
    return replies.Logs(await svc.log.read(token, query), classified=ask.anomaly_classification)


async def get_events(svc: Services, ask: requests.GetEvents, now: int) -> replies.Events:  # noqa: ARG001
    """Read the events, page by page. A reader that follows the ids misses no event and sees none twice."""
    token = ask.caller.token
    product_id, license_id = await _scope(svc, ask)
    query = EventQuery(
        account_id=token.account_id,
        product_id=product_id,
        license_id=license_id,
        metadata=ask.metadata,
        since=ask.time.since,
        until=ask.time.until,
        after_id=ask.after_id,
        before_id=ask.ending_before,
        limit=ask.limit,
    )
    return replies.Events(await svc.events.read(token, query))


async def register_event(svc: Services, ask: requests.RegisterEvent, now: int) -> replies.Done:
    """Keep something that client software tells of itself: of a license, of a product, or of neither."""
    await _register(svc, ask, now=now)
    return replies.Done()


async def register_events(svc: Services, ask: requests.RegisterEvents, now: int) -> replies.Done:
    """Keep several events (`Events`, at most 1000) of one license, of one product, or of neither: all of them or none."""
    await _register(svc, ask, now=now)
    return replies.Done()


async def _register(svc: Services, ask: requests.RegisterEvent | requests.RegisterEvents, *, now: int) -> None:
    caller = ask.caller
    if ask.key:
        rule = partial(events.register, told=ask.told, machine_code=ask.machine_code, caller=caller, now=now)
        await decide(svc, caller, ask.product_id, ask.key, rule)
        return
    about = About(caller.token.account_id, ask.product_id, ask.machine_code)
    await svc.events.add(caller.token, ask.product_id, events.of(ask.told, about, license_id=0, now=now))


async def _scope(svc: Services, ask: requests.LogPage) -> tuple[int, int]:
    """Return the product and the license (0: any) that a page is held to, by what it names and by the token's locks."""
    token = ask.caller.token
    license_id = (await svc.licenses.show(token, ask.product_id, ask.key)).id if ask.key else 0
    return grants.log_scope(token, ask.product_id, license_id)
