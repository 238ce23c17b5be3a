"""The paper's tables with its published rows beside ours; every cell of ours carries rule, split file and n."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from umed.evaluation.question import without_stand_in
from umed.evaluation.score import AVERAGE, BASELINES, CANDIDATES, Score, index_scores
from umed.evaluation.scorer import Column, Scorer
from umed.records import SYNTHETIC

MARK = " (SYNTHETIC)"
Published = Sequence[Mapping[str, str | float]]  # rows of the paper: `row` is the name, the rest values by column
SOURCES = {"deeplesion": "DeepLesion", "kidney_stone": "KidneyStone", "kvasir": "KVASIR", "nih_chest": "NIH",
           "tbx11k": "TBX11K"}  # fmt: skip
DETAIL = {
    "accuracy": "accuracy, avg",
    "accuracy_multiclass": "without single-class sources",
    "iou": "IoU, avg",
    "acc@0.5": "acc@0.5, avg",
    "accuracy_sampled": "accuracy of sampled answers",
    "iou_sampled": "IoU of sampled answers",
    "attention": "attention on the abnormality",
    "unparsed": "unparsed",
    "false_positives": "normal pictures called abnormal",
    "false_boxes": "normal pictures with a box",
}
NOTES_MAU = (
    "accuracy: the answer names the gold category and no other of its source; iou: of predicted and gold boxes. "
    "The paper states neither its rule nor n.",
    "Published averages are as printed; the columns of GPT-4V + box have the mean .706, printed .72.",
)
NOTES_EXTERNAL = (
    "nearest rules: open_nearest, closed_contains, choice_nearest, blank_nearest, acc and auc of likelihoods. That "
    "these are nearest to the paper's is assumed: it states none. Published MedVInT figures choose open answers from a "
    "closed list taken from the test labels, as open_nearest does.",
    "strict rules: open_exact, closed_exact, choice_letter, blank_exact, acc_generated (the written label).",
    "disjoint: without the items whose picture is in the data set's own training part, or among MAU's.",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A value and what it is a value of."""

    value: float
    rule: str = "not stated"
    split_file: str = "not stated"
    n: int | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """`origin`: `published`, `ours` or `sanity`, a baseline `under` one of ours; cells by column key."""

    name: str
    origin: str
    cells: Mapping[str, Cell]
    under: str = ""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """Columns by key; `digits` behind the point."""

    name: str
    title: str
    columns: Mapping[str, str]
    rows: Sequence[Row]
    digits: int
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def is_published(self) -> bool:
        """Whether it has the paper's rows alone."""
        return all(row.origin == "published" for row in self.rows)


def separate_synthetic(table: PaperTable) -> list[PaperTable]:
    """Rows of synthetic pictures in a table of their own, the paper's behind it: they are of different pictures."""
    drawn = [row for row in table.rows if MARK in row.name + row.under]
    others = [row for row in table.rows if row not in drawn]
    if not drawn:
        return [table]
    synthetic = replace(table, title=f"SYNTHETIC pictures: {table.title}", rows=drawn)
    if not others:
        return [synthetic]
    rest = replace(table, rows=others)
    return [synthetic, replace(rest, name=f"{table.name}_paper") if rest.is_published else rest]


def build_mau_table(stages: Mapping[str, Sequence[Score]], published: Published) -> PaperTable:
    """Table 2: accuracy by source and on average, ours with the IoU below.

    Args:
        published: rows with a value for each source and `avg`.
    """
    sources = sorted({s.slice for of in stages.values() for s in of if s.dataset == "mau" and s.slice} - {AVERAGE})
    # a stand-in stands in the column of its source, unless that source is there too
    column = {s: s if without_stand_in(s) in sources else without_stand_in(s) for s in sources} | {AVERAGE: AVERAGE}
    columns = {**SOURCES, **{c: c for c in column.values() if c not in (*SOURCES, AVERAGE)}, AVERAGE: "Avg"}
    rows = [_published_row(row, columns) for row in published]
    mark = MARK if any(source.startswith(SYNTHETIC) for source in sources) else ""
    for stage, scores in stages.items():
        index = index_scores(scores)
        for rule in ("accuracy", "iou"):
            for row in ("", *BASELINES):
                found = {source: index.get(("mau", rule, source, row)) for source in (*sources, AVERAGE)}
                n = {source: index.get(("mau", rule, source, "")) for source in found}
                cells = {column[s]: _cell(score, n[s]) for s, score in found.items() if score}
                name = f"{stage}{mark}, {rule}"
                if cells and row:
                    rows.append(Row(row.replace("_", " "), "sanity", cells, name))
                elif cells:
                    rows.append(Row(name, "ours", cells))
    return PaperTable("mau", "MAU test: diagnosis accuracy (paper, Table 2)", columns, rows, 2, NOTES_MAU)


