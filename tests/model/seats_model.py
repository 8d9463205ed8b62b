"""Every interleaving of floating seats on one license, walked exhaustively, and what breaks without each rule.

The steps are those of `storage/ports.py` (LeaseTable, Seats) and of the README's section *Design*. A state is PostgreSQL
(epoch, committed rows), Valkey (lease set, run id), the time and where each call stands. Each atomic step of a call, each
crash, each verdict that is not committed and each fault of Valkey is an edge. Two things must hold in every state reached:
  capped  by what is committed, no more leases live than the license has seats;
  kept    a machine whose answered lease ran when it asked, and still runs, is not refused.
`python tests/model/seats_model.py` walks the design (nothing may break), then the design with one rule taken out at a time
(each must break); minutes. There is one kind of seat here, no limit changes, and one license: the rest is for tests against
the real thing.
"""

# ruff: noqa: T201 (it is a script, too)

import os
import sys
from collections import deque
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Any, NamedTuple

RULES = {
    "barrier": "after an epoch is raised, wait for every batch begun before, then read the leases",
    "fence": "releasing, undoing and shortening name the seq they saw; a lease with a newer one stays",
    "fence_set": "they name the run id and the epoch of the set, too: seqs begin anew with each",
    "no_blind_undo": "after a commit with unknown outcome nothing is undone",
    "own_undo": "only the call that took a seat newly gives it back when its verdict is not to be committed",
    "late_short": "a shorter interval shortens the lease only after its commit",
    "by_seq": "of two rows of one machine the higher (epoch, seq) counts, whatever the order of commits",
    "seed_once": "a seed is sent once per epoch; an unknown outcome means a new epoch",
    "run_id": "a set that was seeded under another run id is not seeded",
    "paper_epoch": "deciding without Valkey raises the epoch first",
    "read_after": "without Valkey the leases are read after the barrier, not before",
    "ready": "an odd epoch is used only when it is marked ready, and it is marked so only after the barrier",
    "ready_epoch": "marking an epoch ready names it, and does nothing if it has moved",
    "commit_checks_epoch": "a grant is committed only under the epoch that it was claimed under",
    "log_before_release": "a release is committed before the seat is freed",
}


class Set(NamedTuple):
    """The lease set in Valkey: leases are (code, expires, seq)."""

    epoch: int
    run: int
    seq: int
    leases: tuple


class Row(NamedTuple):
    """A committed row; kind 0 grants, 1 releases. Sorts in the order that counts."""

    epoch: int
    seq: int
    kind: int
    code: str
    expires: int


class Call(NamedTuple):
    """One client call: what it asks, where it stands, what it carries."""

    ask: str  # claim or release
    code: str
    interval: int
    cut: bool = False  # its worker cannot reach Valkey
    pc: str = "start"
    tries: int = 0
    run: int = 0
    epoch: int = 0
    seq: int = 0
    expires: int = 0
    new: bool = False
    was: int = 0          # until when the set had its lease before
    held: bool = False  # it held an answered lease when it asked and was refused
    wait: frozenset = frozenset()
    read: tuple = ()


class State(NamedTuple):
    t: int
    epoch: int
    ready: bool  # an odd epoch may be used: every batch begun before it was raised has ended
    log: tuple
    valkey: Set | None
    run: int
    saved: Set | None
    files: bool  # Valkey may be restarted, empty or from an old file
    faults: int
    crashes: int
    stales: int  # verdicts that may still fail under their epoch: limit or block changed, entry at fault
    calls: tuple


Steps = Iterator[tuple[dict[str, Any], Call]]  # what changes in the state, and the call after it


class Broken(Exception):
    """What must hold in every state does not."""


