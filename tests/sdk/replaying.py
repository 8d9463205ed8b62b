"""How recorded requests are sent to the server, and what every answer must be. What is sent stands in `recorded*`."""

from typing import Any

import pytest

from .given import NO_KEY, Vendor, string_document
from .recorded import Answer, Recorded

DONE = b'{"result":0,"message":""}'


def each(requests: tuple[Recorded, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("request_", requests, ids=lambda request: request.id)


def refusal(message: str) -> bytes:
    """Return an answer that refuses: what does not apply is left out, `message` never (it breaks Python)."""
    return b'{"result":1,"message":"%b"}' % message.encode()


def refused(answer: Answer, message: str) -> bool:
    """Whether the answer is this refusal, as every SDK can read it: HTTP 200, or Java loses the message."""
    return (answer.status, answer.body) == (200, refusal(message)) and is_json(answer)


def done(answer: Answer) -> bool:
    """Whether the answer says that it is done, and nothing else."""
    return (answer.status, answer.body) == (200, DONE) and is_json(answer)


def is_json(answer: Answer) -> bool:
    """Whether the answer says what it is, plainly: what is short is never compressed."""
    headers = answer.headers
    return headers["Content-Type"] == "application/json; charset=utf-8" and "Content-Encoding" not in headers


def send(request: Recorded, vendor: Vendor, *, key: str = NO_KEY, machine: str = "m-alpha", **other: object) -> Answer:
    """Send a request of shipped software."""
    values = {"token": vendor.token, "product": vendor.product, "key": key, "machine": machine, **other}
    return request.send(vendor.url, **values)


def manage(request: Recorded, vendor: Vendor, *, key: str = NO_KEY, **other: object) -> Answer:
    """Send a request of the vendor's own."""
    values: dict[str, Any] = {"token": vendor.admin, **other}
    return send(request, vendor, key=key, **values)


def read(vendor: Vendor, key: str) -> dict[str, Any]:
    """Return a license as it is now."""
    answer = vendor.live.call("key/GetKey", Key=key, Sign="true", SignMethod=1, ModelVersion=3)
    return string_document(answer, vendor.public_key, 3)
