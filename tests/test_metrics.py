"""A metric that is declared is used, and its labels come from closed sets."""

from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from server import metrics

ROOT = Path(__file__).parent.parent
DECLARED = {name: each for name, each in vars(metrics).items() if isinstance(each, MetricWrapperBase)}
SOURCES = [path.read_text() for top in ("server", "storage") for path in (ROOT / top).rglob("*.py")]


@pytest.mark.parametrize("name", DECLARED)
def test_every_metric_is_used(name: str) -> None:
    own = (ROOT / "server" / "metrics.py").read_text()
    assert any(f"metrics.{name}." in source for source in SOURCES) or f"{name}.labels" in own


def test_nothing_personal_is_a_label() -> None:
    assert {label for each in DECLARED.values() for label in each._labelnames} == {
        "method", "code", "cause", "stage", "outcome", "engine", "to", "what", "signer",
    }  # fmt: skip
