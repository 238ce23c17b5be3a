"""`task=evaluate`: answer MAU's test split and the benchmarks, and measure, the sanity rows beside each result."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, ListConfig

from umed.analysis import open_run
from umed.annotate.stage import load_or_annotate
from umed.callbacks.wandb_tables import log_evaluation
from umed.errors import InputError, check_choice, check_number, check_positive
from umed.evaluation import verdicts as rules
from umed.evaluation.answer import answer_controls, answer_mau, answer_questions
from umed.evaluation.baselines import majority, question_prior
from umed.evaluation.datamodule import BenchmarkDataModule
from umed.evaluation.evaluation_set import Exam
from umed.evaluation.files import update_metrics
from umed.evaluation.predictions import read_predictions
from umed.evaluation.results import results
from umed.evaluation.rules.mau import Line, false_positives, mau_metrics
from umed.evaluation.tables import print_results, print_table
from umed.evaluation.throughput import batches_against_alone
from umed.models.load import build_policy
from umed.models.policy import Policy
from umed.records import Record, RecordSet, write_jsonl, write_whole
from umed.tasks.score import notes
from umed.training import datamodule_of

ROWS = ("majority", "question_prior", "black", "shuffled")


@dataclass
class Answered:
    """Prediction lines by data set; `rows`: sanity row -> the same; `sampled` and `controls` are MAU's."""

    lines: dict[str, list[Line]] = field(default_factory=dict)
    rows: dict[str, dict[str, list[Line]]] = field(default_factory=dict)
    sampled: list[Line] = field(default_factory=list)
    controls: list[Line] = field(default_factory=list)


def evaluate(cfg: DictConfig) -> None:
    """Evaluate a model (`model=...`) or a run (`init_from=...`)."""
    stage = "base" if cfg.init_from is None else "init_from"
    exam = Exam(cfg, load_or_annotate(cfg) if asks_mau(cfg) else None)
    metrics = evaluate_stage(exam, stage, cfg.init_from)
    title = cfg.init_from or cfg.model.path
    if exam.data is not None:
        print_table(metrics, [stage], title=f"MAU {cfg.data.evaluate.split}, {title}")
    print_rules(exam, stage, metrics, title)


def print_rules(exam: Exam, stage: str, metrics: Mapping[str, float], title: str) -> None:
    """Print a stage by every rule, the sanity rows beside, and what a reader of these numbers should know."""
    print_results(metrics, [stage], title=f"{title}, protocol {exam.cfg.data.protocol.name}")
    own = {n.removeprefix(f"{stage}/"): value for n, value in metrics.items() if n.startswith(f"{stage}/")}
    for note in notes(read_predictions(exam.run / "predictions" / stage), own):
        print(note)


def asks_mau(cfg: DictConfig) -> bool:
    """Whether MAU is among what is asked.

    Raises:
        InputError: a sanity row or number that is none, or nothing at all is asked.
    """
    options = cfg.data.evaluate
    if not isinstance(options.sanity, ListConfig):
        raise InputError(f"data.evaluate.sanity={options.sanity}: a list is needed, [] for none")
    for row in options.sanity:
        check_choice("data.evaluate.sanity", row, *ROWS)
    for name in ("mau", "leaks"):
        if not isinstance(options[name], bool):
            raise InputError(f"data.evaluate.{name}={options[name]}: choose true or false")
    check_positive("data.evaluate.at_most", options.at_most)
    check_positive("data.evaluate.batch_size", options.batch_size)
    for option, count in (("evaluate.alone", options.alone), ("num_workers", cfg.data.num_workers)):
        check_number(f"data.{option}", count, at_least=0)
        if count != int(count):
            raise InputError(f"data.{option}={count}: a whole number is needed")
    if not cfg.data.evaluate.mau and not cfg.data.get("benchmark"):
        raise InputError(
            "nothing to evaluate: set data.evaluate.mau=true or choose benchmarks, 'data/benchmark=[slake]'"
        )
    if options.alone and not options.mau:
        raise InputError(f"data.evaluate.alone={options.alone}: its queries are MAU's; set data.evaluate.mau=true")
    return bool(options.mau)


def evaluate_stage(exam: Exam, stage: str, adapter: str | Path | None) -> dict[str, float]:
    """Predictions to `predictions/<stage>/<dataset>.jsonl`, metrics to `metrics.json` under `<stage>/`.

    `scores/<dataset>.jsonl` keeps the verdict of every rule, `splits.json` the split file of each data set, its SHA-256
    and the protocol. Sanity rows go to `sanity/<dataset>.<row>.jsonl`, answers to normal pictures to
    `sanity/mau.controls.jsonl`. Sampling is seeded: a second call writes the same. The stage's W&B run gets metrics,
    examples and answers.
    """
    cfg, data, module, run, leaked = exam.cfg, exam.data, exam.module, exam.run, exam.leaked
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = build_policy(cfg, str(adapter) if adapter else None, 0.0, device)
    answered = Answered()
    if data is not None:
        _ask_mau(cfg, policy, data, exam.controls, stage, answered)
    if module is not None:
        _ask_benchmarks(cfg, policy, module, stage, answered)
    folder = run / "predictions" / stage
    _write(folder, answered)
    if module is not None:
        splits = {
            name: {**asdict(split), "protocol": cfg.data.protocol.name} for name, split in module.splits().items()
        }
        write_whole(folder / "splits.json", json.dumps(splits, indent=1) + "\n")
    found = {dataset: rules.verdicts(own, synonyms=cfg.data.synonyms) for dataset, own in answered.lines.items()}
    for dataset, own in answered.lines.items():
        judged = ({"id": line["id"], **verdict} for line, verdict in zip(own, found[dataset], strict=True))
        write_jsonl(folder / "scores" / f"{dataset}.jsonl", judged)
    values = measured(cfg, answered, found, leaked)
    if data is not None and cfg.data.evaluate.alone:
        values |= _speed(cfg, policy, data)
    metrics = {f"{stage}/{name}": value for name, value in values.items()}
    update_metrics(run / "metrics.json", metrics, instead_of=f"{stage}/")
    for make in instantiate(cfg.logger).values():
        logger = make(stage=stage, run=run)
        if isinstance(logger, WandbLogger):
            figure = open_run(run).examples(stages=[stage]) if data is not None else None
            log_evaluation(logger, values, answered.lines, found, figure)
    return metrics


