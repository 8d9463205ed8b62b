"""What the workers' counts say about the time between two of them: rates, means and quantiles, by the names of the page."""

from collections.abc import Mapping
from math import inf

from server import edges
from server.ops import Sample

Sums = Mapping[tuple[str, ...], float]  # by name, then the labels' values in the order of the labels' names
Figures = dict[str, float | None]

FAILED = frozenset(refused.cause for refused in (edges.BUSY, edges.CROWDED, edges.UNAVAILABLE, edges.BUG))
STAGES = ("parse", "facts", "claim", "decide", "encode", "sign", "write")
INSIDE = STAGES[1:-1]  # of `whole`; what it has beside them is `other`
SEATS = ("claimed", "renewed", "promoted", "refused", "released")
SIGNERS = ("eight_lanes", "openssl")
WHOLE = "keyturn_stage_seconds"
DIGITS = 4

# Of these the value itself is shown, None where nobody has it.
LEVELS = {
    "waiting": "keyturn_ledger_waiting_calls",
    "places": "keyturn_ledger_most_calls",
    "held": "keyturn_seats_held",
    "ready": "keyturn_workers_ready",
    "wanted": "keyturn_workers",
    "log_days": "keyturn_log_partition_days",
}
# Figures that a point has beside those that are worked out here.
TAKEN = ("postgres", "valkey", "memory", "largest", "cpu")


def sums(counted: Mapping[Sample, float]) -> Sums:
    """Return what was counted, by short names."""
    return {(sample.name, *(value for _, value in sample.labels)): value for sample, value in counted.items()}


def grown(before: Sums, after: Sums) -> Sums:
    """Return by how much each count grew: never by less than nothing. Whatever was not there before was 0."""
    return {name: max(value - before.get(name, 0.0), 0.0) for name, value in after.items()}


def figures(growth: Sums, now: Sums, seconds: float) -> Figures:
    """Return what the page shows of a time of so many seconds. What nothing is known of is None.

    Rates are in 1/s, times in s. Of the stages it is the mean over all calls, also those without that stage.
    """
    calls = growth.get((f"{WHOLE}_count", "whole"), 0.0)

    def total(name: str) -> float:
        return sum(value for key, value in growth.items() if key[0] == name)

    def rate(*name: str) -> float:
        return growth.get(name, 0.0) / seconds

    def per_call(stage: str) -> float:
        return growth.get((f"{WHOLE}_sum", stage), 0.0)

    def mean(name: str) -> float | None:
        count = growth.get((f"{name}_count",), 0.0)
        return growth.get((f"{name}_sum",), 0.0) / count if count else None

    answered = total("keyturn_calls_total")
    good = sum(value for key, value in growth.items() if key[:2] == ("keyturn_calls_total", "OK"))
    failed = sum(growth.get(("keyturn_refused_requests_total", cause), 0.0) for cause in FAILED)
    spent = {stage: per_call(stage) for stage in STAGES}
    spent["other"] = max(per_call("whole") - sum(spent[stage] for stage in INSIDE), 0.0)
    found: Figures = {
        "ok": good / seconds,
        "refused": (answered - good) / seconds,
        "faulty": (total("keyturn_refused_requests_total") - failed) / seconds,
        "failed": failed / seconds,
        "p50": quantile(growth, 0.5),
        "p99": quantile(growth, 0.99),
        **{stage: time / calls if calls else None for stage, time in spent.items()},
        "batch": mean("keyturn_ledger_batch_calls"),
        "signed": mean("keyturn_sign_batch"),
        "stale": rate("keyturn_ledger_stale_verdicts_total"),
        "contended": rate("keyturn_ledger_batches_total", "contended"),
        **{f"seat_{outcome}": rate("keyturn_seat_claims_total", outcome) for outcome in SEATS},
        "seat_by_table": rate("keyturn_seats_by_table_total"),
        **{f"by_{signer}": rate("keyturn_signatures_total", signer) for signer in SIGNERS},
        **{name: now.get((metric,)) for name, metric in LEVELS.items()},
    }
    return {name: rounded(value) for name, value in found.items()}


def rounded(value: float | None) -> float | None:
    """Return it with as many digits as anybody reads."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def quantile(growth: Sums, part: float) -> float | None:
    """Estimate a quantile of the time of whole calls, in s, as if a bucket's calls lay evenly in it; None without calls.

    Of calls beyond the last bound, that bound is all that is known.
    """
    buckets = sorted((_bound(key[1]), value) for key, value in growth.items() if key[::2] == (f"{WHOLE}_bucket", "whole"))
    if not buckets or not buckets[-1][1]:
        return None
    rank = part * buckets[-1][1]
    low, below = 0.0, 0.0
    for bound, value in buckets:
        if bound == inf:
            break
        if value >= rank:
            return low + (bound - low) * (rank - below) / (value - below) if value > below else bound
        low, below = bound, value
    return low


def _bound(text: str) -> float:
    return float(text.replace("+Inf", "inf"))
