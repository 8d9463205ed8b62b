"""What a client is told, and what the log is, when the server itself is at fault: on a server in this process."""

import pytest
from inside import Inside
from lines import line_to, request
from office import refused
from structlog.testing import capture_logs

from storage.errors import Broken, Busy, Unavailable


def fail(inside: Inside, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make every call end with this error."""

    def clock() -> float:
        raise error

    monkeypatch.setattr(inside.endpoint._dispatcher, "_clock", clock)


DATA = request("/api/key/GetKey", b"token=secret")


BUGS = [ValueError("secret"), KeyError("secret"), Broken("secret"), OSError("secret"), TimeoutError("secret")]


@pytest.mark.parametrize("error", BUGS, ids=repr)
async def test_a_bug_is_told_in_general_and_logged_by_its_place_only(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fail(inside, monkeypatch, error)
    async with line_to(inside.url) as line:
        for _ in range(2):
            with capture_logs() as logged:
                await line.send(DATA)
                answer = await line.answer()
            assert (answer.status, answer.json) == (500, refused("Something went wrong. Please contact support."))
            (entry,) = logged
            assert (entry["event"], entry["error"], entry["log_level"]) == ("call.failed", type(error).__name__, "error")
            assert entry["frames"][-1].endswith(" clock")
            assert "secret" not in str(entry)


@pytest.mark.parametrize(("error", "seconds", "message"), [
    (Busy("secret"), "1", "The server is busy. Please try again later."),
    (Unavailable("secret"), "5", "The service is temporarily unavailable. Please try again later."),
], ids=repr)  # fmt: skip
async def test_what_will_pass_is_told_with_when_to_come_again_and_not_logged(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, error: Exception, seconds: str, message: str
) -> None:
    fail(inside, monkeypatch, error)
    async with line_to(inside.url) as line:
        with capture_logs() as logged:
            await line.send(DATA)
            answer = await line.answer()
        assert (answer.status, answer.headers["retry-after"], answer.json) == (503, seconds, refused(message))
        assert logged == []
