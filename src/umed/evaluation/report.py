"""A run's answers in the paper's tables: everything is computed again from the prediction files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from umed.errors import InputError
from umed.evaluation.baselines import answer_majority
from umed.evaluation.benchmarks.find import build_options, scorers_of
from umed.evaluation.leaks import read_leaks
from umed.evaluation.paper_tables import (
    PaperTable,
    build_detail_table,
    build_external_table,
    build_iou_table,
    build_mau_table,
    separate_synthetic,
)
from umed.evaluation.prediction import Prediction
from umed.evaluation.prediction_files import read_answers, read_judge, read_predictions
from umed.evaluation.results import score_predictions
from umed.evaluation.rules.diagnosis import count_by_iou
from umed.evaluation.score import BASELINES, STAGES, Score, read_scores
from umed.evaluation.scorer import JUDGED, Options, Scorer, judge_all
from umed.figures import draw_shares_by_bin, mark_synthetic

EDGES = [k / 10 for k in range(11)]


def build_report(cfg: DictConfig, given: Path) -> tuple[list[PaperTable], Figure | None]:
    """The tables that have rows of ours, and the plot of accuracy by IoU where there are answers with boxes.

    Raises:
        InputError: no predictions there, or a file that cannot be scored.
    """
    scorers, options = scorers_of(cfg), build_options(cfg, cfg.task.named)
    stages = find_stages(given)
    answers = {stage: read_predictions(path, scorers) for stage, path in stages.items()}
    scores = {
        stage: score_stage(stages[stage], predictions, given, scorers, options, cfg.task.draws)
        for stage, predictions in answers.items()
    }
    judges = {stage: read_judge(path) for stage, path in stages.items() if path.is_dir()}
    for stage in filter(judges.get, judges):  # a judge is not asked again
        scores[stage] += [score for score in read_scores(given, stage) if score.rule == JUDGED]
    files = {stage: _split_files(predictions) for stage, predictions in answers.items()}
    published: Any = OmegaConf.to_container(cfg.task.published)
    counts, mark = _count_by_iou(answers, scorers, options)
    tables = [
        build_mau_table(scores, published["mau"]),
        build_detail_table(scores),
        build_external_table(scores, files, published["external"], scorers, judges),
        build_iou_table(counts, EDGES, mark),
    ]
    title = f"{mark}diagnosis accuracy by IoU, 95 % intervals"
    figure = draw_shares_by_bin(counts, EDGES, title) if counts else None
    kept = [table for table in tables if any(row.origin == "ours" for row in table.rows)]
    return [part for table in kept for part in separate_synthetic(table)], figure


def find_stages(given: Path) -> dict[str, Path]:
    """Stage -> the folder or file of its predictions, in the order of training.

    Raises:
        InputError: there are none.
    """
    if given.is_file():
        return {given.stem: given}
    folder = given / "predictions"
    if not folder.is_dir():
        if any(given.glob("*.jsonl")):
            return {given.name: given}
        raise InputError(f"{given}: no predictions/ there: give a run folder, one of its stages or a file")
    paths = [path for path in folder.iterdir() if any(path.glob("*.jsonl"))]
    if not paths:
        raise InputError(f"{folder}: no stage with predictions there: evaluate the run first")
    rank = {stage: k for k, stage in enumerate(STAGES)}
    return {path.name: path for path in sorted(paths, key=lambda p: (rank.get(p.name, len(rank)), p.name))}


def score_stage(
    path: Path,
    predictions: Sequence[Prediction],
    run: Path,
    scorers: Mapping[str, Scorer],
    options: Options,
    draws: int,
) -> list[Score]:
    """All scores of a stage, from its answers and those that lie beside them.

    Args:
        path: the folder or file of the stage's predictions.
    """
    baselines = {"majority": answer_majority(predictions, scorers)}
    for row in (row for row in BASELINES if row != "majority"):
        for file in sorted(path.glob(f"sanity/*.{row}.jsonl")) if path.is_dir() else ():
            baselines.setdefault(row, []).extend(read_predictions(file, scorers))
    verdicts = judge_all(predictions, scorers, options)
    leaked = read_leaks(run)
    scores = score_predictions(predictions, verdicts, scorers, baselines, leaked, options=options, draws=draws)
    for dataset, scorer in scorers.items():
        if sampled := read_answers(path / f"{dataset}_sampled.jsonl", scorer.question_type):
            scores += scorer.score_samples(sampled, options)
        if controls := read_answers(path / "sanity" / f"{dataset}.controls.jsonl", scorer.question_type):
            scores += scorer.score_controls(controls, options)
    return scores


def _split_files(predictions: Sequence[Prediction]) -> dict[str, str]:
    """Data set -> its split file; all of them, where the answers are of several."""
    files: dict[str, dict[str, None]] = {}
    for question in (prediction.question for prediction in predictions):
        files.setdefault(question.dataset, {})[question.split] = None
    return {dataset: " and ".join(names) for dataset, names in files.items()}


def _count_by_iou(
    answers: Mapping[str, Sequence[Prediction]], scorers: Mapping[str, Scorer], options: Options
) -> tuple[dict[str, list[tuple[int, int]]], str]:
    """Stage -> items and right ones of each bin of IoU, the paper's saturation plot; and the mark of drawn pictures."""
    counts, parts = {}, set()
    for stage, predictions in answers.items():
        of_mau = [p for p in predictions if p.question.dataset == "mau"]
        if of_mau:
            counts[stage] = count_by_iou(judge_all(of_mau, scorers, options), EDGES)
            parts |= {p.question.part for p in of_mau}
    return counts, mark_synthetic(sorted(parts))
