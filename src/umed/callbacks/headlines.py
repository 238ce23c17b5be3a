"""What a reader of W&B looks at first: named sections in their order, and about 30 numbers of a stage's summary."""

from collections.abc import Iterable
from typing import Any

from umed.evaluation.score import Score

# section -> its panels; a section is what stands before the first "/" of a name
SECTIONS: dict[str, tuple[str, ...]] = {
    "reward": ("total", "relevance", "localization", "vision_relevance"),
    "rollout": ("unparsed", "length", "truncated", "judge_failed"),
    "policy": ("kl", "clipfrac", "entropy", "value_loss", "explained_variance", "grad_norm"),
    "sft": ("loss",),
    "val": ("mau/accuracy/avg", "mau/iou/avg", "mau/unparsed/avg"),
    "test": (),  # see `HEADLINE_RULES`
    "time": ("sample", "score", "update"),
    "memory": ("peak",),
}
# of data set and rule as a whole; the other rules, slices and baselines are rows of the table of scores
HEADLINE_RULES = {
    "mau": ("accuracy", "iou", "attention", "unparsed", "false_positives"),
    "vqa_rad": ("open_recall", "closed_contains"),
    "slake": ("open_recall", "closed_contains"),
    "pmc_vqa": ("choice_nearest",),
    "medmnist_derma": ("acc",),
    "medmnist_breast": ("acc",),
    "medmnist_pneumonia": ("acc",),
}


def list_panels() -> list[str]:
    """Names of the logged numbers that the summary of a stage keeps."""
    return [f"{section}/{name}" for section, names in SECTIONS.items() for name in names]


def is_headline(score: Score) -> bool:
    """Whether a score is one of the summary's; data sets of one's own keep the rules without a slice."""
    from umed.evaluation.question import without_stand_in

    rules = HEADLINE_RULES.get(without_stand_in(score.dataset))
    whole = score.slice == ("avg" if score.dataset == "mau" else "")
    return whole and not score.row and (rules is None or score.rule in rules)


def define_summary(run: Any, axis: str) -> None:
    """Tell W&B the axis of everything, and that the summary keeps the headlines alone."""
    run.define_metric(axis, summary="none")
    run.define_metric("*", step_metric=axis, summary="none")
    for name in list_panels():
        run.define_metric(name, step_metric=axis, summary="last")


def headline_numbers(scores: Iterable[Score]) -> dict[str, float]:
    """`test/<dataset>/<rule>[/avg]` of the headlines."""
    return {"/".join(p for p in ("test", s.dataset, s.rule, s.slice) if p): s.value for s in scores if is_headline(s)}
