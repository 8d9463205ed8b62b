"""The `message/` methods. Each docstring is the method's entry in the API documentation."""

from server.rules.codes import Code, Refusal
from server.services import Services
from server.wire import replies, requests

MOST_MESSAGES = 1_000  # of one answer


async def get_messages(svc: Services, ask: requests.GetMessages, now: int) -> replies.Messages:  # noqa: ARG001
    """List the broadcasts made after a time, the newest first: of one channel, or of all; at most the newest 1000."""
    return replies.Messages(await svc.messages.newer(ask.caller.token, ask.channel, ask.time, MOST_MESSAGES))


async def create_message(svc: Services, ask: requests.CreateMessage, now: int) -> replies.MessageId:
    """Broadcast a message to client software, dated now or at another time."""
    message_id = await svc.messages.add(
        ask.caller.token, content=ask.content, channel=ask.channel, created=ask.time or now, now=now
    )
    return replies.MessageId(message_id)


async def remove_message(svc: Services, ask: requests.RemoveMessage, now: int) -> replies.Done:
    """Take a broadcast back."""
    if not await svc.messages.remove(ask.caller.token, ask.id, now):
        raise Refusal(Code.INPUT, confirmed=True)
    return replies.Done()
