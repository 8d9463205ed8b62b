"""Where the time of a call goes, read from what the server shows to Prometheus before and after a load."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

STAGES = "keyturn_stage_seconds"
COMMIT = "keyturn_ledger_commit_seconds"
BATCH = "keyturn_ledger_batch_calls"
WHOLE = "whole"


class Total(NamedTuple):
    """The sum and the number of what a histogram has observed."""

    sum: float
    number: float

    @property
    def mean(self) -> float:
        """0 for nothing."""
        return self.sum / self.number if self.number else 0.0


@dataclass(frozen=True, slots=True)
class Stages:
    """Totals by stage (seconds), of the batches' commits (seconds), and of their sizes (calls)."""

    by_name: Mapping[str, Total]
    commit: Total
    batch: Total

    def since(self, before: "Stages") -> "Stages":
        """Return what came after `before`; stages that nothing went through are left out."""
        passed = {name: _less(total, before.by_name.get(name, Total(0, 0))) for name, total in self.by_name.items()}
        return Stages(
            {name: total for name, total in passed.items() if total.number},
            _less(self.commit, before.commit),
            _less(self.batch, before.batch),
        )

    def milliseconds(self) -> dict[str, float]:
        """Return the time that an answer spends in each stage, in milliseconds, however often it passes it."""
        answers = self.by_name[WHOLE].number
        return {name: total.sum / answers * 1000 for name, total in self.by_name.items()}

    def shares(self) -> dict[str, float]:
        """Return each stage's part of the time of all stages."""
        spent = {name: total.sum for name, total in self.by_name.items() if name != WHOLE}
        return {name: seconds / sum(spent.values()) for name, seconds in spent.items()}


def read(text: str) -> Stages:
    """Read a page of metrics."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        if family.name in (STAGES, COMMIT, BATCH):
            for each in family.samples:
                part = each.name.removeprefix(family.name)
                if part in ("_sum", "_count"):
                    found.setdefault((family.name, each.labels.get("stage", "")), {})[part] = each.value
    totals = {name: Total(parts["_sum"], parts["_count"]) for name, parts in found.items()}
    by_name = {stage: total for (family, stage), total in totals.items() if family == STAGES}
    nothing = Total(0, 0)
    return Stages(by_name, totals.get((COMMIT, ""), nothing), totals.get((BATCH, ""), nothing))


def _less(after: Total, before: Total) -> Total:
    return Total(after.sum - before.sum, after.number - before.number)
