"""The scripts of the seats on a real Valkey, beside a plain model: what each answers, and what it leaves.

Stories are told to both. Those of `BOUNDARIES` are where scripts go wrong; each script is also broken on purpose, one line
at a time, and then one of those stories must notice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seats.world import CLOCK, CLOCK_KEY, LIMIT, codes, world
from storage.records import Lease, LeaseKind
from storage.redis import replies
from storage.redis.keys import HEAD, LONGEST_FIELD, field_of
from storage.redis.lua import SEATS, scripts

RUN, OTHER_RUN = b"r" * 16, b"o" * 16
EPOCH = 2 * 1_700_000_000_000
NOW = 1_700_000_000
REGULAR, OVERDRAFT = 1, 2
LONG, LONGER = "m" * 65, "m" * 66
FULL = 64 * "m"
REFUSAL = 3  # numbers in the answer of a claim that is refused
# The head of a set, unpacked by the server itself.
NUMBERS = Struct("<BIIIQ")  # of a lease, packed


class Listed(NamedTuple):
    """A lease as scripts list it: its field, its numbers, and the texts behind them."""

    field: bytes
    numbers: tuple[int, ...]
    texts: tuple[bytes, ...]

    @property
    def expires(self) -> int:
        return self.numbers[3]


def read(fields: list[bytes]) -> list[Listed]:
    """What is listed, without the head."""
    return [
        Listed(field, NUMBERS.unpack_from(packed), tuple(packed[NUMBERS.size :].split(b"\0")))
        for field, packed in zip(fields[::2], fields[1::2], strict=True)
        if field != HEAD
    ]


@dataclass(frozen=True)
class Row:
    """A lease as the model has it."""

    kind: int
    start: int
    time: int
    expires: int
    seq: int
    ip: str
    name: str

    def listed(self, code: str) -> Listed:
        """The lease as it stands in a set."""
        named, kept = field_of(code)
        numbers = (self.kind, self.start, self.time, self.expires, self.seq)
        return Listed(named, numbers, (self.ip.encode(), self.name.encode(), kept))


@dataclass
class Model:
    """What a set is, without the pains taken to be quick: leases by code, ended ones too."""

    epoch: int = EPOCH
    seq: int = 0
    rows: dict[str, Row] = field(default_factory=dict)

    def live(self, now: int) -> dict[str, Row]:
        return {code: row for code, row in self.rows.items() if row.expires > now}

    def claim(self, ask: "Claim", now: int, fraction: int) -> list[int]:
        """Protocol: floating, algorithm; but a lease is not made shorter yet, and one above the limit is asked about."""
        live = self.live(now)
        mine = live.pop(ask.code, None)
        regular = sum(row.kind == REGULAR for row in live.values())
        expires = now + ask.interval + (fraction > 0)
        holds = mine is not None and mine.kind == REGULAR
        if regular < ask.limit or (holds and ask.known == 1):
            kind = REGULAR
        elif holds and ask.known == "":
            return [3, self.epoch, now]
        elif len(live) < ask.limit + ask.overdraft:
            kind = OVERDRAFT
        else:
            return [1, self.epoch, now]
        self.seq += 1
        start, kept = (now, expires) if mine is None else (mine.start, max(expires, mine.expires))
        self.rows[ask.code] = Row(kind, start, now, kept, self.seq, ask.ip, ask.name)
        before = [mine.kind, mine.expires] if mine else [0, 0]
        return [2, self.epoch, now, kind, start, expires, self.seq, kept, *before]


class Set:
    """One license's set, and a clock. A step of it is a script."""

    def __init__(self, valkey: "redis.Redis[bytes]", texts: dict[str, str] | None = None, key: bytes = b"seats") -> None:
        self.valkey = valkey
        self.key = key
        self.texts = scripts(CLOCK) if texts is None else texts
        self.empty()

    def empty(self) -> None:
        """Begin anew."""
        self.valkey.delete(self.key)
        self.at(0)

    def at(self, seconds: float) -> None:
        """Set the time: so long after `NOW`."""
        self.now, self.micros = NOW + int(seconds // 1), round(seconds % 1 * 1_000_000)
        self.valkey.set(CLOCK_KEY, self.now * 1_000_000 + self.micros)

    def run(self, script: str, *values: bytes | str | int, run: bytes = RUN) -> Any:
        return self.valkey.eval(self.texts[script], 1, self.key, run, *values)

    def seed(self, *rows: tuple[str, Row], epoch: int = EPOCH, run: bytes = RUN) -> int:
        leases = [
            Lease(code, LeaseKind(row.kind), row.start, row.time, row.expires, row.name, row.ip, 0, row.seq)
            for code, row in rows
        ]
        return self.run("seed", epoch, *(word for lease in leases for word in replies.seeded(lease)), run=run)

    def claim(self, ask: "Claim", run: bytes = RUN) -> list[int]:
        named, kept = field_of(ask.code)
        texts = replies.kept(ask.ip, ask.name, kept)
        return self.run("claim", named, ask.interval, ask.limit, ask.overdraft, texts, ask.most, ask.known, run=run)

    def drop(self, code: str, seq: int, *, epoch: int = EPOCH, run: bytes = RUN) -> int:
        return self.run("drop", field_of(code)[0], epoch, seq, run=run)

    def settle(self, code: str, seq: int, expires: int, *, epoch: int = EPOCH, run: bytes = RUN) -> int:
        return self.run("settle", field_of(code)[0], epoch, seq, expires, run=run)

    def peek(self, code: str, run: bytes = RUN) -> list[int]:
        return self.run("peek", field_of(code)[0], run=run)

    def show(self, most: int = 1_000, run: bytes = RUN) -> list[Any]:
        return self.run("list", most, run=run)

    def live(self) -> list[Listed]:
        """The leases that are listed and live."""
        return [each for each in read(self.show()[3]) if each.expires > self.now]

    def listed(self) -> list[bytes]:
        """The fields of the leases that are listed and live."""
        return [each.field for each in self.live()]

    def head(self) -> tuple[Any, ...]:
        """Numbers of regular and of overdraft leases, epoch, seq, calm, kept and run id."""
        return Struct("<IIQQQQ16s").unpack(self.valkey.hget(self.key, "\0"))

    def whole(self) -> tuple[dict[bytes, bytes], int]:
        """All there is: fields, values and the key's end."""
        return self.valkey.hgetall(self.key), self.valkey.pexpiretime(self.key)


# The steps of a story


class Claim(NamedTuple):
    code: str = "a"
    interval: int = 100
    limit: int = 1
    overdraft: int = 0
    ip: str = "192.0.2.0"
    name: str = "Ann's"
    most: int = 0  # leases to list
    known: int | str = ""  # what the table says of a regular lease of the machine

    def play(self, told: "Told") -> None:
        reply = told.set.claim(self)
        expected = told.model.claim(self, told.set.now, told.set.micros)
        live = told.model.live(told.set.now)
        listed = live if len(expected) > REFUSAL and len(live) <= self.most else {}
        assert reply[: len(expected)] == expected
        fields = [each for fields in reply[len(expected) :] for each in fields]
        assert sorted(read(fields)) == sorted(row.listed(code) for code, row in listed.items())
        if reply[0] == 2:
            told.granted.append((self.code, reply))
        ended = [each.expires for each in read(told.set.show()[3]) if each.expires <= told.set.now]
        assert all(end > told.set.now - 600 and not self.most for end in ended)


class Pass(NamedTuple):
    """Time passes."""

    seconds: float

    def play(self, told: "Told") -> None:
        told.seconds += self.seconds
        told.set.at(told.seconds)


class Finish(NamedTuple):
    """Settle, drop or restore what was granted `back` grants ago; with another set's epoch or run id nothing happens."""

    script: str
    back: int = 1
    epoch: int = 0  # added
    run: bytes = RUN

    def play(self, told: "Told") -> None:
        if len(told.granted) < self.back:
            return
        code, (_, epoch, _, kind, _, expires, seq, _, *before) = told.granted[-self.back]
        if self.script == "restore":
            if not before[0]:
                return
            kind, expires = before[:2]
        more = {"drop": (), "settle": (expires,), "restore": (kind, expires)}[self.script]
        done = told.set.run(self.script, field_of(code)[0], epoch + self.epoch, seq, *more, run=self.run)
        mine = told.model.rows.get(code)
        named = mine is not None and (epoch + self.epoch, seq, self.run) == (told.model.epoch, mine.seq, RUN)
        # One that has ended may be gone already.
        assert done == named or (mine is not None and mine.expires <= told.set.now and not done)
        if mine is None or not named:
            return
        if self.script == "drop":
            del told.model.rows[code]
        elif mine.expires > told.set.now:
            kind = kind if self.script == "restore" else mine.kind
            told.model.rows[code] = Row(kind, mine.start, mine.time, expires, mine.seq, mine.ip, mine.name)


class Seed(NamedTuple):
    """Seed what lives, less one lease, under an epoch that is so much higher."""

    higher: int

    def play(self, told: "Told") -> None:
        model = told.model
        rows = list(model.live(told.set.now).items())[1:]
        assert told.set.seed(*rows, epoch=model.epoch + self.higher) == (self.higher > 0)
        if self.higher > 0:
            anew = {code: Row(row.kind, row.start, row.time, row.expires, 0, row.ip, row.name) for code, row in rows}
            told.model = Model(model.epoch + self.higher, 0, anew)


Step = Claim | Pass | Finish | Seed


@dataclass
class Told:
    """A story as far as it is told."""

    set: Set
    model: Model = field(default_factory=Model)
    granted: list[tuple[str, list[int]]] = field(default_factory=list)
    seconds: float = 0


def tell(set_: Set, story: list[Step]) -> None:
    """Tell a story from the beginning, on an empty set; whatever is not as the model has it is an AssertionError."""
    told = Told(set_)
    set_.empty()
    assert set_.seed() == 1
    kept = 0
    for step in story:
        before = told.model.epoch
        step.play(told)
        kept = compare(told, kept if told.model.epoch == before else 0)


def compare(told: Told, kept: int) -> int:
    """Hold a set against the model; return until when its key is kept, which was `kept` before."""
    set_, model = told.set, told.model
    live = model.live(set_.now)
    assert set_.show()[:3] == [2, model.epoch, set_.now]
    assert sorted(set_.live()) == sorted(row.listed(code) for code, row in live.items())
    for code in ("a", "b", LONG):
        one, epoch, seq, now = set_.peek(code)
        assert (one, epoch, now) == (1, model.epoch, set_.now)
        # One that has ended may be gone already.
        assert seq in ({live[code].seq} if code in live else {model.seq, getattr(model.rows.get(code), "seq", 0)})
    regular, overdraft, epoch, seq, calm, until, run = set_.head()
    assert (epoch, run, seq) == (model.epoch, RUN, model.seq)
    assert regular + overdraft == set_.valkey.hlen(set_.key) - 1
    assert all(calm <= row.expires for row in live.values())
    assert until >= kept
    ends = max([row.expires for row in live.values()], default=0)
    assert set_.valkey.ttl(set_.key) >= max(ends - set_.now, 1)
    assert until >= ends
    return until


SETTLE, DROP, RESTORE = Finish("settle"), Finish("drop"), Finish("restore")
OF_ANOTHER_SET = [
    each
    for script in ("settle", "restore", "drop")
    for each in (Finish(script, 1, 2), Finish(script, 1, -2), Finish(script, run=OTHER_RUN))
]
A, B, C, D, E = (Claim(code) for code in "abcde")

BOUNDARIES: dict[str, list[Step]] = {
    "the instant of lapse": [Claim("a", 10), Pass(9.75), B, Pass(0.25), B, A],
    "an expiry is rounded up": [Pass(0.25), Claim("a", 10), Pass(10.5), B, Pass(0.25), B],
    "renewed at the last instant": [Claim("a", 10), Pass(9.75), A, Pass(0.5), B],
    "renewed after it ended": [Claim("a", 10), Pass(10), A],
    "renewed above a lowered limit": [A, Claim("b", limit=2), B, C, Claim("c", overdraft=1), A],
    "renewed above a lowered limit, as the table says": [
        A, Claim("b", limit=2), Claim("b", known=1), Claim("b", known=0), Claim("b", overdraft=1, known=0), B,
        Claim("c", limit=2), Claim("c", overdraft=9), Claim("d", known=1), Claim("c", known=1), Claim("c", overdraft=1),
    ],
    "renewed where there is no seat": [A, Claim("a", limit=0)],
    "promoted, and not committed": [
        Claim("a", 10), Claim("b", 20, overdraft=1), Pass(10), Claim("b", 50), RESTORE, C, Pass(9.75), C,
        Claim("d", overdraft=1), Pass(0.25), Claim("d", overdraft=1),
    ],
    "renewed, and not committed": [Claim("a", 20), Pass(5), Claim("a", 90), RESTORE, B, Pass(15), B, Finish("restore", 2)],
    "restored after it should have ended": [Claim("a", 20), Pass(5), Claim("a", 90), Pass(20), B, RESTORE, B],
    "claimed again before it is restored": [Claim("a", 20), A, Claim("a", 30), Finish("restore", 2), Pass(30), B],
    "overdraft up to its number": [A, B, Claim("b", overdraft=1), Claim("c", overdraft=1), B],
    "overdraft counts itself once": [A, Claim("b", overdraft=1), Claim("b", overdraft=1), Claim("c", overdraft=1)],
    "claimed anew above a lowered limit": [
        Claim("a", 10, 2), Claim("b", limit=2), Pass(10), Claim("a", limit=1), Claim("a", limit=1, overdraft=1),
        Claim("a", 10, 2),
    ],
    # While there is room, what has ended stays for a while.
    "ended, and in nobody's way": [
        Claim("a", 10, 9), Claim("b", 700, 9), Claim("c", 20, 9), Pass(15), Claim("d", limit=9), Claim("a", 9, 9), Pass(594),
        Claim("d", limit=9), Pass(100), Claim("e", limit=9), Pass(700), Claim("f", limit=9, most=9),
    ],
    "refused, its overdraft seat stays": [
        Claim("a", 5), Claim("b", overdraft=1), Claim("c", overdraft=2), B, Pass(5), Claim("c", overdraft=1),
        Claim("d", overdraft=1),
    ],
    # The lapse of a has the refused claim of c look through the set, and save what it counted.
    "refused after looking": [
        Claim("a", 5, 2), Claim("b", limit=2), Claim("c", limit=2, overdraft=1), Pass(5), C, Claim("d", overdraft=1),
        Claim("c", limit=2), Claim("e", limit=2),
    ],
    "promoted when a seat is free": [Claim("a", 10), Claim("b", 20, overdraft=1), Pass(10), B, C],
    "shortened by its commit only": [A, Claim("a", 10), Pass(50), B, Claim("a", 10), SETTLE, Pass(10), B],
    "shortened, then ended": [A, Claim("a", 10), SETTLE, Pass(9.75), B, Pass(0.25), B],
    "claimed again before it is shortened": [A, Claim("a", 10), Claim("a", 60), Finish("settle", 2), Finish("drop", 2)],
    "dropped, then taken": [A, B, DROP, B, Finish("drop", 2)],
    "claimed again before it is dropped": [A, A, Finish("drop", 2), B, DROP, B],
    # The seqs of a set begin anew with each.
    "finished under an older epoch": [A, Seed(2), Claim("a", 50), Finish("drop", 2), Finish("settle", 2)],
    "finished in another set": [A, Claim("a", 10), *OF_ANOTHER_SET],
    "seeded once for an epoch": [A, Claim("b", limit=2), Seed(0), Seed(-2), Seed(2), Seed(0), A, C],
    "seeded with what lives": [Claim("a", 5, 3), Claim("b", 5, 3), Claim(LONG, 9, 3), Pass(3), Seed(2), Pass(2), C],
    "a short lease beside a long one": [
        Claim("a", 60, 2), Claim("b", 1, 2), Pass(1.5), Claim("c", limit=2), Claim("d", limit=2), Claim("a", 60),
    ],
    "listed with the claim": [
        Claim("a", 5, 3, most=1), Claim("b", limit=3, most=1), Claim(LONG, limit=3, most=3), Claim("c", most=9), Pass(5),
        Claim("b", 10, most=2), Claim("b", most=1), Claim("x", 10, 9), Pass(11), Claim("y", limit=9, most=9),
    ],
    "a very long lease, then a short one": [Claim("a", 31_622_400), Claim("a", 1), SETTLE, Claim("a", 1), Pass(1)],
    "long codes beside short ones": [
        Claim(FULL, limit=4), Claim(LONG, limit=4), Claim(LONGER, limit=4), Claim("", limit=4), Claim("x", limit=4),
        Finish("drop", 3), Claim(LONG, limit=3), Claim(""), Claim(LONGER, 5, 4), SETTLE,
    ],
}  # fmt: skip


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis[bytes]"]:
    with redis.Redis.from_url(redis_url) as opened:
        yield opened


@pytest.fixture
def seats(client: "redis.Redis[bytes]") -> Set:
    return Set(client)


@pytest.mark.parametrize("story", BOUNDARIES.values(), ids=BOUNDARIES)
def test_a_story_goes_as_the_model_has_it(seats: Set, story: list[Step]) -> None:
    tell(seats, story)


MACHINES = st.sampled_from(["a", "b", "c", "", LONG, LONGER])
TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))  # no parameter has a NUL
CLAIMS = st.builds(
    Claim, MACHINES, st.sampled_from([1, 2, 10, 100, 31_622_400]), st.integers(0, 3), st.sampled_from([0, 0, 1, 2]),
    ip=TEXTS, name=TEXTS, most=st.sampled_from([0, 2, 9]), known=st.sampled_from(["", "", 0, 1]),
)  # fmt: skip
PASSES = st.builds(Pass, st.sampled_from([0.25, 0.75, 1, 5, 9.75, 100]))
FINISHES = st.builds(
    Finish, st.sampled_from(["settle", "drop", "restore"]), st.integers(1, 4), st.sampled_from([0, 0, 0, -2, 2]),
    st.sampled_from([RUN, RUN, RUN, OTHER_RUN]),
)  # fmt: skip
STEPS = st.one_of(CLAIMS, CLAIMS, CLAIMS, PASSES, PASSES, FINISHES, st.builds(Seed, st.sampled_from([-2, 0, 2])))


