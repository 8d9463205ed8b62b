"""The edges: what the server itself refuses, how it says so, its bounds and its times. Nothing of it stands elsewhere.

Protocol: transport, what the server itself refuses. Every answer has the JSON envelope, and each cause a label in the
metrics. The bounds of bodies are a column of the table of methods; rate limits stand in `rules.limits`.
"""

from dataclasses import dataclass, replace
from functools import cache
from math import ceil

import structlog

from server import metrics
from server.answer import Answer
from server.logs import told
from server.places import Crowded
from server.rules.codes import Code, Refusal
from server.rules.limits import Counted, TooMany
from server.wire import encode
from storage.errors import Busy, Unavailable

BACKLOG = 4096  # connections that are made and not yet taken
KEEP_ALIVE_SECONDS = 75.0
HEADER_SECONDS = 10.0
BODY_SECONDS = 5.0
TAKING_SECONDS = 30.0  # in which a client takes nothing of what is sent to it
LINGER_SECONDS = 2.0  # for what still comes of a body that was refused: a client that is cut while it sends sees no answer
AWAITED_SECONDS = 1.0  # for a request that is on its way to a worker that ends
DRAIN_POLL_SECONDS = 0.01
HEADER_BYTES = 8190
MOST_PARTS = 64
MOST_PARAMETERS = 16  # of a header; nobody has more than three

log = structlog.get_logger()
_body = cache(encode.refusal)  # a refusal has to be cheap, and messages are a closed set


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer of the server itself: its label in the metrics, status, message, seconds for Retry-After.

    With `close` the connection ends with the answer: nobody knows where the next request would begin.
    """

    cause: str
    status: int
    message: str
    retry_after: int = 0
    close: bool = False

    def answer(self) -> Answer:
        """Return the answer, always with the JSON envelope."""
        metrics.counted_refusal(self.cause).inc()
        further = f"Retry-After: {self.retry_after}\r\n" if self.retry_after else ""
        if self.status == NO_VERB.status:
            further += "Allow: GET, POST\r\n"
        return Answer(_body(self.message), self.status, further, close=self.close)


NO_METHOD = Refused("unknown_method", 404, "The method could not be found.")
NO_VERB = Refused("verb", 405, "The method could not be found.")
TOO_LARGE = Refused("too_large", 413, "The request is too large.", close=True)
TOO_SLOW = Refused("slow_body", 408, "The input parameters were incorrect.", close=True)
UNPARSABLE = Refused("unparsable", 200, Code.INPUT)
BROKEN = Refused("broken_http", 400, "The input parameters were incorrect.", close=True)
TOO_MANY = {
    counted: Refused(f"too_many_{counted}", 429, "Too many requests. Please try again later.") for counted in Counted
}
BUSY = Refused("busy", 503, "The server is busy. Please try again later.", 1)
CROWDED = replace(BUSY, cause="crowded")
UNAVAILABLE = Refused("unavailable", 503, "The service is temporarily unavailable. Please try again later.", 5)
BUG = Refused("bug", 500, "Something went wrong. Please contact support.")
SLOW_HEADER = "slow_header"  # a label without an answer: the connection is closed


class Unreadable(Exception):
    """The body is not what its header says, or nothing that is read here."""


class TooLarge(Exception):
    """The body is above the method's bound."""


class TooSlow(Exception):
    """The body did not come in its time, or never will: the client has left."""


REFUSALS = {
    Crowded: CROWDED, Busy: BUSY, Unavailable: UNAVAILABLE, TooLarge: TOO_LARGE, TooSlow: TOO_SLOW, Unreadable: UNPARSABLE,
    Refusal: UNPARSABLE,
}  # fmt: skip


def refused_for(error: Exception) -> Refused:
    """Return how an exception is answered that a request ended with. What is not expected is a bug, and logged."""
    if isinstance(error, TooMany):
        return replace(TOO_MANY[error.counted], retry_after=ceil(error.seconds))
    for kind, refused in REFUSALS.items():
        if isinstance(error, kind):
            return refused
    log.error("call.failed", **told(error))
    return BUG
