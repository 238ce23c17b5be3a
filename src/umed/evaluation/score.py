"""`Score`: the value of one rule; and `metrics.json`, in which scores stand under flat names.

A flat name is `<stage>/<dataset>/<rule>[/<slice>][/<row>]`, with `/n`, `/low` and `/high` behind it for the number of
items and the 95 % interval; `score` writes no stage. No other file makes or reads such names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from umed.run_files import METRICS, read_metrics

STAGES = ("base", "sft", "sft_continued", "ppo", "aar")  # of a pipeline, in order; sft_continued is optional
BASELINES = (
    "majority",
    "chance",
    "question_prior",
    "black",
    "shuffled",
    "disjoint",
    "td_compat",
)  # rows beside a value
COUNTS = ("thought_removed", "unreadable")  # shares of the answers that say nothing of their quality
CANDIDATES = "candidates"  # the number of texts that a nearest answer is chosen from
AVERAGE = "avg"  # the slice that is the plain mean of the others


@dataclass(frozen=True, slots=True)
class Score:
    """The value of one rule on one data set.

    Args:
        slice: a part of the data set (a source of MAU) or `avg`; empty = all items together.
        row: the baseline that the value is of, one of `BASELINES`; empty = the model's own answers.
        low, high: 95 % interval.
        n: items that the rule applies to.
    """

    dataset: str
    rule: str
    value: float
    slice: str = ""
    row: str = ""
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.dataset, self.rule, self.slice, self.row


def index_scores(scores: Iterable[Score]) -> dict[tuple[str, str, str, str], Score]:
    """Scores by (dataset, rule, slice, row)."""
    return {score.key: score for score in scores}


def without_zero_counts(scores: Iterable[Score]) -> list[Score]:
    """The scores that a reader wants to see: without those of `COUNTS` that are 0."""
    return [score for score in scores if score.value or score.rule not in COUNTS]


def flat_metrics(scores: Iterable[Score], stage: str = "") -> dict[str, float]:
    """Scores under their flat names; n is written for values of all items together only."""
    metrics: dict[str, float] = {}
    for score in scores:
        parts = (stage, score.dataset, score.rule, score.slice)
        name = "/".join(part for part in (*parts, score.row) if part)
        metrics[name] = score.value
        if score.low is not None and score.high is not None:
            metrics |= {f"{name}/low": score.low, f"{name}/high": score.high}
        if score.n is not None and not score.slice:
            # the n of a baseline stands beside it, since everything below a rule's name is a slice or a row
            metrics[f"{name}_n" if score.row else f"{name}/n"] = score.n
    return metrics


def parse_metrics(metrics: Mapping[str, float], stage: str = "") -> list[Score]:
    """The scores of a stage from flat names; names of other stages and of no score are left out."""
    prefix = f"{stage}/" if stage else ""
    scores = []
    for name, value in metrics.items():
        parts = name.removeprefix(prefix).split("/")
        if not name.startswith(prefix) or len(parts) < 2 or parts[-1] in ("n", "low", "high", "disjoint_n"):
            continue
        dataset, rule, *rest = parts
        row = rest.pop() if rest and rest[-1] in (*BASELINES, CANDIDATES) else ""
        n = metrics.get(f"{name}_n" if row else f"{name}/n")
        interval = metrics.get(f"{name}/low"), metrics.get(f"{name}/high")
        scores.append(Score(dataset, rule, value, "/".join(rest), row, *interval, None if n is None else int(n)))
    return scores


def read_scores(run: Path, stage: str) -> list[Score]:
    """The scores of a stage of a run; empty where it was not evaluated."""
    return parse_metrics(read_metrics(run), stage) if (run / METRICS).is_file() else []
