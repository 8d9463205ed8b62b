"""A client of a load: makes the calls that client software makes, one at a time, and notes each with its answer.

No call is made again here, and no library below makes one again: a doubled row could not be told from a bug.
"""

import http.client
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from loadtests.journal import Call, Counter, Kind, Line, Terms

PATIENCE = 30.0  # seconds; the server's own is 5
FORM = "application/x-www-form-urlencoded"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
METHODS: Mapping[Kind, str] = {
    Kind.ACTIVATE: "key/Activate",
    Kind.GET_KEY: "key/GetKey",
    Kind.DEACTIVATE: "key/Deactivate",
    Kind.TAKE: "key/Activate",
    Kind.GIVE: "key/Deactivate",
    Kind.CREATE: "key/CreateKey",
    Kind.ADD: "data/AddDataObjectToKey",
    Kind.INCREMENT: "data/IncrementIntValueToKey",
}
BY_THE_OFFICE = frozenset({Kind.CREATE, Kind.ADD})  # calls of the vendor's own software, with the token that may
SIGNED = {"Sign": "true", "SignMethod": 1}
DAYS = 365


class Seen(NamedTuple):
    """A call for whoever counts: what was asked, how long it took (seconds), the answer's bytes, '' or why it has none."""

    kind: Kind
    took: float
    size: int
    fault: str


class Client:
    """A client of the server that a demo.json tells of; loopback only.

    With `keeps` it keeps its connection, without it makes one for each call, as most SDKs do.
    """

    def __init__(
        self, demo: Mapping[str, Any], note: Callable[[Line], None], seen: Callable[[Seen], None] = lambda _: None,
        *, keeps: bool = True,
    ) -> None:  # fmt: skip
        url = urllib.parse.urlsplit(str(demo["url"]))
        if url.hostname not in LOOPBACK:
            raise ValueError("load goes to this machine only")
        self._demo = demo
        self._note = note
        self._seen = seen
        self._keeps = keeps
        self._headers = {"Content-Type": FORM} if keeps else {"Content-Type": FORM, "Connection": "close"}
        self._connection = http.client.HTTPConnection(url.hostname, url.port, timeout=PATIENCE)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # What client software asks. Each gives the message of the answer: '' is yes, None that nobody knows.

    def activate(self, key: str, code: str) -> str | None:
        """Register a machine, or say that it is there."""
        return self._ask(Call(Kind.ACTIVATE, key, None, code), {"MachineCode": code, **SIGNED})

    def get_key(self, key: str) -> str | None:
        """Look at a license."""
        return self._ask(Call(Kind.GET_KEY, key, None), SIGNED)

    def deactivate(self, key: str, code: str) -> str | None:
        """Give a machine's place back."""
        return self._ask(Call(Kind.DEACTIVATE, key, None, code), {"MachineCode": code})

    def take(self, key: str, code: str, interval: int, overdraft: int = 0) -> str | None:
        """Take a floating seat for so many seconds, or renew it."""
        how = {"MachineCode": code, "FloatingTimeInterval": interval, "MaxOverdraft": overdraft, **SIGNED}
        return self._ask(Call(Kind.TAKE, key, None, code), how)

    def give(self, key: str, code: str) -> str | None:
        """Give a floating seat back."""
        return self._ask(Call(Kind.GIVE, key, None, code), {"MachineCode": code, "Floating": "true"})

    def increment(self, key: str, name: str, amount: int = 1) -> str | None:
        """Add to a counter."""
        call = Call(Kind.INCREMENT, key, None, name=name, amount=amount)
        return self._ask(call, {"Name": name, "IntValue": amount})

    # What the vendor asks

    def create(self, count: int, places: int, overdraft: int = 0) -> list[str]:
        """Make licenses (at most 1000) with so many places; their keys, none where it was not answered with any."""
        try:
            answer = self._answer(Kind.CREATE, {"NoOfKeys": count, "MaxNoOfMachines": places, "Period": DAYS})
        except Absent:
            return []
        if answer is None or _said(answer):
            return []
        keys: list[str] = answer.get("keys") or [answer["key"]]
        for key in keys:
            self._note(Terms(key, places, overdraft))
            self._note(Call(Kind.CREATE, key, "", sent=time.time()))
        return keys

    def add_counter(self, key: str, name: str) -> None:
        """Give a license a counter, which begins at 0."""
        if self._ask(Call(Kind.ADD, key, None, name=name), {"Name": name}) == "":
            self._note(Counter(key, name))

    # How

    def _ask(self, call: Call, params: Mapping[str, object]) -> str | None:
        """Make a call and note it, also one that is cut off midway; one that found nobody there was never made."""
        sent, began, said = time.time(), time.perf_counter(), None
        asked = True
        try:
            answer = self._answer(call.kind, {"Key": call.key, **params})
            said = None if answer is None else _said(answer)
        except Absent:
            asked = False
        finally:  # whoever is ended in the midst of a call does not know what becomes of it either
            if asked:
                self._note(call._replace(said=said, sent=sent, took=time.perf_counter() - began))
        return said

    def _answer(self, kind: Kind, params: Mapping[str, object]) -> dict[str, Any] | None:
        """Return the JSON of an answer; None: nobody knows what became of the call. Raises `Absent`."""
        began, status, body, fault = time.perf_counter(), 0, b"", "cut off"
        try:
            status, body = self._exchange(kind, params)
            fault = "" if status == http.client.OK else f"HTTP {status}"
        except Absent:
            fault = "nobody there"
            raise
        except (OSError, http.client.HTTPException) as error:
            fault = type(error).__name__
        finally:
            if not (status and self._keeps):
                self.close()
            self._seen(Seen(kind, time.perf_counter() - began, len(body), fault))
        return orjson.loads(body) if 0 < status < http.client.INTERNAL_SERVER_ERROR else None

    def _exchange(self, kind: Kind, params: Mapping[str, object]) -> tuple[int, bytes]:
        if self._connection.sock is None:
            try:
                self._connection.connect()
            except OSError as error:
                raise Absent from error
        token = self._demo["admin_token" if kind in BY_THE_OFFICE else "token"]
        body = urllib.parse.urlencode({"token": token, "ProductId": self._demo["product_id"], **params})
        self._connection.request("POST", f"/api/{METHODS[kind]}", body.encode(), self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


class Absent(Exception):
    """Nobody listens: nothing was asked."""


def _said(answer: Mapping[str, Any]) -> str:
    return "" if answer["result"] == 0 else str(answer["message"])
