"""The picture of a run: how many answers, what each costs, and where its time goes. Needs matplotlib (extra `load`)."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.report import PROCESSES, STAGES, machine

WIDE, HIGH, DPI = 13.0, 14.0, 110
LETTERS = 190  # in a line of the heading
OF_KINDS = ("#3b6ea5", "#9dbcd4", "#d1793b", "#eab98f")  # one worker and all, connections kept and not
OF_PROCESSES = ("#3b6ea5", "#6d9a5b", "#c9a13b", "#888888")
OF_STAGES = ("#9dbcd4", "#5f8fb4", "#c9a13b", "#6d9a5b", "#d1793b", "#a8435a", "#888888")
ASIDE = "floating-1000"  # costs so much more that the others could not be seen beside it

Rows = Sequence[Mapping[str, Any]]


def draw(result: Mapping[str, Any], to: Path) -> None:
    """Draw a result into a file, PNG or SVG by its name."""
    mpl.use("agg")
    figure = Figure(figsize=(WIDE, HIGH), layout="constrained")
    rate, cost, time = figure.subplots(3, 1, height_ratios=(2, 1, 1))
    rows = result["scenarios"]
    _rates(rate, rows)
    shown = [row for row in rows if row["connections"] == "kept" and row["workers"] == 1 and row["scenario"] != ASIDE]
    _stacked(cost, shown, [row["of_it"] for row in shown], dict(zip(PROCESSES, OF_PROCESSES, strict=True)), "{:,.0f}")
    cost.set_title("CPU µs of an answer, saturated: all processes of the server, one worker, connections kept", loc="left")
    _limits(cost, result["limits"])
    _stacked(time, shown, [row["stages_ms"] for row in shown], dict(zip(STAGES, OF_STAGES, strict=True)), "{:,.1f}")
    time.set_title("Where its time goes at 60 % of that, open arrivals: ms by stage", loc="left")
    figure.suptitle(textwrap.fill(machine(result), LETTERS), fontsize=8)
    figure.savefig(to, dpi=DPI)


def _rates(axes: Axes, rows: Rows) -> None:
    """Draw answers a second: a group of bars for each scenario."""
    titles = list(dict.fromkeys(row["title"] for row in rows))
    kinds = list(dict.fromkeys((row["workers"], row["connections"]) for row in rows))
    height = 0.8 / len(kinds)
    for number, ((workers, connections), colour) in enumerate(zip(kinds, OF_KINDS, strict=False)):
        found = [row for row in rows if (row["workers"], row["connections"]) == (workers, connections)]
        places = [titles.index(row["title"]) + (number - (len(kinds) - 1) / 2) * height for row in found]
        label = f"{workers} worker{'s' if workers > 1 else ''}, connections {connections}"
        bars = axes.barh(places, [row["per_second"] for row in found], height, color=colour, label=label)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2)
    _name(axes, titles)
    axes.set_title("Answers a second, saturated: client, server and engines share the machine", loc="left")


def _stacked(
    axes: Axes, rows: Rows, values: Sequence[Mapping[str, float]], colours: Mapping[str, str], form: str
) -> None:
    """Draw a bar for each row, made of its parts, which have these colours."""
    reached = [0.0] * len(rows)
    for part, colour in colours.items():
        lengths = [each.get(part, 0.0) for each in values]
        bars = axes.barh(range(len(rows)), lengths, 0.7, left=reached, color=colour, label=part)
        reached = [start + length for start, length in zip(reached, lengths, strict=True)]
        if part == [*colours][-1]:
            axes.bar_label(bars, [form.format(end) for end in reached], fontsize=7, padding=2)
    _name(axes, [row["title"] for row in rows])


def _limits(axes: Axes, limits: Mapping[str, Any]) -> None:
    """Draw what each of the first three limits costs, as a line."""
    for name, limit in limits.items():
        if name.split()[0] in ("L1", "L2", "L3") and "each call" not in name and not isinstance(limit, str):
            axes.axvline(limit["cost"], color="black", linewidth=0.8, linestyle="--")
            axes.text(limit["cost"], -0.45, f" {name.split()[0]}", fontsize=8)


def _name(axes: Axes, titles: Sequence[str]) -> None:
    axes.set_yticks(range(len(titles)), titles, fontsize=8)
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