class Model:
    def __init__(self, cap: int, until: int, without: str = "") -> None:
        self.cap, self.until, self.off = cap, until, without

    def on(self, rule: str) -> bool:
        return rule != self.off

    # what the log says

    def live(self, s: State) -> tuple:
        """(code, expires) of the leases that run by the committed log."""
        last = {}
        for row in sorted(s.log) if self.on("by_seq") else s.log:
            last[row.code] = row
        return tuple(sorted((code, r.expires) for code, r in last.items() if r.kind == 0 and r.expires > s.t))

    def truth(self, s: State) -> tuple:
        """The same with the true order, whatever rule is taken out."""
        last = {}
        for row in sorted(s.log):
            last[row.code] = row
        return tuple(code for code, r in last.items() if r.kind == 0 and r.expires > s.t)

    # steps of a call

    def table(self, s: State, c: Call) -> bool:
        """A worker that has reloaded the license and found an odd epoch decides by the table, too."""
        return bool(c.tries and s.epoch % 2)

    def seeded(self, s: State) -> bool:
        return s.valkey is not None and (s.valkey.run == s.run or not self.on("run_id"))

    def steps(self, s: State, n: int, c: Call) -> Iterator[State]:
        """The states that one atomic step of call n can lead to."""
        move = getattr(self, f"{c.ask}_{c.pc}", None) or getattr(self, c.pc)
        for more, call in move(s, c):
            yield s._replace(calls=(*s.calls[:n], call, *s.calls[n + 1 :]), **more)

    def again(self, c: Call) -> Call:
        """Start over with a new claim; give up (503) after two verdicts that were not committed."""
        return c._replace(pc="start" if c.tries < 2 else "gone", tries=c.tries + 1, read=(), wait=frozenset())

    def begun(self, s: State) -> frozenset:
        """Transactions that have checked and not yet committed."""
        return frozenset((n, c.tries) for n, c in enumerate(s.calls) if c.pc == "commit")

    def claim_start(self, s: State, c: Call) -> Steps:
        if c.cut or self.table(s, c):
            yield from self.paper(s, c)
        if c.cut:
            return
        if self.table(s, c) or not self.seeded(s):  # an odd epoch that has stood long enough ends here, too
            yield {}, c._replace(pc="bump")
        else:
            yield self.claim_script(s, s.valkey, c)

    def claim_script(self, s: State, v: Set, c: Call) -> tuple[dict[str, Any], Call]:
        held = {code: (end, seq) for code, end, seq in v.leases if end > s.t}
        seq, ends = v.seq + 1, s.t + c.interval
        if c.code in held or len(held) < self.cap:
            keep = ends
            if c.code in held and self.on("late_short"):
                keep = max(ends, held[c.code][0])
            leases = {**held, c.code: (keep, seq)}
            new, was = c.code not in held, held.get(c.code, (0, 0))[0]
            call = c._replace(pc="check", run=v.run, epoch=v.epoch, seq=seq, expires=ends, new=new, was=was)
        else:
            leases, call = held, c._replace(pc="refuse", epoch=v.epoch, held=c.code in self.truth(s))
        return {"valkey": v._replace(seq=seq, leases=tuple(sorted((k, e, g) for k, (e, g) in leases.items())))}, call

    def check(self, s: State, c: Call) -> Steps:
        """The batch's first statements: is this still the epoch? Nothing is locked.

        A verdict gone stale for another reason, or in a batch that failed by another entry, is decided again with the
        same claim. That is this very state, the same call with a later check, and no edge of its own. Undone is what is
        known not to be committed: the epoch has moved, or the rule has no use for the claim any more.
        """
        good = s.epoch == c.epoch or not self.on("commit_checks_epoch")
        yield {}, c._replace(pc="commit" if good else "undo")
        if s.stales:
            yield {"stales": s.stales - 1}, c._replace(pc="undo")

    def claim_commit(self, s: State, c: Call) -> Steps:
        log = (*s.log, Row(c.epoch, c.seq, 0, c.code, c.expires))
        yield {"log": log}, c._replace(pc="shorten" if self.on("late_short") else "done")
        if s.crashes:  # committed, but the worker cannot know: the caller gets 503
            valkey = s.valkey if self.on("no_blind_undo") or not c.new else self.change(s, c, None)
            yield {"log": log, "valkey": valkey, "crashes": s.crashes - 1}, c._replace(pc="gone")

    def shorten(self, s: State, c: Call) -> Steps:
        yield {"valkey": self.change(s, c, c.expires)}, c._replace(pc="done")

    def undo(self, s: State, c: Call) -> Steps:
        """Leave the machine with what it had: nothing, or the lease that was there before."""
        valkey = s.valkey
        if c.ask == "claim":
            valkey = self.change(s, c, None if c.new or not self.on("own_undo") else c.was)
        yield {"valkey": valkey}, self.again(c)

    def change(self, s: State, c: Call, ends: int | None) -> Set | None:
        """Valkey's script: end or remove the lease if it is still that generation of that set."""
        v = s.valkey
        if v is None or (self.on("fence_set") and (v.epoch, v.run) != (c.epoch, c.run)):
            return v
        leases = []
        for code, end, seq in v.leases:
            if code == c.code and (seq == c.seq or not self.on("fence")):
                if ends is not None:
                    leases.append((code, ends, seq))
            else:
                leases.append((code, end, seq))
        return v._replace(leases=tuple(leases))

    def refuse(self, s: State, c: Call) -> Steps:
        """A refusal is a verdict too: it stands only if the epoch does."""
        if s.epoch != c.epoch and self.on("commit_checks_epoch"):
            yield {}, self.again(c)
            return
        if c.held and c.code in self.truth(s):
            raise Broken(f"{c.code} holds a lease and was refused")
        yield {}, c._replace(pc="done")

    def release_start(self, s: State, c: Call) -> Steps:
        if c.cut or self.table(s, c):
            yield from self.paper(s, c)
        elif not self.seeded(s):
            yield {}, c._replace(pc="bump")
        else:
            seq = next((g for code, _, g in s.valkey.leases if code == c.code), s.valkey.seq)
            call = c._replace(pc="check", run=s.valkey.run, epoch=s.valkey.epoch, seq=seq)
            if self.on("log_before_release"):
                yield {}, call
            else:
                yield {"valkey": self.change(s, call, None)}, call

    def release_commit(self, s: State, c: Call) -> Steps:
        yield {"log": (*s.log, Row(c.epoch, c.seq, 1, c.code, 0))}, c._replace(pc="free")

    def free(self, s: State, c: Call) -> Steps:
        yield {"valkey": self.change(s, c, None)}, c._replace(pc="done")

    # from PostgreSQL into Valkey; even epochs belong to Valkey

    def bump(self, s: State, c: Call) -> Steps:
        if self.seeded(s) and s.valkey.epoch == s.epoch:
            yield {}, c._replace(pc="start")  # someone else has seeded meanwhile
            return
        epoch = s.epoch + 2 - s.epoch % 2
        yield {"epoch": epoch, "ready": False}, c._replace(pc="settle", epoch=epoch, wait=self.begun(s))

    def settle(self, s: State, c: Call) -> Steps:
        if not self.on("barrier") or not c.wait & self.begun(s):
            yield {}, c._replace(pc="seed", wait=frozenset(), read=self.live(s))

    def seed(self, s: State, c: Call) -> Steps:
        v = s.valkey
        stale = v is not None and v.run == s.run and v.epoch >= c.epoch
        if stale and (self.on("seed_once") or v.epoch > c.epoch):
            yield {}, self.again(c)
            return
        new = s.valkey if stale else Set(c.epoch, s.run, 0, tuple((code, end, 0) for code, end in c.read))
        yield {"valkey": new}, self.again(c)
        if not self.on("seed_once"):
            yield {"valkey": new}, c  # the reply was lost, the client library sends it again later

    # without Valkey; odd epochs belong to the log alone, and each entry raises the version

    def paper(self, s: State, c: Call) -> Steps:
        """Raise to odd and begin a barrier; begin one if another has raised; neither if the epoch is ready."""
        odd = bool(s.epoch % 2)
        if not self.on("paper_epoch") or (odd and (s.ready or not self.on("ready"))):
            yield {}, c._replace(pc="facts", epoch=s.epoch)
        else:
            epoch = s.epoch if odd else s.epoch + 1
            early = () if self.on("read_after") else (self.live(s), sum(row.epoch == epoch for row in s.log))
            yield {"epoch": epoch, "ready": False}, c._replace(pc="still", epoch=epoch, wait=self.begun(s), read=early)

    def still(self, s: State, c: Call) -> Steps:
        """Pass the barrier and mark the epoch ready: one step, for a barrier once passed stays so until the marking."""
        if not self.on("barrier") or not c.wait & self.begun(s):
            same = s.epoch == c.epoch or (s.epoch % 2 == 1 and not self.on("ready_epoch"))
            yield {"ready": s.ready or same}, c._replace(pc="facts", wait=frozenset())

    def facts(self, s: State, c: Call) -> Steps:
        leases, version = c.read or (self.live(s), sum(row.epoch == c.epoch for row in s.log))
        held = dict(leases)
        if c.ask == "release" or c.code in held or len(held) < self.cap:
            yield {}, c._replace(pc="write", seq=version, expires=s.t + c.interval, read=())
        else:
            yield {}, c._replace(pc="refuse", read=(), held=c.code in self.truth(s))

    def write(self, s: State, c: Call) -> Steps:
        """License locked, epoch and version compared, row written, committed: one step."""
        if s.epoch != c.epoch or sum(row.epoch == c.epoch for row in s.log) != c.seq:
            yield {}, self.again(c)
        else:
            seq = c.seq + 1 if self.on("paper_epoch") else 99
            row = Row(c.epoch, seq, int(c.ask == "release"), c.code, c.expires)
            yield {"log": (*s.log, row)}, c._replace(pc="done")

    # the world

    def next(self, s: State) -> Iterator[tuple[str, State]]:
        for n, c in enumerate(s.calls):
            if c.pc in ("done", "gone", "dead"):
                continue
            yield from ((f"{c.ask} {c.code} {c.pc}", new) for new in self.steps(s, n, c))
            if s.crashes and c.pc != "start":
                dead = (*s.calls[:n], c._replace(pc="dead"), *s.calls[n + 1 :])
                yield f"crash {c.code} at {c.pc}", s._replace(crashes=s.crashes - 1, calls=dead)
        if s.t < self.until:
            yield "tick", s._replace(t=s.t + 1)
        if s.faults:
            less = s._replace(faults=s.faults - 1)
            yield "FLUSHALL", less._replace(valkey=None)
            if s.files:
                yield "restart empty", less._replace(valkey=None, run=s.run + 1)
                if s.saved is not None:
                    yield "restart from an old file", less._replace(valkey=s.saved, run=s.run + 1)
                if s.valkey is not None and s.saved != s.valkey:
                    yield "save", s._replace(saved=s.valkey)

    def capped(self, s: State) -> None:
        if len(self.truth(s)) > self.cap:
            raise Broken(f"{len(self.truth(s))} leases run on {self.cap} seats")

    def walk(self, first: State, limit: int = 3_000_000) -> tuple[int, str]:
        """Breadth first; (states seen, '' or the shortest way to a breach)."""
        came, todo = {first: None}, deque([first])
        while todo:
            s = todo.popleft()
            try:
                self.capped(s)
                for what, new in self.next(s):
                    if new not in came:
                        came[new] = (s, what)
                        todo.append(new)
            except Broken as why:
                way = []
                while came[s]:
                    s, what = came[s]
                    way.append(what)
                return len(came), f"{why}: {' > '.join(reversed(way))}"
            if len(came) > limit:
                raise RuntimeError(f"more than {limit:,} states")
        return len(came), ""