@given(story=st.lists(STEPS, max_size=25))
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_story_goes_as_the_model_has_it(seats: Set, story: list[Step]) -> None:
    tell(seats, story)


@pytest.mark.soak
@given(story=st.lists(STEPS, max_size=60))
@settings(max_examples=3_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_very_many_stories_go_as_the_model_has_them(seats: Set, story: list[Step]) -> None:
    tell(seats, story)


class Sabotage(NamedTuple):
    script: str
    good: str
    bad: str


SEEDED_COUNT = "        set[kind] = set[kind] + 1\n"
SEEDED_CALM = "        set[CALM] = math.min(set[CALM], ends)\n        set[KEPT] = "
LOOKS = "now >= set[CALM] and (set[REGULAR] - own >= limit or most > 0 or now >= set[CALM] + LINGER)"
SABOTAGES = [
    Sabotage("claim", "before == REGULAR and ARGV[8] == '1'", "false"),
    Sabotage("claim", "before == REGULAR and ARGV[8] == '1'", "before == REGULAR"),
    Sabotage("claim", "before == REGULAR and ARGV[8] == '1'", "ARGV[8] == '1'"),
    Sabotage("claim", "look = before == REGULAR and ARGV[8] == ''", "look = before == REGULAR"),
    Sabotage("claim", "look = before == REGULAR and ARGV[8] == ''", "look = false"),
    Sabotage("claim", " and not look ", " "),
    Sabotage("claim", "if regular < limit or", "if regular <= limit or"),
    Sabotage("claim", "all < limit + overdraft", "all <= limit + overdraft"),
    Sabotage("claim", "all < limit + overdraft", "set[OVERDRAFT] < overdraft"),
    Sabotage("claim", "regular, all = set[REGULAR], set", "regular, all = set[REGULAR] + set[OVERDRAFT], set"),
    Sabotage("claim", "set[before] = set[before] - 1", ""),
    Sabotage("claim", "(ended > now or not looked)", "ended > now"),
    Sabotage("claim", "(ended > now or not looked)", "true"),
    Sabotage("claim", "set[before] = set[before] + 1", ""),
    Sabotage("claim", "set[LAST] = seq\nset[kind] = set[kind] + 1", "set[LAST] = seq"),
    Sabotage("claim", "seq = set[LAST] + 1", "seq = set[LAST]"),
    Sabotage("claim", "(fraction > 0 and 1 or 0)", "0"),
    Sabotage("claim", "if ended <= now then", "if ended < now then"),
    Sabotage("claim", "expires > ended and expires or ended", "expires"),
    Sabotage("claim", "before, start, ended = 0, now, 0", "before, ended = 0, 0"),
    Sabotage("claim", "kind, start, now, kept", "kind, now, now, kept"),
    Sabotage("claim", "        redis.call('HSET', key, HEAD, struct.pack(SET, unpack(set, 1, RUN)))\n", ""),
    Sabotage("claim", ".. ARGV[6]", ""),
    Sabotage("claim", "if ends <= now", "if ends < now"),
    Sabotage("claim", LOOKS, "false"),
    Sabotage("claim", LOOKS, LOOKS.replace("now >= set[CALM] and", "now > set[CALM] and")),
    Sabotage("claim", LOOKS, LOOKS.replace("- own >= limit", "- own > limit")),
    Sabotage("claim", LOOKS, LOOKS.replace(" or most > 0", "")),
    Sabotage("claim", LOOKS, LOOKS.replace(" or now >= set[CALM] + LINGER", "")),
    Sabotage("claim", "if kept < set[CALM] then", "if false then"),
    Sabotage("claim", "set[CALM] = math.min(set[CALM], ends)", ""),
    Sabotage("claim", "local must = set[KEPT] < kept + AHEAD", "local must = true"),
    Sabotage("claim", "local must = set[KEPT] < kept + AHEAD", "local must = false"),
    Sabotage("claim", "set[KEPT] = kept + KEEP", ""),
    Sabotage("claim", "<= most", "< most"),
    Sabotage("claim", "<= most", "> 0"),
    Sabotage("drop", "set[EPOCH] ~= tonumber(ARGV[3]) or ", ""),
    Sabotage("drop", " or mine[SEQ] ~= tonumber(ARGV[4])", ""),
    Sabotage("drop", "set[RUN] ~= run", "false"),
    Sabotage("drop", "set[mine[KIND]] = set[mine[KIND]] - 1", ""),
    Sabotage("settle", "set[EPOCH] ~= tonumber(ARGV[3]) or ", ""),
    Sabotage("settle", " or mine[SEQ] ~= tonumber(ARGV[4])", ""),
    Sabotage("settle", "set[RUN] ~= run", "false"),
    Sabotage("settle", "packed:sub(LEASE_BYTES + 1)", "''"),
    Sabotage("restore", "set[EPOCH] ~= tonumber(ARGV[3]) or ", ""),
    Sabotage("restore", " or mine[SEQ] ~= tonumber(ARGV[4])", ""),
    Sabotage("restore", "set[RUN] ~= run", "false"),
    Sabotage("restore", "set[mine[KIND]] = set[mine[KIND]] + 1", ""),
    Sabotage("restore", "set[mine[KIND]] = set[mine[KIND]] - 1", ""),
    Sabotage("restore", "if lease[EXPIRES] < set[CALM] then", "if false then"),
    Sabotage("settle", "if lease[EXPIRES] < set[CALM] then", "if false then"),
    Sabotage("seed", "there[EPOCH] >= epoch", "there[EPOCH] > epoch"),
    Sabotage("seed", "there and there[EPOCH] >= epoch", "there"),
    Sabotage("seed", "there and there[EPOCH] >= epoch", "false"),
    Sabotage("seed", "redis.call('DEL', key)", ""),
    Sabotage("seed", SEEDED_COUNT + SEEDED_CALM, SEEDED_COUNT + "        set[KEPT] = "),
    Sabotage("seed", SEEDED_COUNT + SEEDED_CALM, SEEDED_CALM),
    Sabotage("peek", "mine and mine[SEQ] or set[LAST]", "set[LAST]"),
]


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda each: f"{each.script}: {each.good} -> {each.bad}")
def test_a_broken_script_is_noticed(client: "redis.Redis[bytes]", sabotage: Sabotage) -> None:
    texts = scripts(CLOCK)
    assert sabotage.good in texts[sabotage.script]
    texts[sabotage.script] = texts[sabotage.script].replace(sabotage.good, sabotage.bad)
    assert any(fails(Set(client, texts), story) for story in BOUNDARIES.values())


