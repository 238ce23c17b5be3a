"""Tables on the terminal: stages by source in the paper's style, and every rule with what it must beat."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from umed.evaluation.prediction import Prediction
from umed.evaluation.question import without_stand_in
from umed.evaluation.score import AVERAGE, BASELINES, Score, index_scores, without_zero_counts
from umed.evaluation.scorer import JUDGED, Scorer, group_by_dataset
from umed.records import SYNTHETIC

HEADS = {
    "majority": "majority",
    "question_prior": "question\nalone",
    "black": "black\npicture",
    "shuffled": "another\npicture",
    "disjoint": "not in\ntraining",
    "td_compat": "last\ncharacter",
}
BELOW = ("majority", "black", "shuffled")  # baselines below the last stage


def print_stages(stages: Mapping[str, Sequence[Score]], title: str) -> None:
    """Print accuracy / IoU by source, on average and of sampled answers, and the attention on the abnormality.

    Below the last stage stand the baselines that it must beat.
    """
    indexes = {stage: index_scores(scores) for stage, scores in stages.items()}
    sources = list(
        dict.fromkeys(
            s.slice
            for s in next(iter(stages.values()))
            if (s.dataset, s.rule, s.row) == ("mau", "accuracy", "") and s.slice not in ("", AVERAGE)
        )
    )
    synthetic = " (SYNTHETIC pictures)" if any(s.startswith(SYNTHETIC) for s in sources) else ""
    table = Table(title=escape(f"{title}{synthetic}: accuracy / IoU"), title_justify="left")
    table.add_column("stage")
    for source in sources:
        table.add_column(escape(source.removeprefix(SYNTHETIC)), justify="right")
    for column in ("average", "sampled", "attention", "unparsed"):
        table.add_column(column, justify="right")
    last = list(stages)[-1]
    rows = [(stage, stage, "") for stage in stages]
    rows += [("  " + HEADS[row].replace("\n", " "), last, row) for row in BELOW]
    for name, stage, row in rows:

        def show(rule: str, source: str, stage: str = stage, row: str = row) -> str:
            score = indexes[stage].get(("mau", rule, source, row))
            return "-" if score is None else f"{score.value:.2f}"

        cells = [f"{show('accuracy', s)} / {show('iou', s)}" for s in (*sources, AVERAGE)]
        if not row or show("accuracy", AVERAGE) != "-":
            sampled = f"{show('accuracy_sampled', AVERAGE)} / {show('iou_sampled', AVERAGE)}"
            table.add_row(
                escape(name),
                *cells,
                sampled.replace("- / -", "-"),
                show("attention", AVERAGE),
                show("unparsed", AVERAGE),
            )
    Console(width=max(80, 36 + 14 * (len(sources) + 4))).print(table)


def print_rules(scores: Sequence[Score], title: str, stage: str = "") -> None:
    """Print every rule of every data set: value, 95 % interval, n and, beside it, the baselines."""
    index = index_scores(scores)
    baselines = [row for row in BASELINES if any(score.row == row for score in scores)]
    is_synthetic = any(s.dataset.startswith(SYNTHETIC) or s.slice.startswith(SYNTHETIC) for s in scores)
    drawn_mau = any(s.dataset == "mau" and s.slice.startswith(SYNTHETIC) for s in scores)
    mark = " (phantom_: SYNTHETIC pictures)" if is_synthetic else ""
    table = Table(title=escape(f"{title}{mark}"), title_justify="left")
    for column in ("stage",) if stage else ():
        table.add_column(column)
    for column in ("data set", "rule"):
        table.add_column(column, no_wrap=True)
    for column in ("value", "95 %", "n", *(HEADS.get(row, row) for row in baselines)):
        table.add_column(column, justify="right")
    for score in without_zero_counts(scores):
        if score.slice or score.row or score.n is None:
            continue
        beside = [index.get((score.dataset, score.rule, "", row)) for row in baselines]
        interval = "-" if score.low is None else f"{score.low:.3f} - {score.high:.3f}"
        dataset = "mau (SYNTHETIC)" if score.dataset == "mau" and drawn_mau else score.dataset
        values = ["-" if s is None else f"{s.value:.3f}" for s in beside]
        cells = [dataset, score.rule, f"{score.value:.3f}", interval, str(score.n), *values]
        table.add_row(*([stage] if stage else []), *cells)
    Console(width=max(100, 84 + 11 * len(baselines))).print(table)


def print_wide(table: Table) -> None:
    """Print a table as wide as it is: in less, rich cuts columns off."""
    console = Console(width=10_000)
    Console(width=max(80, console.measure(table).maximum)).print(table)


def write_notes(
    predictions: Sequence[Prediction], scores: Sequence[Score], scorers: Mapping[str, Scorer], judge: str = ""
) -> list[str]:
    """What a reader of scores should know: a line for each split file, then what the scorers say of their data sets.

    Args:
        judge: the name of the model that has judged open answers; empty = none has.
    """
    notes = []
    types: dict[tuple[str, str], Counter[str]] = {}
    for question in (prediction.question for prediction in predictions):
        types.setdefault((question.dataset, question.split), Counter())[question.answer_type] += 1
    for (dataset, split), counts in sorted(types.items()):
        told = ", ".join(f"{count} {answer_type}" for answer_type, count in counts.items())
        notes.append(f"{dataset}: split file {split}, {told}")
    for dataset, places in sorted(group_by_dataset(predictions).items()):
        of_dataset = [predictions[k] for k in places]
        scorer = scorers[without_stand_in(dataset)]
        notes += scorer.note(dataset, of_dataset, scores)
        open_count = sum(p.question.answer_type == "open" for p in of_dataset)
        if judge and open_count and any(column.judged for column in scorer.columns):
            count = sum(s.n or 0 for s in scores if s.key == (dataset, JUDGED, "", ""))
            failed = f"; {open_count - count} could not be judged and do not count" if count < open_count else ""
            notes.append(
                f"{dataset}: {JUDGED} is the verdict of {judge} on {count} of {open_count} open answers{failed}"
            )
    return notes
