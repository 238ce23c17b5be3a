"""Verdicts on the answers of a finished run, read from its files by the name of a metric."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from umed.evaluation.benchmarks.find import build_options, find_scorers
from umed.evaluation.benchmarks.mau import BoxScorer, judge_controls
from umed.evaluation.prediction import Prediction
from umed.evaluation.prediction_files import read_answers
from umed.evaluation.question import without_stand_in
from umed.evaluation.results import name_pictures
from umed.evaluation.scorer import DEFAULTS, Options, Verdict
from umed.records import SYNTHETIC, read_records

CONTROL_RULES = ("false_positives", "false_boxes")
SAMPLED = "_sampled"


@dataclass(slots=True)
class Judged:
    """Verdicts of one rule: source -> item -> value, of several answers to an item their mean; and item -> group."""

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)


def read_judged(run: Path, stage: str, metric: str) -> Judged:
    """What a stage's answers are worth by `metric`; empty where there are no such answers.

    Args:
        metric: a rule of MAU, with `/<source>` behind it of one source alone, or `<dataset>/<rule>` of a benchmark.
            `_sampled` is of sampled answers, `attention` of answers that name the abnormality, `false_positives` and
            `false_boxes` of normal pictures.

    Raises:
        InputError: a file that is not whole.
    """
    name, _, rest = metric.partition("/")
    is_benchmark = name in find_scorers() and name != "mau"
    rule, part = (rest, "") if is_benchmark else (name, rest)
    collected: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    judged = Judged()
    for prediction, group, value in _read_values(run, stage, name if is_benchmark else "mau", rule):
        source, item = without_stand_in(prediction.question.part), prediction.question.id
        if value is not None and part in ("", source):
            collected["" if is_benchmark else source][item].append(float(value))
            judged.groups[item] = group
    judged.values = {s: {i: sum(of) / len(of) for i, of in items.items()} for s, items in collected.items()}
    return judged


def _read_values(
    run: Path, stage: str, dataset: str, rule: str
) -> Iterator[tuple[Prediction, str, float | bool | None]]:
    for file in _files(run / "predictions" / stage, dataset, rule):
        predictions, verdicts, groups = _judge_file(file, run, dataset)
        for prediction, verdict, group in zip(predictions, verdicts, groups, strict=True):
            value = prediction.attention if rule == "attention" else verdict.get(rule.removesuffix(SAMPLED))
            yield prediction, group, value


def _files(folder: Path, dataset: str, rule: str) -> list[Path]:
    if rule in CONTROL_RULES:
        names = [f"sanity/{dataset}.controls.jsonl"]
    else:
        ending = SAMPLED if rule.endswith(SAMPLED) else ""
        names = [f"{prefix}{dataset}{ending}.jsonl" for prefix in ("", SYNTHETIC)]
    return [folder / name for name in names if (folder / name).is_file()]


@lru_cache(maxsize=64)
def _judge_file(file: Path, run: Path, dataset: str) -> tuple[list[Prediction], list[Verdict], list[str]]:
    """Answers, the verdict of every rule on each, and the group in which each is resampled: patient or picture."""
    scorer, options = find_scorers()[dataset], _read_options(run)
    predictions = read_answers(file, scorer.question_type)
    if file.parent.name == "sanity":
        return predictions, judge_controls(predictions, options), name_pictures(predictions)
    verdicts = scorer.judge(predictions, options)
    if not isinstance(scorer, BoxScorer):
        return predictions, verdicts, name_pictures(predictions)
    patients = _read_patients(run)
    return predictions, verdicts, [patients.get(p.question.id, p.question.id) for p in predictions]


@lru_cache(maxsize=64)
def _read_patients(run: Path) -> dict[str, str]:
    return {record.id: f"{record.source}/{record.group}" for record in read_records(run / "records.jsonl")}


@lru_cache(maxsize=64)
def _read_options(run: Path) -> Options:
    """The rules' options that a run was scored with."""
    path = run / ".hydra" / "config.yaml"
    if not path.is_file():
        return DEFAULTS
    cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    return build_options(cfg)


def read_bins(run: Path, stage: str, edges: Sequence[float]) -> Iterator[tuple[int, bool, str]]:
    """Of every answer of MAU: the bin of its IoU, whether it names the abnormality, and the group of its record."""
    for file in _files(run / "predictions" / stage, "mau", "iou"):
        for _, verdict, group in zip(*_judge_file(file, run, "mau"), strict=True):
            iou = float(verdict["iou"] or 0.0)
            yield max(k for k, low in enumerate(edges[:-1]) if iou >= low), bool(verdict["accuracy"]), group


def clear_files() -> None:
    """Forget what was read: files may have changed since."""
    for kept in (_judge_file, _read_patients, _read_options):
        kept.cache_clear()
