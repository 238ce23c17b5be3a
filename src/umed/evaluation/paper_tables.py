"""The paper's tables with its published rows beside ours; every cell of ours carries rule, split file and n."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from umed.evaluation.question import kind
from umed.evaluation.results import BESIDE, ROWS
from umed.records import SYNTHETIC

MARK = " (SYNTHETIC)"
NEAR = {"open": "open_nearest", "closed": "closed_contains", "choice": "choice_nearest", "blank": "blank_nearest",
        "acc": "acc", "auc": "auc"}  # fmt: skip
STRICT = {"open": "open_exact", "closed": "closed_exact", "choice": "choice_letter", "blank": "blank_exact",
          "acc": "acc_generated"}  # fmt: skip
EXTERNAL = {
    "vqa_rad/open": "VQA-RAD open",
    "vqa_rad/closed": "VQA-RAD closed",
    "slake/open": "SLAKE open",
    "slake/closed": "SLAKE closed",
    "pmc_vqa/choice": "PMC-VQA choice",
    "pmc_vqa/blank": "PMC-VQA blank",
    "medmnist_derma/acc": "Derma ACC",
    "medmnist_derma/auc": "Derma AUC",
    "medmnist_breast/acc": "Breast ACC",
    "medmnist_breast/auc": "Breast AUC",
    "medmnist_pneumonia/acc": "Pneumonia ACC",
    "medmnist_pneumonia/auc": "Pneumonia AUC",
}
SOURCES = {"deeplesion": "DeepLesion", "kidney_stone": "KidneyStone", "kvasir": "KVASIR", "nih_chest": "NIH",
           "tbx11k": "TBX11K"}  # fmt: skip
DETAIL = {
    "accuracy/avg": "accuracy, avg",
    "accuracy_multiclass/avg": "without single-class sources",
    "iou/avg": "IoU, avg",
    "acc@0.5/avg": "acc@0.5, avg",
    "iou_sampled/avg": "IoU of sampled answers",
    "unparsed/avg": "unparsed",
    "false_positives/avg": "normal pictures called abnormal",
    "false_boxes/avg": "normal pictures with a box",
}


COUNTS = {"accuracy_multiclass/avg": "mau/counted/multiclass", "iou_sampled/avg": "mau/counted/sampled"}


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
    """`origin`: `published`, `ours` or `sanity`, a row `under` one of ours; cells by column key."""

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


def mau_table(stages: Mapping[str, Mapping[str, float]], published: Sequence[Mapping[str, Any]]) -> PaperTable:
    """Table 2: accuracy by source and on average, ours with the IoU below.

    Args:
        stages: stage -> its metrics, names as in `metrics.json` without the stage.
        published: rows with a value for each source and `avg`.
    """
    below = {n.split("/")[2] for m in stages.values() for n in m if n.startswith("mau/accuracy/")}
    sources = sorted(below - {"avg", *BESIDE})
    # a stand-in stands in the column of its source, unless that one is there too
    column = {s: s if kind(s) in sources else kind(s) for s in sources} | {"avg": "avg"}
    columns = {**SOURCES, **{c: c for c in column.values() if c not in (*SOURCES, "avg")}, "avg": "Avg"}
    rows = [_published(row, columns) for row in published]
    mark = MARK if any(s.startswith(SYNTHETIC) for s in sources) else ""
    for stage, metrics in stages.items():
        for rule in ("accuracy", "iou"):
            for row in ("", *ROWS):
                cells = {}
                for source in (*sources, "avg"):
                    name = f"mau/{rule}/{source}"
                    count = metrics.get("mau/accuracy/n" if source == "avg" else f"mau/n/{source}")
                    if cell := _mau_cell(metrics, name, row, rule, None if row == "disjoint" else count):
                        cells[column[source]] = cell
                if cells and row:
                    rows.append(Row(row.replace("_", " "), "sanity", cells, f"{stage}{mark}, {rule}"))
                elif cells:
                    rows.append(Row(f"{stage}{mark}, {rule}", "ours", cells))
    notes = [
        "accuracy: the answer names the gold category and no other of its source; iou: of the said with the true "
        "boxes. The paper states neither its rule nor n.",
        "Published averages are as printed; the columns of GPT-4V + box have the mean .706, printed .72.",
    ]
    return PaperTable("mau", "MAU test: diagnosis accuracy (paper, Table 2)", columns, rows, 2, notes)


def detail_table(stages: Mapping[str, Mapping[str, float]]) -> PaperTable:
    """What an average accuracy hides: single-class sources, boxes, unreadable answers, normal pictures."""
    mark = MARK if any(SYNTHETIC in n for m in stages.values() for n in m if n.startswith("mau/")) else ""
    rows = []
    for stage, metrics in stages.items():
        cells = {}
        for key in DETAIL:
            normal = key.startswith("false")
            count = metrics.get(COUNTS.get(key, "mau/controls/n" if normal else "mau/accuracy/n"))
            if cell := _mau_cell(
                metrics, f"mau/{key}", "", key, count, "controls.jsonl" if normal else "records.jsonl"
            ):
                cells[key] = cell
        if cells:
            rows.append(Row(f"{stage}{mark}", "ours", cells))
    return PaperTable("mau_detail", "MAU test in detail", DETAIL, rows, 2)


def saturation_table(
    counts: Mapping[str, Sequence[tuple[int, int]]], edges: Sequence[float], mark: str = ""
) -> PaperTable:
    """Accuracy as a function of IoU.

    Args:
        counts: stage -> items and right ones of each bin; an empty bin has no cell.
        mark: begins the title where pictures are synthetic.
    """
    bins = [f"{low:.1f} to {high:.1f}" for low, high in itertools.pairwise(edges)]
    rows = [
        Row(
            stage,
            "ours",
            {b: Cell(right / n, "accuracy", "records.jsonl", n) for b, (n, right) in zip(bins, of, strict=True) if n},
        )
        for stage, of in counts.items()
    ]
    title = f"{mark}diagnosis accuracy by IoU of said and true boxes"
    return PaperTable("accuracy_by_iou", title, {b: b for b in bins}, rows, 2)


def _mau_cell(
    metrics: Mapping[str, float], name: str, row: str, rule: str, count: float | None, file: str = "records.jsonl"
) -> Cell | None:
    value = metrics.get(f"{name}/{row}" if row else name)
    low, high = (None if row else metrics.get(f"{name}/{end}") for end in ("low", "high"))
    return None if value is None else Cell(value, rule, file, None if count is None else int(count), low, high)


def external_table(
    stages: Mapping[str, Mapping[str, float]],
    files: Mapping[str, Mapping[str, str]],
    published: Sequence[Mapping[str, Any]],
) -> PaperTable:
    """The external benchmarks, in per cent: ours by the rules nearest to the paper's and by the strict ones.

    Args:
        files: stage -> data set -> split file.
    """
    rows = [_published(row, EXTERNAL) for row in published]
    for stage, metrics in stages.items():
        for mark in ("", MARK):
            for words, rules in (("nearest", NEAR), ("strict", STRICT)):
                for origin in ("", *ROWS):
                    cells = _external_cells(metrics, files[stage], rules, SYNTHETIC if mark else "", origin)
                    name = f"{stage}{mark}, {words} rules"
                    if cells and origin:
                        rows.append(Row(origin.replace("_", " "), "sanity", cells, name))
                    elif cells:
                        rows.append(Row(name, "ours", cells))
    notes = [
        "nearest rules: open_nearest, closed_contains, choice_nearest, blank_nearest, acc and auc of likelihoods. That "
        "these are nearest to the paper's is assumed: it states none. Published MedVInT figures choose open answers "
        "from a closed list taken from the test labels, as open_nearest does.",
        "strict rules: open_exact, closed_exact, choice_letter, blank_exact, acc_generated (the written label).",
        "disjoint: without the items whose picture is in the data set's own training part, or among MAU's.",
    ]
    known = {
        f"{int(count)} ({name.removesuffix('/open_nearest/candidates')})": None
        for metrics in stages.values()
        for name, count in metrics.items()
        if name.endswith("/open_nearest/candidates")
    }
    if known:
        notes.append(f"open_nearest chooses from so many gold answers: {', '.join(known)}.")
    return PaperTable("external", "External benchmarks, per cent", EXTERNAL, rows, 1, notes)


def _external_cells(
    metrics: Mapping[str, float], files: Mapping[str, str], rules: Mapping[str, str], prefix: str, origin: str
) -> dict[str, Cell]:
    cells = {}
    for key in EXTERNAL:
        dataset, column = key.split("/")
        rule = rules.get(column)
        name = f"{prefix}{dataset}/{rule}"
        value = metrics.get(f"{name}/{origin}" if origin else name)
        if rule is None or value is None:
            continue
        span = [metrics.get(f"{name}/{end}") if not origin else None for end in ("low", "high")]
        low, high = (None if v is None else 100 * v for v in span)
        count = metrics.get(f"{name}/disjoint_n" if origin == "disjoint" else f"{name}/n")
        file = files.get(prefix + dataset, "not told")
        cells[key] = Cell(100 * value, rule, file, None if count is None else int(count), low, high)
    return cells


def _published(row: Mapping[str, Any], columns: Mapping[str, str]) -> Row:
    return Row(f"{row['row']} (paper)", "published", {key: Cell(float(row[key])) for key in columns if key in row})
