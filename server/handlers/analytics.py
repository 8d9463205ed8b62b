"""The `ai/` methods. Each docstring is the method's entry in the API documentation."""

from server.rules import grants
from server.services import Services
from server.wire import replies, requests
from storage.records import LogQuery


async def get_web_api_log(svc: Services, ask: requests.GetWebAPILog, now: int) -> replies.Logs:  # noqa: ARG001
    """Read the Web API log, page by page. A reader that follows the ids misses no row and sees none twice."""
    token = ask.caller.token
    license_id = (await svc.licenses.show(token, ask.product_id, ask.key)).id if ask.key else 0
    product_id, license_id = grants.log_scope(token, ask.product_id, license_id)
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
