"""`task=score`: every rule on predictions from anywhere, item by item; no model is loaded."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from umed.errors import InputError, check_number
from umed.evaluation import verdicts as rules
from umed.evaluation.baselines import majority
from umed.evaluation.files import update_metrics
from umed.evaluation.predictions import Line, read_predictions
from umed.evaluation.question import kind, split_of
from umed.evaluation.results import results
from umed.evaluation.rules.labels import LABELS
from umed.evaluation.tables import print_results
from umed.records import write_jsonl


def score(cfg: DictConfig) -> None:
    """Score `predictions=FILE`, or a folder of `<dataset>.jsonl`: `scores.jsonl`, `metrics.json` and a table.

    Raises:
        InputError: a line that cannot be scored, an option that cannot be, or, where completeness is asked for, items
            that are missing or not of the benchmark.
    """
    check_number("task.draws", cfg.task.draws, at_least=0)
    lines = predictions_of(cfg.predictions, cfg.task.dataset)
    if cfg.task.complete:
        check_complete(lines, cfg)
    options = {"compat": list(cfg.task.compat), "synonyms": cfg.data.synonyms, "named": cfg.task.named}
    found = rules.verdicts(lines, **options)
    metrics = results(lines, found, {"majority": majority(lines)}, draws=cfg.task.draws, **options)
    run = Path(cfg.paths.run_dir)
    write_jsonl(run / "scores.jsonl", ({"id": line["id"], **v} for line, v in zip(lines, found, strict=True)))
    for dataset in {line["dataset"] for line in lines}:
        update_metrics(run / "metrics.json", {}, instead_of=f"{dataset}/")
    update_metrics(run / "metrics.json", metrics)
    print_results(metrics, [""], title=f"{cfg.predictions}")
    for note in notes(lines, metrics):
        print(note)
    print(f"-> {run / 'scores.jsonl'}   {run / 'metrics.json'}")


def predictions_of(given: Any, dataset: str | None = None) -> list[Line]:
    """The lines of the one file or folder that was given.

    Raises:
        InputError: none, or several; see `read_predictions`.
    """
    if not isinstance(given, str):
        raise InputError("predictions is not set: give one file or folder of answers, predictions=FILE.jsonl")
    return read_predictions(Path(given), dataset)


def notes(lines: Sequence[Line], metrics: dict[str, float]) -> list[str]:
    """What a reader of the numbers should know: split files, how they were read, what could not be computed."""
    said = []
    for dataset, split in sorted({(line["dataset"], split_of(line)) for line in lines}):
        own = [line for line in lines if line["dataset"] == dataset and split_of(line) == split]
        types = ", ".join(f"{count} {name}" for name, count in Counter(line["answer_type"] for line in own).items())
        said.append(f"{dataset}: split file {split}, {types}")
    for dataset in sorted({line["dataset"] for line in lines}):
        if count := metrics.get(f"{dataset}/open_nearest/candidates"):
            said.append(
                f"{dataset}: open_nearest chooses from the {count:.0f} gold answers here, or from a line's own choices"
            )
        if share := metrics.get(f"{dataset}/unreadable"):
            said.append(f"{dataset}: no letter could be read from {share:.1%} of the answers; they count as wrong")
        if kind(dataset) in LABELS and f"{dataset}/auc" not in metrics:
            scored = any(line["scores"] for line in lines if line["dataset"] == dataset)
            why = "a class is missing among the gold labels" if scored else "there are no scores"
            said.append(f"{dataset}: no auc: {why}")
    return said


def check_complete(lines: Sequence[Line], cfg: DictConfig) -> None:
    """Raise InputError unless the lines answer every item of their data sets in `data/benchmark`, and no others."""
    expected: dict[str, set[str]] = {}
    for benchmark in (cfg.data.get("benchmark") or {}).values():
        for question in instantiate(benchmark).questions():
            expected.setdefault(question.dataset, set()).add(question.id)
    for dataset in sorted({line["dataset"] for line in lines}):
        if dataset not in expected:
            raise InputError(f"{dataset}: its items are not known: choose its benchmark, 'data/benchmark=[...]'")
        given = {line["id"] for line in lines if line["dataset"] == dataset}
        if missing := expected[dataset] - given:
            raise InputError(
                f"{dataset}: {len(missing)} of {len(expected[dataset])} items have no answer, {min(missing)} among "
                "them: finish the run or set task.complete=false"
            )
        if other := given - expected[dataset]:
            raise InputError(
                f"{dataset}: {len(other)} answers are to no item of it, {min(other)} among them: remove them"
            )