def scene(*calls: Call, held: tuple = (), faults: int = 0, files: bool = False, crashes: int = 0, stales: int = 0) -> State:
    """Epoch 2 is seeded under run 1; `held` leases are in Valkey and in the log."""
    leases = tuple((code, end, n + 1) for n, (code, end) in enumerate(held))
    log = tuple(Row(2, n + 1, 0, code, end) for n, (code, end) in enumerate(held))
    valkey = Set(2, 1, len(held), leases)
    return State(
        t=0,
        epoch=2,
        ready=False,
        log=log,
        valkey=valkey,
        run=1,
        saved=None,
        files=files,
        faults=faults,
        crashes=crashes,
        stales=stales,
        calls=calls,
    )


A, B, C = (Call("claim", code, 3) for code in "ABC")
A_CUT, B_CUT = A._replace(cut=True), B._replace(cut=True)
A_SHORT, A_FREE, A_FREE_CUT = A._replace(interval=1), A._replace(ask="release"), A_CUT._replace(ask="release")

SCENES = {  # seats, last tick, start; the small ones first
    "one machine twice, newcomer, stale": (1, 0, scene(A, A, B, stales=1, crashes=1)),
    "two newcomers cut off, one not": (1, 0, scene(A_CUT, B_CUT, C)),
    "two seats, three machines": (2, 1, scene(A, B, C, held=(("A", 1),), stales=1)),
    "release, crash, reseed": (1, 1, scene(A_FREE, B, held=(("A", 3),), faults=1, files=True, crashes=1, stales=1)),
    "shorter interval, crash": (1, 2, scene(A_SHORT, B, held=(("A", 3),), faults=1, files=True, crashes=1)),
    "holder renews, newcomer, Valkey restarted": (1, 2, scene(A, B, held=(("A", 1),), faults=1, files=True, stales=1)),
    "holder cut off from Valkey, newcomer not": (1, 2, scene(A_CUT, B, held=(("A", 1),), faults=1, files=True, crashes=1)),
    "two newcomers, Valkey restarted": (1, 0, scene(A, B, faults=2, files=True, crashes=1)),
    "release races renewal": (1, 0, scene(A_FREE, A, B, held=(("A", 2),), faults=1, crashes=1)),
    "two cut off, one not": (1, 1, scene(A_CUT, B_CUT, C, held=(("A", 1),), faults=1)),
    "release cut off races renewal": (1, 0, scene(A_FREE_CUT, A, B, held=(("A", 2),), faults=1)),
    "three newcomers, Valkey emptied": (1, 0, scene(A, B, C, faults=1, stales=1)),
    "one machine twice, one interval shorter": (1, 1, scene(A, A_SHORT, B, faults=1)),
    "cut off and back": (1, 2, scene(A_CUT, B, C, held=(("A", 1),))),
}


def walk(name: str, without: str = "") -> tuple[int, str]:
    """States seen, and '' or the shortest way to a breach."""
    cap, until, first = SCENES[name]
    return Model(cap, until, without).walk(first)


def breaks(rule: str) -> tuple[str, int, str]:
    """The first scene that breaks without the rule, states seen in it, the way to the breach; '' if none does."""
    for name in SCENES:
        seen, breach = walk(name, rule)
        if breach:
            return name, seen, breach
    return "", 0, ""


def main() -> int:
    """How much is not as it must be."""
    bad = 0
    with Pool(os.cpu_count()) as pool:
        designs, takings = pool.imap(walk, SCENES), pool.imap(breaks, RULES)
        for name, (seen, breach) in zip(SCENES, designs, strict=True):
            bad += bool(breach)
            print(f"design, {name}: {seen:,} states, {breach or 'holds'}", flush=True)
        for words, (name, seen, breach) in zip(RULES.values(), takings, strict=True):
            bad += not breach
            if breach:
                print(f"without '{words}'\n    breaks in '{name}' after {seen:,} states\n    {breach}", flush=True)
            else:
                print(f"without '{words}': still holds; the scenes cannot tell", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