def _ask_mau(
    cfg: DictConfig, policy: Policy, data: RecordSet, controls: Sequence[Record], stage: str, answered: Answered
) -> None:
    options, module = cfg.data.evaluate, datamodule_of(cfg, data)
    asked = {
        "max_new_tokens": cfg.method.max_new_tokens,
        "at_most": cfg.limits.eval_samples or options.at_most,
        "batch_size": options.batch_size,
    }
    greedy, answered.sampled = answer_mau(
        policy, module, options.split, stage, samples=options.samples, seed=cfg.seed, **asked
    )
    answered.lines["mau"] = greedy
    for look in ("black", "shuffled"):
        if look in options.sanity:
            said, _ = answer_mau(policy, module, options.split, f"{stage}, {look}", look=look, **asked)
            answered.rows.setdefault(look, {})["mau"] = said
    if "majority" in options.sanity:
        answered.rows.setdefault("majority", {})["mau"] = majority(greedy)
    answered.controls = answer_controls(policy, module, controls, options.split, stage, **asked)


def _speed(cfg: DictConfig, policy: Policy, data: RecordSet) -> dict[str, float]:
    options = cfg.data.evaluate
    asked = {"max_new_tokens": cfg.method.max_new_tokens, "batch_size": options.batch_size}
    found = batches_against_alone(policy, datamodule_of(cfg, data), options.split, queries=options.alone, **asked)
    print(
        f"batches of {options.batch_size}: {found['speed/batched']:.1f} queries/s; generate, one query at a time: "
        f"{found['speed/alone']:.1f}; {found['speed/ratio']:.1f} times as fast, the same tokens for "
        f"{found['speed/same']:.1%}"
    )
    return found


def _ask_benchmarks(
    cfg: DictConfig, policy: Policy, module: BenchmarkDataModule, stage: str, answered: Answered
) -> None:
    sanity, length = cfg.data.evaluate.sanity, cfg.method.max_new_tokens
    lines = answer_questions(policy, module, stage, max_new_tokens=length)
    answered.lines |= lines
    for look in ("black", "shuffled"):
        if look in sanity:
            said = answer_questions(policy, module, f"{stage}, {look}", max_new_tokens=length, look=look)
            answered.rows.setdefault(look, {}).update(said)
    for dataset, own in lines.items():
        if "majority" in sanity:
            answered.rows.setdefault("majority", {})[dataset] = majority(own)
        if "question_prior" in sanity and (train := module.train(dataset)):
            answered.rows.setdefault("question_prior", {})[dataset] = question_prior(own, train)


def _write(folder: Path, answered: Answered) -> None:
    """The answers, instead of whatever an earlier evaluation of the stage left there."""
    for path in (*folder.glob("*.jsonl"), *folder.glob("sanity/*.jsonl"), *folder.glob("scores/*.jsonl")):
        path.unlink()
    (folder / "splits.json").unlink(missing_ok=True)
    for dataset, lines in answered.lines.items():
        write_jsonl(folder / f"{dataset}.jsonl", lines)
    for row, of in answered.rows.items():
        for dataset, lines in of.items():
            write_jsonl(folder / "sanity" / f"{dataset}.{row}.jsonl", lines)
    if answered.sampled:
        write_jsonl(folder / "mau_sampled.jsonl", answered.sampled)
    if answered.controls:
        write_jsonl(folder / "sanity" / "mau.controls.jsonl", answered.controls)


def measured(
    cfg: DictConfig, answered: Answered, found: Mapping[str, list[rules.Verdict]], leaked: Mapping[str, set[str]]
) -> dict[str, float]:
    """All rules, intervals and sanity rows; `mau/iou_sampled` and false positives where they were asked for."""
    lines = [line for own in answered.lines.values() for line in own]
    judged = [verdict for own in found.values() for verdict in own]
    rows = {row: [line for said in of.values() for line in said] for row, of in answered.rows.items()}
    metrics = results(lines, judged, rows, leaked, synonyms=cfg.data.synonyms)
    if answered.sampled:
        sampled = mau_metrics(answered.sampled, ["iou"])
        metrics |= {name.replace("mau/iou", "mau/iou_sampled"): value for name, value in sampled.items()}
    return {**metrics, **false_positives(answered.controls, cfg.data.synonyms)}
