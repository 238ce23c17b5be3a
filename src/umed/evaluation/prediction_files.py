"""Prediction files from anywhere: a line that cannot be scored is reported by its number, never scored 0."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umed.errors import InputError
from umed.evaluation.prediction import Prediction, short
from umed.evaluation.question import Question, without_stand_in
from umed.evaluation.scorer import Scorer
from umed.run_files import read_jsonl

MOST_DIGITS = 300  # of a number; no measure is that large


def read_predictions(path: Path, scorers: Mapping[str, Scorer], dataset: str | None = None) -> list[Prediction]:
    """Read a file, or the files `<dataset>.jsonl` of a folder.

    Args:
        scorers: data set -> how its predictions are checked.
        dataset: the one data set that the file must hold.

    Raises:
        InputError: no such file, or a line that cannot be scored: which, why and what to do.
    """
    if path.is_dir():
        files = [f for f in sorted(path.glob("*.jsonl")) if without_stand_in(f.stem) in scorers]
        if not files:
            raise InputError(f"{path}: no <dataset>.jsonl there: give a file, or a folder like RUN/predictions/<stage>")
        return [prediction for file in files for prediction in read_predictions(file, scorers, dataset)]
    if not path.is_file():
        raise InputError(f"no file {path}: give a .jsonl file of predictions or a folder of such files")
    expected = dataset or (path.stem if without_stand_in(path.stem) in scorers else None)
    predictions: list[Prediction] = []
    line_of: dict[tuple[str, str], int] = {}
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                prediction = _parse_prediction(text, scorers, expected)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}:{number}: {error}") from None
            key = prediction.question.dataset, prediction.question.id
            if key in line_of:
                raise InputError(
                    f"{path}:{number}: id {key[1]} of {key[0]} stands in line {line_of[key]} too: keep one answer an "
                    "item"
                )
            line_of[key] = number
            predictions.append(prediction)
    if not predictions:
        raise InputError(f"{path}: empty: one JSON object a line is expected, see docs/benchmarks.md")
    _refuse_stray_item(path, line_of)
    return predictions


def read_answers(path: Path, question_type: type[Question]) -> list[Prediction]:
    """Read answers that lie beside those of a stage and may repeat an item; empty where there is no such file.

    Raises:
        InputError: a line that is no prediction.
    """
    predictions = []
    for place, line in enumerate(read_jsonl(path) if path.is_file() else (), 1):
        try:
            predictions.append(Prediction.from_line(line, question_type))
        except ValueError as error:
            raise InputError(f"{path}: line {place}: {error}: evaluate the stage anew, or remove the file") from None
    return predictions


def read_judge(folder: Path) -> str:
    """The model that has judged the open answers of a stage, by the verdicts beside them; empty where none has."""
    lines = (line for path in sorted(folder.glob("scores/*.jsonl")) for line in read_jsonl(path))
    return " and ".join(dict.fromkeys(str(line["judge"]) for line in lines if "judge" in line))


def check_complete(predictions: Sequence[Prediction], questions: Sequence[Question]) -> None:
    """Raise InputError unless the predictions answer every question of their data sets, and no others."""
    expected: dict[str, set[str]] = defaultdict(set)
    for question in questions:
        expected[question.dataset].add(question.id)
    given: dict[str, set[str]] = defaultdict(set)
    for prediction in predictions:
        given[prediction.question.dataset].add(prediction.question.id)
    for dataset, ids in sorted(given.items()):
        if dataset not in expected:
            raise InputError(f"{dataset}: its items are not known: choose its benchmark, 'data/benchmark=[...]'")
        if missing := expected[dataset] - ids:
            raise InputError(
                f"{dataset}: {len(missing)} of {len(expected[dataset])} items have no answer, {min(missing)} among "
                "them: finish the run or set task.complete=false"
            )
        if other := ids - expected[dataset]:
            raise InputError(
                f"{dataset}: {len(other)} answers are to no item of it, {min(other)} among them: remove them"
            )


def _parse_prediction(text: bytes, scorers: Mapping[str, Scorer], expected: str | None) -> Prediction:
    """Raise ValueError unless the line can be scored."""
    line = _parse_line(text)
    if "id" not in line:
        raise ValueError("no id: every item needs the one it has in its data set")
    item, dataset = str(line["id"])[:80], line.get("dataset")
    scorer = scorers.get(without_stand_in(dataset)) if isinstance(dataset, str) else None
    try:
        prediction = Prediction.from_line(line, scorer.question_type if scorer else Question)
        question = prediction.question
        if scorer is None:
            known = ", ".join(scorers)
            raise ValueError(f"no data set {short(dataset)} is known: use {known}, or choose its data/benchmark")
        if question.answer_type not in scorer.answer_types:
            known = " or ".join(scorer.answer_types)
            raise ValueError(f"answer_type {short(question.answer_type)} is not of {dataset}, which has {known}")
        scorer.check(prediction)
    except ValueError as error:
        raise ValueError(f"{item}: {error}") from None
    if expected and dataset != expected:
        raise ValueError(f"{item} is of {dataset}, {expected} is expected here: give each data set a file")
    return prediction


def _parse_line(text: bytes) -> dict[str, Any]:
    cut_off = "the last line is cut off: the program that wrote it was stopped; finish it or remove the line"
    try:
        line = json.loads(text, object_pairs_hook=_unique, parse_int=_parse_int)
        if b"\\u" in text:  # an escape can name half of a character
            json.dumps(line, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it has a text with half a character in it, which no file can hold: correct it") from None
    except UnicodeDecodeError as error:
        whole = text.endswith(b"\n")
        raise ValueError(f"not UTF-8 ({error.reason}): save the file as UTF-8" if whole else cut_off) from None
    except json.JSONDecodeError as error:
        whole = text.endswith(b"\n")
        raise ValueError(f"not JSON ({error.msg}): one object a line is expected" if whole else cut_off) from None
    if not isinstance(line, dict):
        raise ValueError(f"a JSON object is expected, found {type(line).__name__}")
    return line


def _parse_int(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, {digits[:12]}...: no measure is that large, correct it")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{name} stands twice in one object: keep one")
    return fields


def _refuse_stray_item(path: Path, line_of: Mapping[tuple[str, str], int]) -> None:
    """A single item among those of one other data set is a mistake; several data sets in a file are not."""
    (most, count), *others = Counter(dataset for dataset, _ in line_of).most_common()
    for (dataset, item), number in line_of.items():
        if count > 1 and others == [(dataset, 1)]:
            raise InputError(
                f"{path}:{number}: {item} is the only item of {dataset} among {count} of {most}: remove it, or give "
                "each data set a file"
            )