def fails(set_: Set, story: list[Step]) -> bool:
    try:
        tell(set_, story)
    except AssertionError:
        return True
    return False


# What is not seeded


ASKS: dict[str, Callable[[Set, bytes], Any]] = {
    "claim": lambda set_, run: set_.claim(Claim(), run=run),
    "peek": lambda set_, run: set_.peek("a", run=run),
    "list": lambda set_, run: set_.show(run=run),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_a_set_that_is_not_there_is_not_seeded(seats: Set, ask: Callable[[Set, bytes], Any]) -> None:
    assert ask(seats, RUN) == [0]
    assert not seats.valkey.exists(seats.key)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_a_set_of_another_life_of_the_server_is_not_seeded_and_stays(seats: Set, ask: Callable[[Set, bytes], Any]) -> None:
    seats.seed()
    seats.claim(Claim())
    before = seats.whole()
    assert ask(seats, OTHER_RUN) == [-1]
    assert seats.whole() == before


def test_nothing_is_finished_where_nothing_is(seats: Set) -> None:
    assert seats.drop("a", 0) == seats.settle("a", 0, NOW + 1) == 0
    assert not seats.valkey.exists(seats.key)


def test_a_seed_goes_over_what_another_life_left_even_under_a_lower_epoch(seats: Set) -> None:
    seats.seed(run=OTHER_RUN, epoch=EPOCH + 2)
    seats.claim(Claim("old"), run=OTHER_RUN)
    row = Row(REGULAR, NOW - 5, NOW - 1, NOW + 95, 7, "192.0.2.0", "Ann's")
    assert seats.seed(("a", row), run=RUN) == 1
    assert seats.show()[:3] == [2, EPOCH, NOW]
    assert seats.live() == [Listed(b"a", (REGULAR, NOW - 5, NOW - 1, NOW + 95, 0), (b"192.0.2.0", b"Ann's", b""))]
    assert seats.seed(epoch=EPOCH, run=RUN) == 0


def test_a_seeded_lease_counts_and_ends_as_one_that_was_claimed(seats: Set) -> None:
    rows = [Row(kind, NOW, NOW, NOW + 10, 7, "", "") for kind in (REGULAR, OVERDRAFT)]
    ended = Row(REGULAR, NOW - 9, NOW - 9, NOW, 7, "", "")
    assert seats.seed(("a", rows[0]), (LONG, rows[1]), ("gone", ended)) == 1
    assert sorted(seats.listed()) == [field_of(LONG)[0], b"a"]
    assert seats.claim(Claim("b", limit=1, overdraft=1))[0] == 1
    assert seats.claim(Claim(LONG, limit=1, overdraft=1))[3] == OVERDRAFT
    assert seats.claim(Claim("a"))[8] == REGULAR
    seats.seed(("a", rows[0]), epoch=EPOCH + 2)
    seats.at(9.75)
    assert seats.claim(Claim("b"))[0] == 1
    seats.at(10)
    assert seats.claim(Claim("b"))[0] == 2


# What is looked at, and what cannot be done, changes nothing


def test_looking_and_refusing_write_nothing(seats: Set) -> None:
    seats.seed()
    seats.claim(Claim())
    before = seats.whole()
    seats.at(5)
    assert seats.claim(Claim("b"))[0] == 1
    assert seats.peek("a")[0] == 1
    assert seats.show()[0] == 2
    assert seats.seed() == 0
    assert seats.drop("a", 99) == seats.settle("a", 99, NOW) == seats.drop("b", 1) == 0
    assert seats.whole() == before


def test_a_claim_looks_at_the_other_leases_only_where_ended_ones_may_be_in_its_way(seats: Set) -> None:
    def looks(ask: Claim) -> int:
        seats.valkey.config_resetstat()
        assert seats.claim(ask)[0] == 2
        return seats.valkey.info("commandstats").get("cmdstat_hgetall", {"calls": 0})["calls"]

    seats.seed()
    for number in range(40):
        seats.claim(Claim(str(number), 100 if number % 2 else 10, limit=50))
    seats.at(20)
    assert [looks(Claim(f"new {number}", limit=50)) for number in range(10)] == [0] * 10  # with it the set is full
    assert looks(Claim("1", limit=50)) == 0  # a renewal
    assert looks(Claim("one more", limit=50)) == 1
    assert [looks(Claim(f"newer {number}", limit=50)) for number in range(10)] == [0] * 10
    assert len(seats.listed()) == 20 + 10 + 1 + 10


@pytest.mark.parametrize("script", SEATS)
def test_a_key_of_another_type_is_left_as_it_was(seats: Set, script: str) -> None:
    seats.valkey.set(seats.key, "something else")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        seats.run(script, *["1"] * 8)
    assert seats.valkey.get(seats.key) == b"something else"


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_claim_that_makes_no_sense_changes_no_lease(seats: Set, place: int) -> None:
    seats.seed()
    seats.claim(Claim("a", 10, limit=3))
    seats.claim(Claim("b", 20, limit=3))
    seats.at(15)
    values: list[bytes | str | int] = [b"c", 100, 1, 0, "", 0, ""]
    values[place] = "x"
    with pytest.raises(redis.ResponseError):
        seats.run("claim", *values)
    assert seats.listed() == [b"b"]
    assert seats.claim(Claim("c", limit=2))[0] == 2
    assert seats.claim(Claim("d", limit=2))[0] == 1


def test_a_list_that_would_be_long_is_not_made(seats: Set) -> None:
    seats.seed()
    for number in range(4):
        seats.claim(Claim(str(number), limit=3, overdraft=1))
    assert seats.show(3) == [1]
    assert len(read(seats.show(4)[3])) == 4


async def test_a_server_that_forgets_its_scripts_is_not_noticed(dsn: str, redis_url: str) -> None:
    async with world(dsn, redis_url) as made:
        one, two = made.workers
        key = await made.license(1)
        for forget in (made.valkey.script_flush, made.lose):
            await forget()
            assert isinstance(await one.take(key, "a"), Lease)
            await forget()
            assert await two.take(key, "b") == LIMIT
            await forget()
            assert codes(await two.live(key)) == ["a"]
            await made.valkey.script_flush()
            assert await one.release(key, "a") == ""
            assert isinstance(await two.take(key, "b"), Lease)
            assert await two.release(key, "b") == ""


# How codes are kept


def test_a_code_is_its_field_up_to_64_bytes_and_comes_back_in_full_from_beyond(seats: Set) -> None:
    seats.seed()
    for code in (FULL, LONG, "é" * 32, "é" * 33, ""):
        seats.claim(Claim(code, limit=9))
    found = {(each.texts[2] or each.field).decode(): len(each.field) for each in seats.live()}
    assert found == {FULL: 64, LONG: 17, "é" * 32: 64, "é" * 33: 17, "": 0}


def test_a_digest_is_no_machine_of_its_own(seats: Set) -> None:
    seats.seed()
    seats.claim(Claim(LONG, limit=2))
    seats.claim(Claim(LONGER, limit=2))
    assert len(set(seats.listed())) == 2
    posed = field_of(LONG)[0].lstrip(HEAD)  # a client may send any text that has no NUL
    assert seats.run("claim", posed, 100, 2, 0, "", 0, "")[0] == 1
    assert seats.claim(Claim(LONG, limit=2))[8] == REGULAR


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=200))
def test_no_code_has_the_field_of_the_head_or_of_a_digest(code: str) -> None:
    named, kept = field_of(code)
    assert named != HEAD
    assert len(named) <= LONGEST_FIELD
    assert named.startswith(HEAD) == bool(kept) == (len(code.encode()) > LONGEST_FIELD)
    assert (kept or named) == code.encode()
