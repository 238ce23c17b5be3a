"""Evaluate one stage of a run: predictions, baselines, scores, and the files that keep them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from umed.engine.choose import budget_of
from umed.engine.device import build_to_answer
from umed.engine.engine import Engine
from umed.evaluation import td_compat
from umed.evaluation.ask import ask_questions
from umed.evaluation.baselines import answer_by_question, answer_majority
from umed.evaluation.benchmarks.find import build_options
from umed.evaluation.evaluation_set import EvaluationSet
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import CONTROLS, without_stand_in
from umed.evaluation.results import score_predictions
from umed.evaluation.score import Score, flat_metrics
from umed.evaluation.scorer import Options, Scorer, Verdict, judge_all, to_score_line
from umed.evaluation.throughput import measure_throughput
from umed.processes import ALONE, Processes, leave
from umed.run_files import METRICS, update_metrics, write_jsonl, write_whole


@dataclass
class Evaluation:
    """Everything that is known of a stage after its evaluation.

    Args:
        predictions: by data set; baselines: row -> the same items answered by a baseline.
        sampled, controls: sampled answers, and answers to pictures known to be normal, by data set.
    """

    stage: str
    predictions: dict[str, list[Prediction]] = field(default_factory=dict)
    baselines: dict[str, dict[str, list[Prediction]]] = field(default_factory=dict)
    sampled: dict[str, list[Prediction]] = field(default_factory=dict)
    controls: dict[str, list[Prediction]] = field(default_factory=dict)
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)
    throughput: dict[str, float] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """Flat names without the stage."""
        return {**flat_metrics(self.scores), **self.throughput}


def evaluate_stage(
    evaluation_set: EvaluationSet,
    stage: str,
    adapter: str | Path | None,
    *,
    substitutes: bool = True,
    processes: Processes = ALONE,
) -> Evaluation:
    """Answer every question with a model and score the answers.

    Args:
        substitutes: whether the rows of `data.evaluate.sanity` that show the model other pictures are asked.
        processes: that share the questions, and part after the last answer; only the first writes and scores.

    Predictions go to `predictions/<stage>/<dataset>.jsonl`, scores to `metrics.json` under `<stage>/`. Beside the
    predictions, `scores/<dataset>.jsonl` keeps the verdict of every rule, `splits.json` the split file of each data set
    with its SHA-256 and the protocol, `sanity/<dataset>.<row>.jsonl` the baselines and
    `sanity/<dataset>.controls.jsonl` the answers to normal pictures. Sampling is seeded: a second call writes the same.
    """
    cfg, data = evaluation_set.cfg, evaluation_set.data
    leaked = evaluation_set.leaked  # opens every test picture: one that is lost is reported before the model answers
    options, folder = build_options(cfg, judges=True), evaluation_set.run / "predictions" / stage
    policy, placement = build_to_answer(cfg, str(adapter) if adapter else None)
    budget = budget_of(cfg, evaluation_set.run, placement.device, f"evaluate/{stage}", processes=processes)
    engine = Engine(policy, budget)
    evaluation = Evaluation(stage)
    with placement.autocast():
        for name in data.benchmarks:
            _ask_benchmark(evaluation_set, engine, name, evaluation, substitutes, processes)
            if processes.rank:
                continue
            # at once: a question that cannot be asked loses no other's answers, but the stage is not evaluated then
            update_metrics(evaluation_set.run / METRICS, {}, instead_of=f"{stage}/")
            _write_answers(folder, evaluation)
    if processes.count > 1:
        leave()  # now: a judge may take longer to score than the others could wait for the first
    if processes.rank:
        return evaluation
    splits = {name: {**asdict(s), "protocol": cfg.data.protocol.name} for name, s in data.splits.items()}
    if splits:
        write_whole(folder / "splits.json", json.dumps(splits, indent=1) + "\n")
    for dataset, predictions in evaluation.predictions.items():
        verdicts = evaluation.verdicts[dataset] = judge_all(predictions, data.scorers, options)
        judged = zip(predictions, verdicts, strict=True)
        write_jsonl(folder / "scores" / f"{dataset}.jsonl", (to_score_line(p, v, options) for p, v in judged))
    evaluation.scores = _score(evaluation, data.scorers, leaked, options)
    if cfg.data.evaluate.alone:
        with placement.autocast():
            evaluation.throughput = measure_throughput(
                engine, data, "mau", questions=cfg.data.evaluate.alone, max_new_tokens=cfg.method.max_new_tokens
            )
    metrics = {f"{stage}/{name}": value for name, value in evaluation.metrics.items()}
    update_metrics(evaluation_set.run / METRICS, metrics, instead_of=f"{stage}/")
    return evaluation


def _ask_benchmark(
    evaluation_set: EvaluationSet,
    engine: Engine,
    name: str,
    evaluation: Evaluation,
    substitutes: bool,
    processes: Processes,
) -> None:
    """Ask the questions of one benchmark, its normal pictures and its baselines."""
    cfg, data = evaluation_set.cfg, evaluation_set.data
    benchmark, rows = data.benchmarks[name], cfg.data.evaluate.sanity
    shared: dict[str, Any] = {"max_new_tokens": cfg.method.max_new_tokens, "processes": processes}
    title = f"{evaluation.stage}: {name}"
    samples = cfg.data.evaluate.samples if any(s.scores_samples for s in benchmark.scorers.values()) else 0
    greedy, sampled = ask_questions(engine, data, name, title, samples=samples, seed=cfg.seed, **shared)
    evaluation.predictions |= _by_dataset(greedy)
    evaluation.sampled |= _by_dataset(sampled)
    for row in ("black", "shuffled"):
        if row in rows and substitutes:
            answers, _ = ask_questions(engine, data, name, f"{title}, {row}", shown=row, **shared)
            evaluation.baselines.setdefault(row, {}).update(_by_dataset(answers))
    if td_compat.ROW in rows and (answers := td_compat.ask_last_characters(engine, data, name, title)):
        evaluation.baselines.setdefault(td_compat.ROW, {}).update(_by_dataset(answers))
    for dataset, predictions in _by_dataset(greedy).items():
        if "majority" in rows:
            majority = answer_majority(predictions, data.scorers)
            evaluation.baselines.setdefault("majority", {})[dataset] = majority
        if "question_prior" in rows and (train := data.train(dataset)):
            prior = answer_by_question(predictions, train, data.scorers)
            evaluation.baselines.setdefault("question_prior", {})[dataset] = prior
    if questions := benchmark.controls()[: evaluation_set.at_most]:
        answers, _ = ask_questions(engine, data, name, f"{title}, normal pictures", questions=questions, **shared)
        evaluation.controls |= {d.removesuffix(CONTROLS): of for d, of in _by_dataset(answers).items()}


def _by_dataset(predictions: list[Prediction]) -> dict[str, list[Prediction]]:
    groups: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        groups.setdefault(prediction.question.dataset, []).append(prediction)
    return groups


def _write_answers(folder: Path, evaluation: Evaluation) -> None:
    """Write the answers in place of whatever an earlier evaluation of the stage left there."""
    for path in (*folder.glob("*.jsonl"), *folder.glob("sanity/*.jsonl"), *folder.glob("scores/*.jsonl")):
        path.unlink()
    (folder / "splits.json").unlink(missing_ok=True)
    files = {folder / f"{dataset}.jsonl": of for dataset, of in evaluation.predictions.items()}
    for row, answers in evaluation.baselines.items():
        files |= {folder / "sanity" / f"{dataset}.{row}.jsonl": of for dataset, of in answers.items()}
    files |= {folder / f"{dataset}_sampled.jsonl": of for dataset, of in evaluation.sampled.items()}
    files |= {folder / "sanity" / f"{name}.controls.jsonl": of for name, of in evaluation.controls.items()}
    for path, predictions in files.items():
        write_jsonl(path, (prediction.to_line() for prediction in predictions))


def _score(
    evaluation: Evaluation, scorers: Mapping[str, Scorer], leaked: Mapping[str, set[str]], options: Options
) -> list[Score]:
    """Every rule with intervals and baselines; where they were asked for, sampled answers and normal pictures."""
    predictions = [p for of in evaluation.predictions.values() for p in of]
    verdicts = [v for of in evaluation.verdicts.values() for v in of]
    rows = {row: [p for of in answers.values() for p in of] for row, answers in evaluation.baselines.items()}
    scores = score_predictions(predictions, verdicts, scorers, rows, leaked, options=options)
    for dataset, sampled in evaluation.sampled.items():
        scores += scorers[without_stand_in(dataset)].score_samples(sampled, options)
    for dataset, answers in evaluation.controls.items():
        scores += scorers[without_stand_in(dataset)].score_controls(answers, options)
    return scores
