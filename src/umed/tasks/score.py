"""`task=score`: every rule on predictions from anywhere, item by item; no model is loaded."""

from pathlib import Path

from omegaconf import DictConfig

from umed.errors import InputError, check_number
from umed.evaluation.baselines import answer_majority
from umed.evaluation.benchmarks.find import build_benchmarks, build_options, scorers_of
from umed.evaluation.prediction_files import check_complete, read_predictions
from umed.evaluation.results import score_predictions
from umed.evaluation.rules.compat import check_variants
from umed.evaluation.score import flat_metrics
from umed.evaluation.scorer import judge_all, to_score_line
from umed.evaluation.tables import print_rules, write_notes
from umed.run_files import METRICS, update_metrics, write_jsonl


def score(cfg: DictConfig) -> dict[str, float]:
    """Score `predictions=FILE`, or a folder of `<dataset>.jsonl`: `scores.jsonl`, `metrics.json` and a table.

    Raises:
        InputError: a line that cannot be scored, an option that cannot be, or, where completeness is asked for, items
            that are missing or not of the benchmark.
    """
    check_number("task.draws", cfg.task.draws, at_least=0)
    check_variants(cfg.task.compat)
    if not isinstance(cfg.predictions, str):
        raise InputError("predictions is not set: give one file or folder of answers, predictions=FILE.jsonl")
    scorers, options = scorers_of(cfg), build_options(cfg, cfg.task.named, cfg.task.compat, judges=True)
    predictions = read_predictions(Path(cfg.predictions), scorers, cfg.task.dataset)
    if cfg.task.complete:
        check_complete(predictions, [q for b in build_benchmarks(cfg).values() for q in b.questions()])
    verdicts = judge_all(predictions, scorers, options)
    baselines = {"majority": answer_majority(predictions, scorers)}
    scores = score_predictions(predictions, verdicts, scorers, baselines, options=options, draws=cfg.task.draws)
    run, metrics = Path(cfg.paths.run_dir), flat_metrics(scores)
    judged = zip(predictions, verdicts, strict=True)
    write_jsonl(run / "scores.jsonl", (to_score_line(p, verdict, options) for p, verdict in judged))
    for dataset in {p.question.dataset for p in predictions}:
        update_metrics(run / METRICS, {}, instead_of=f"{dataset}/")
    update_metrics(run / METRICS, metrics)
    print_rules(scores, title=f"{cfg.predictions}")
    for note in write_notes(predictions, scores, scorers, options.open_judge.model if options.open_judge else ""):
        print(note)
    print(f"-> {run / 'scores.jsonl'}   {run / 'metrics.json'}")
    return metrics