def build_detail_table(stages: Mapping[str, Sequence[Score]]) -> PaperTable:
    """What an average accuracy hides: single-class sources, boxes, unreadable answers, normal pictures."""
    of_mau = [s for scores in stages.values() for s in scores if s.dataset == "mau"]
    mark = MARK if any(score.slice.startswith(SYNTHETIC) for score in of_mau) else ""
    rows = []
    for stage, scores in stages.items():
        index = index_scores(scores)
        cells = {}
        for rule in DETAIL:
            if score := index.get(("mau", rule, AVERAGE, "")):
                file = "controls.jsonl" if rule.startswith("false_") else "records.jsonl"
                cells[rule] = _cell(score, score, rule=f"{rule}/{AVERAGE}", file=file)
        if cells:
            rows.append(Row(f"{stage}{mark}", "ours", cells))
    return PaperTable("mau_detail", "MAU test in detail", DETAIL, rows, 2)


def build_iou_table(
    counts: Mapping[str, Sequence[tuple[int, int]]], edges: Sequence[float], mark: str = ""
) -> PaperTable:
    """Accuracy as a function of IoU.

    Args:
        counts: stage -> items and right ones of each bin; an empty bin has no cell.
        mark: begins the title where pictures are synthetic.
    """
    bins = [f"{low:.1f} to {high:.1f}" for low, high in itertools.pairwise(edges)]
    rows = []
    for stage, of_stage in counts.items():
        filled = [(name, n, right) for name, (n, right) in zip(bins, of_stage, strict=True) if n]
        cells = {name: Cell(right / n, "accuracy", "records.jsonl", n) for name, n, right in filled}
        rows.append(Row(stage, "ours", cells))
    title = f"{mark}diagnosis accuracy by IoU of predicted and gold boxes"
    return PaperTable("accuracy_by_iou", title, {name: name for name in bins}, rows, 2)


def build_external_table(
    stages: Mapping[str, Sequence[Score]],
    files: Mapping[str, Mapping[str, str]],
    published: Published,
    scorers: Mapping[str, Scorer],
    judges: Mapping[str, str] = MappingProxyType({}),
) -> PaperTable:
    """The external benchmarks, in per cent: ours by the rules nearest to the paper's and by the strict ones.

    Args:
        files: stage -> data set -> split file.
        scorers: data set -> its columns; those that the published rows name come first.
        judges: stage -> the model that has judged its open answers.
    """
    columns = _order_columns(published, scorers)
    titles = {key: column.title for key, column in columns.items()}
    rows = [_published_row(row, titles) for row in published]
    for stage, scores in stages.items():
        index = index_scores(scores)
        for prefix, mark in (("", ""), (SYNTHETIC, MARK)):
            judged = f"judged by {judges.get(stage)}"
            for words, kind in (("nearest rules", "nearest"), ("strict rules", "strict"), (judged, "judged")):
                name = f"{stage}{mark}, {words}"
                for row in ("", *BASELINES):
                    cells = {}
                    for key, column in columns.items():
                        dataset = prefix + key.split("/")[0]
                        rule = getattr(column, kind)
                        if rule and (score := index.get((dataset, rule, "", row))):
                            file = files[stage].get(dataset, "not stated")
                            cells[key] = _cell(score, index.get((dataset, rule, "", "")), file=file, scale=100)
                    if cells and row:
                        rows.append(Row(row.replace("_", " "), "sanity", cells, name))
                    elif cells:
                        rows.append(Row(name, "ours", cells))
    counts = {f"{s.value:.0f} ({s.dataset})": None for of in stages.values() for s in of if s.row == CANDIDATES}
    notes = [*NOTES_EXTERNAL]
    if counts:
        notes.append(f"open_nearest chooses from so many gold answers: {', '.join(counts)}.")
    return PaperTable("external", "External benchmarks, per cent", titles, rows, 1, notes)


def _order_columns(published: Published, scorers: Mapping[str, Scorer]) -> dict[str, Column]:
    """`<dataset>/<column>` -> the column: data sets in the order of the published rows, then all others."""
    named = [key.split("/")[0] for row in published for key in row if "/" in key]
    datasets = list(dict.fromkeys([*(name for name in named if name in scorers), *scorers]))
    return {f"{dataset}/{column.name}": column for dataset in datasets for column in scorers[dataset].columns}


def _cell(score: Score, whole: Score | None, *, rule: str = "", file: str = "records.jsonl", scale: float = 1) -> Cell:
    """A cell of a score; a baseline is of the same items as the `whole`, except `disjoint`, which has its own n."""
    n = score.n if not score.row or score.row == "disjoint" or whole is None else whole.n
    low, high = (None if v is None else scale * v for v in (score.low, score.high))
    return Cell(scale * score.value, rule or score.rule, file, n, low, high)


def _published_row(row: Mapping[str, str | float], columns: Mapping[str, str]) -> Row:
    return Row(f"{row['row']} (paper)", "published", {key: Cell(float(row[key])) for key in columns if key in row})
