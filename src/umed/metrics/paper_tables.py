"""The paper's tables with its published rows beside ours; every cell of ours carries rule, split file and n."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from umed.metrics.results import BESIDE, ROWS
from umed.questions import SYNTHETIC, kind

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
    columns = {**SOURCES, **{s: s for s in map(_real, sources) if s not in SOURCES}, "avg": "Avg"}
    rows = [_published(row, columns) for row in published]
    mark = MARK if any(s.startswith(SYNTHETIC) for s in sources) else ""
    for stage, metrics in stages.items():
        for rule in ("accuracy", "iou"):
            cells = {}
            for source in (*sources, "avg"):
                if (value := metrics.get(f"mau/{rule}/{source}")) is not None:
                    count = metrics.get("mau/accuracy/n" if source == "avg" else f"mau/n/{source}")
                    cells[_real(source)] = Cell(value, rule, "records.jsonl", None if count is None else int(count))
            if cells:
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
            if (value := metrics.get(f"mau/{key}")) is not None:
                normal = key.startswith("false")
                count = metrics.get("mau/controls/n" if normal else "mau/accuracy/n")
                file = "controls.jsonl" if normal else "records.jsonl"
                cells[key] = Cell(value, key, file, None if count is None else int(count))
        if cells:
            rows.append(Row(f"{stage}{mark}", "ours", cells))
    return PaperTable("mau_detail", "MAU test in detail", DETAIL, rows, 2)


def external_table(
    stages: Mapping[str, Mapping[str, float]], files: Mapping[str, str], published: Sequence[Mapping[str, Any]]
) -> PaperTable:
    """The external benchmarks, in per cent: ours by the rules nearest to the paper's and by the strict ones.

    Args:
        files: data set -> split file.
    """
    rows = [_published(row, EXTERNAL) for row in published]
    for stage, metrics in stages.items():
        for mark in ("", MARK):
            for words, rules in (("nearest", NEAR), ("strict", STRICT)):
                for origin in ("", *ROWS):
                    cells = _external_cells(metrics, files, rules, SYNTHETIC if mark else "", origin)
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
        "disjoint: without the items whose picture is in the data set's own training part.",
    ]
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
        count = int(metrics[f"{name}/n"]) if f"{name}/n" in metrics and origin != "disjoint" else None
        cells[key] = Cell(100 * value, rule, files.get(prefix + dataset, "not told"), count, low, high)
    return cells


def _published(row: Mapping[str, Any], columns: Mapping[str, str]) -> Row:
    return Row(f"{row['row']} (paper)", "published", {key: Cell(float(row[key])) for key in columns if key in row})


def _real(source: str) -> str:
    return kind(source)
