"""Runs against each other: two stages picture by picture, and the members of a sweep side by side."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from umed.analysis import Run
from umed.errors import InputError
from umed.evaluation.benchmarks.mau import BoxScorer
from umed.evaluation.comparison import Pair, compare_pairs, pair_predictions
from umed.evaluation.report_figures import describe_answer, take_turns
from umed.evaluation.score import AVERAGE, read_scores
from umed.evaluation.scorer import Verdict
from umed.evaluation.seeds import Layout, build_seeds_table, is_finished
from umed.figures import Estimate, draw_answer, draw_estimates, draw_grid
from umed.run_files import METRICS

SHOWN = ("accuracy", "iou", "accuracy_sampled", "iou_sampled", "attention")


class Changes:
    """What is different between two stages, of one run or of two, on the test pictures that both answered.

    Args:
        before, after: a run and the name of its stage.

    Raises:
        InputError: no answers of a stage, or none to the same pictures.
    """

    def __init__(self, before: tuple[Run, str], after: tuple[Run, str]) -> None:
        (self.first, stage), (self.second, other) = before, after
        names = [f"{run.folder.name}: {name}" for run, name in (before, after)]
        self.names = [stage, other] if self.first.folder == self.second.folder else names
        sides = [run.judged(name) for run, name in (before, after)]
        for name, side in zip(names, sides, strict=True):
            if not side:
                raise InputError(f"{name}: no answers of that stage: it has {', '.join(before[0].stages)}")
        first, second = ([prediction for prediction, _ in side] for side in sides)
        self.pairs = pair_predictions(first, second, names, common=True)
        self._verdicts = [{p.question.id: verdict for p, verdict in side} for side in sides]

    @property
    def verdicts(self) -> tuple[list[Verdict], list[Verdict]]:
        """The verdicts of both on each pair."""
        first, second = ([of[pair[0].question.id] for pair in self.pairs] for of in self._verdicts)
        return first, second

    def summary(self) -> pd.DataFrame:
        """A row a rule: both values, the difference with its 95 % interval, items that one alone has right."""
        differences = compare_pairs(self.pairs, self.verdicts, {"mau": BoxScorer()}, draws=2000)
        columns = ("first", "second", "difference", "low", "high", "n", "only_first", "only_second", "p")
        rows = {d.rule: [getattr(d, column) for column in columns] for d in differences}
        heads = [*self.names, "difference", "low", "high", "n", *(f"right in {n} alone" for n in self.names), "p"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=pd.Index(heads))

    @cached_property
    def items(self) -> pd.DataFrame:
        """A row a picture, the largest gain of IoU first; a change of accuracy counts as an IoU of 1."""
        rows = []
        for pair, before, after in zip(self.pairs, *self.verdicts, strict=True):
            question = pair[0].question
            change = {rule: float(after[rule] or 0) - float(before[rule] or 0) for rule in ("accuracy", "iou")}
            rows.append({"id": question.id, "source": question.part, **change, "change": sum(change.values())})
        return pd.DataFrame(rows).set_index("id").sort_values("change", ascending=False, kind="stable")

    def pictures(self, count: int = 4, worse: bool = False) -> Figure:
        """The pictures that gained most, or with `worse` lost most, with both answers."""
        ids = list(self.items.index[::-1] if worse else self.items.index)[:count]
        pairs = {pair[0].question.id: pair for pair in self.pairs}
        records = {r.id: r for r in self.first.records}
        rows = [self._cells(pairs[i], i) for i in ids]
        names = [f"{records[i].source}: {records[i].category}" for i in ids]
        return draw_grid(rows, self.names, names, f"{self.first.synthetic}true boxes green, predicted boxes orange")

    def _cells(self, pair: Pair, item: str) -> list:
        record = next(r for r in self.first.records if r.id == item)
        picture = self.first.picture(record)
        cells = []
        for prediction, verdicts in zip(pair, self._verdicts, strict=True):
            drawn = draw_answer(picture, record.boxes, prediction.said_boxes)
            cells.append((drawn, describe_answer(prediction, verdicts[item])))
        return cells


class Sweep:
    """The members of a multirun that are finished."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = sorted(path.parent for path in folder.glob(f"*/{METRICS}"))
        self.members = [Run(run) for run in found if is_finished(run)]
        if not self.members:
            raise InputError(f"{folder}: no finished run in it: give the folder of a multirun")

    @property
    def stages(self) -> list[str]:
        """Those that every member has."""
        return [s for s in self.members[0].stages if all(s in member.stages for member in self.members)]

    def table(self, by: Sequence[str] = ()) -> pd.DataFrame:
        """Means over seeds and paired differences with their intervals, as text.

        Args:
            by: settings in which members differ besides the seed.
        """
        table = build_seeds_table([member.folder for member in self.members], Layout(by=by))
        shown = "{value:.3f} [{low:.3f}, {high:.3f}]"
        cells = {r: {m: shown.format(**c) for m, c in row.items() if "low" in c} for r, row in table.items()}
        return pd.DataFrame.from_dict(cells, orient="index").fillna("-")

    def by_member(self, rule: str = "accuracy") -> pd.DataFrame:
        """Members x stages: the mean over the sources."""
        rows = {m.folder.name: {s: self._score(m, s, rule)[0] for s in self.stages} for m in self.members}
        return pd.DataFrame.from_dict(rows, orient="index")

    def compare(self, rules: Sequence[str] = SHOWN) -> Figure:
        """A panel a rule, a line a stage, the members from left to right, with intervals over their test pictures."""
        panels: dict[str, dict[str, list[Estimate]]] = {}
        for rule in rules:
            lines = {
                s: [Estimate(k, *self._score(m, s, rule)) for k, m in enumerate(self.members)] for s in self.stages
            }
            panels[rule] = {stage: points for stage, points in lines.items() if all(p.value >= 0 for p in points)}
        figure = draw_estimates(panels, "", f"{self.members[0].synthetic}{self.folder.name}")
        names = [member.folder.name[-24:] for member in self.members]
        for axis in figure.axes:
            axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=7)
        return figure

    def examples(self, stage: str = "aar", count: int = 3) -> Figure:
        """The same test pictures, answered by each member after a stage."""
        answers = [{p.question.id: (p, verdict) for p, verdict in m.judged(stage)} for m in self.members]
        first = self.members[0]
        records = [r for r in take_turns(first.records) if all(r.id in of for of in answers)][:count]
        rows = [
            [
                (draw_answer(first.picture(r), r.boxes, of[r.id][0].said_boxes), describe_answer(*of[r.id]))
                for of in answers
            ]
            for r in records
        ]
        names = [f"{r.source}: {r.category}" for r in records]
        columns = [member.folder.name[-24:] for member in self.members]
        return draw_grid(rows, columns, names, f"{first.synthetic}{stage}: true boxes green, predicted boxes orange")

    def _score(self, member: Run, stage: str, rule: str) -> tuple[float, float, float]:
        for score in read_scores(member.folder, stage):
            if score.key == ("mau", rule, AVERAGE, ""):
                low, high = (score.value if end is None else end for end in (score.low, score.high))
                return score.value, low, high
        return float("nan"), float("nan"), float("nan")


def open_sweep(folder: str | Path | None = None) -> Sweep:
    """The folder of a multirun: this one, or that of the environment variable UMED_SWEEP, or the newest.

    Raises:
        InputError: no finished run in it.
    """
    return Sweep(Path(folder or os.environ.get("UMED_SWEEP") or newest_sweep()).resolve())


def newest_sweep(runs: str | Path = "../runs") -> Path:
    """The multirun that was started last. Raises InputError: there is none yet."""
    found = sorted(Path(runs).glob("**/multirun.yaml"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise InputError(
            f"{Path(runs).resolve()}: no multirun there yet: start one with run.py -m seed=0,1, or set UMED_SWEEP"
        )
    return found[-1].parent
