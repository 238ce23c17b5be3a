"""`task=compare`: two runs on the same items."""

import json
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from umed.errors import InputError, check_positive
from umed.evaluation.benchmarks.find import build_options, scorers_of
from umed.evaluation.comparison import compare_pairs, pair_predictions, print_differences, print_examples, write_item
from umed.evaluation.prediction_files import read_predictions
from umed.evaluation.rules.compat import check_variants
from umed.evaluation.scorer import judge_all
from umed.run_files import write_jsonl, write_whole


def compare(cfg: DictConfig) -> dict[str, float]:
    """Compare `predictions=[A,B]`, files or folders: `compare.json`, `compare.jsonl` and a table.

    Raises:
        InputError: not two of them, other items or other gold answers.
    """
    given = list(cfg.predictions) if isinstance(cfg.predictions, ListConfig) else []
    if len(given) != 2 or not all(isinstance(path, str) for path in given):
        raise InputError("predictions: give two files or folders of answers, 'predictions=[A,B]'")
    check_positive("task.draws", cfg.task.draws)
    check_variants(cfg.task.compat)
    scorers, options = scorers_of(cfg), build_options(cfg, cfg.task.named, cfg.task.compat, judges=True)
    sides = [read_predictions(Path(path), scorers, cfg.task.dataset) for path in given]
    pairs = pair_predictions(sides[0], sides[1], given, cfg.task.common)
    judged = []
    for k, predictions in enumerate(sides):  # each file whole: its gold answers are what open_nearest chooses from
        verdicts = judge_all(predictions, scorers, options)
        verdict_of = {(p.question.dataset, p.question.id): v for p, v in zip(predictions, verdicts, strict=True)}
        judged.append([verdict_of[pair[k].question.dataset, pair[k].question.id] for pair in pairs])
    differences = compare_pairs(pairs, (judged[0], judged[1]), scorers, cfg.task.draws)
    run = Path(cfg.paths.run_dir)
    metrics = {name: value for difference in differences for name, value in difference.to_metrics().items()}
    write_whole(run / "compare.json", json.dumps(metrics, indent=1, allow_nan=False) + "\n")
    items = (write_item(pair, both) for pair, both in zip(pairs, zip(*judged, strict=True), strict=True))
    write_jsonl(run / "compare.jsonl", items)
    print_differences(differences, given, any(p.question.is_synthetic for p in sides[0]))
    if options.open_judge:
        print(f"open_judged: the verdicts of {options.open_judge.model}")
    print_examples(pairs, (judged[0], judged[1]), cfg.task.examples)
    print(f"-> {run / 'compare.json'}   {run / 'compare.jsonl'}")
    return metrics
