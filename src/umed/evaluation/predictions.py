"""Prediction files from anywhere, read and checked: what cannot be scored is told by its line, never scored 0."""

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from umed.boxes import Box, BoxError
from umed.errors import InputError
from umed.evaluation.question import DATASETS, kind
from umed.evaluation.rules import choice
from umed.evaluation.rules.labels import LABELS, gold_label

Line = dict[str, Any]
TYPES = {
    "mau": ("diagnosis",),
    "vqa_rad": ("open", "closed"),
    "slake": ("open", "closed"),
    "pmc_vqa": ("choice", "blank"),
    **{dataset: ("label",) for dataset in LABELS},
}
assert set(TYPES) == set(DATASETS)


def read_predictions(path: Path, dataset: str | None = None) -> list[Line]:
    """The checked lines of a file, or of the files `<dataset>.jsonl` of a folder.

    Args:
        dataset: the one data set that must stand in it.

    Raises:
        InputError: no such file, or a line that cannot be scored: which, why and what to do.
    """
    if path.is_dir():
        files = [f for f in sorted(path.glob("*.jsonl")) if kind(f.stem) in DATASETS]
        if not files:
            raise InputError(f"{path}: no <dataset>.jsonl there: give a file, or a folder like RUN/predictions/<stage>")
        return [line for file in files for line in read_predictions(file, dataset)]
    if not path.is_file():
        raise InputError(f"no file {path}: give a .jsonl file of predictions or a folder of such files")
    alone = dataset or (path.stem if kind(path.stem) in DATASETS else None)
    lines: list[Line] = []
    first: dict[tuple[str, str], int] = {}
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                line = _parsed(text)
                _check(line)
                if alone and line["dataset"] != alone:
                    raise ValueError(
                        f"{line['id']} is of {line['dataset']}, {alone} is expected here: give each data set a file"
                    )
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}:{number}: {error}") from None
            key = line["dataset"], line["id"]
            if key in first:
                raise InputError(
                    f"{path}:{number}: id {key[1]} of {key[0]} stands in line {first[key]} too: keep one answer an item"
                )
            first[key] = number
            lines.append(line)
    if not lines:
        raise InputError(f"{path}: empty: one JSON object a line is expected, see README")
    (most, count), *others = Counter(line["dataset"] for line in lines).most_common()
    for (dataset, item), number in first.items():
        if count > 1 and others == [(dataset, 1)]:  # one stray item; several data sets in a file are meant to be there
            raise InputError(
                f"{path}:{number}: {item} is the only item of {dataset} among {count} of {most}: remove it, or give "
                "each data set a file"
            )
    return lines


def _parsed(text: bytes) -> Line:
    cut = "the last line is cut off: the program that wrote it was stopped; finish it or remove the line"
    try:
        line = json.loads(text, object_pairs_hook=_unique, parse_int=_whole)
        if b"\\u" in text:  # an escape can name half of a character
            json.dumps(line, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it has a text with half a character in it, which no file can hold: correct it") from None
    except UnicodeDecodeError as error:
        told = f"not UTF-8 ({error.reason}): save the file as UTF-8" if text.endswith(b"\n") else cut
        raise ValueError(told) from None
    except json.JSONDecodeError as error:
        told = f"not JSON ({error.msg}): one object a line is expected" if text.endswith(b"\n") else cut
        raise ValueError(told) from None
    if not isinstance(line, dict):
        raise ValueError(f"a JSON object is expected, found {type(line).__name__}")
    return line


def _whole(digits: str) -> int:
    if len(digits) > 300:
        raise ValueError(f"a number of {len(digits)} digits, {digits[:12]}...: no measure is that large, correct it")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)} stands twice in one object: keep one")
    return found


def _check(line: Line) -> None:
    """Raise ValueError unless the line can be scored; what may be left out is filled in."""
    if "id" not in line:
        raise ValueError("no id: every item needs the one it has in its data set")
    for name, (what, fits) in _FIELDS.items():
        if name not in line:
            if name in _OPTIONAL:
                line[name] = _OPTIONAL[name]
                continue
            raise ValueError(f"{line['id']}: no {name}: {what} is expected")
        if not fits(line[name]):
            raise ValueError(f"{str(line['id'])[:80]}: {name} is {_short(line[name])}: {what} is expected")
    dataset, answer_type = line["dataset"], line["answer_type"]
    if kind(dataset) not in DATASETS:
        raise ValueError(f"{line['id']}: no data set {_short(dataset)} is known: use {', '.join(DATASETS)}")
    if answer_type not in TYPES[kind(dataset)]:
        known = " or ".join(TYPES[kind(dataset)])
        raise ValueError(f"{line['id']}: answer_type {_short(answer_type)} is not of {dataset}, which has {known}")
    _CHECKS.get(kind(dataset), _check_text)(line)


def _check_text(line: Line) -> None:
    """An open or closed item; an empty list of candidates is none."""
    line["choices"] = line["choices"] or None


def _check_choices(line: Line) -> None:
    choices = line["choices"]
    if choices is None or len(choices) != 4:
        raise ValueError(f"{line['id']}: choices is {_short(choices)}: the four strings of the item are expected")
    if line["answer_type"] == "choice" and choice.gold_index(str(line["answer"]), choices) is None:
        raise ValueError(
            f"{line['id']}: answer {_short(line['answer'])} is neither a letter A-D nor one of the choices"
        )
    if line["scores"] is not None and set(line["scores"]) != set(choice.LETTERS):
        raise ValueError(
            f"{line['id']}: scores are of {_short(list(line['scores']))}: those of A, B, C, D are expected"
        )


def _check_labels(line: Line) -> None:
    names = LABELS[kind(line["dataset"])]
    if line["choices"] is not None and tuple(line["choices"]) != names:
        raise ValueError(f"{line['id']}: choices are not the labels of {line['dataset']}: {'; '.join(names)}")
    if line["scores"] is not None and set(line["scores"]) != set(names):
        raise ValueError(f"{line['id']}: scores are not of the labels of {line['dataset']}: {'; '.join(names)}")
    try:
        gold_label(line["answer"], names)
    except ValueError as error:
        raise ValueError(f"{line['id']}: answer: {error}") from None


def _check_mau(line: Line) -> None:
    for name, (what, fits) in _MAU.items():
        if name not in line:
            raise ValueError(f"{line['id']}: no {name}: {what} is expected in a line of mau")
        if not fits(line[name]):
            raise ValueError(f"{line['id']}: {name} is {_short(line[name])}: {what} is expected")
    for box in line["gold_boxes"]:
        try:
            Box.from_xyxy(box, line["width"], line["height"])
        except BoxError as error:
            raise ValueError(
                f"{line['id']}: gold_boxes has {_short(box)} in a picture of {line['width']} x {line['height']} "
                f"({error.reason}): [x0, y0, x1, y1] in pixels is expected"
            ) from None
    if not _is_texts(line.get("categories", [])):
        raise ValueError(f"{line['id']}: categories is {_short(line['categories'])}: a list of names is expected")


_CHECKS: dict[str, Callable[[Line], None]] = {
    "pmc_vqa": _check_choices,
    "mau": _check_mau,
    **{dataset: _check_labels for dataset in LABELS},
}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _is_boxes(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(b, list) and len(b) == 4 and all(map(_is_number, b)) for b in value
    )


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "id": ("a text", _is_name),
    "dataset": ("the name of a data set", _is_text),
    "answer_type": ("the name of a type", _is_text),
    "output": ("the model's text, empty if it gave none,", _is_text),
    "answer": ("the gold answer, a text, a number or null,", lambda v: v is None or _is_text(v) or _is_number(v)),
    "choices": ("a list of texts or null", lambda v: v is None or _is_texts(v)),
    "scores": (
        "an object label -> number, or null,",
        lambda v: v is None or (isinstance(v, dict) and all(map(_is_number, v.values()))),
    ),
    "boxes": ("a list of boxes of four numbers, or null,", lambda v: v is None or _is_boxes(v)),
    "question": ("a text", _is_text),
    "split_file": ("the name of the split's file", lambda v: v is None or _is_text(v)),
    "image": ("the picture's name", lambda v: v is None or _is_text(v)),
}
_OPTIONAL: dict[str, Any] = dict.fromkeys(("choices", "scores", "boxes", "split_file", "image")) | {"question": ""}
_MAU: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "source": ("the name of the source", _is_name),
    "category": ("the name of the abnormality", _is_name),
    "gold_boxes": ("a list of boxes of four numbers, at least one,", lambda v: _is_boxes(v) and bool(v)),
    "width": ("the picture's width in pixels", _is_side),
    "height": ("the picture's height in pixels", _is_side),
}


def _short(value: Any) -> str:
    text = ascii(value) if not str(value).isprintable() else repr(value)
    return text if len(text) < 80 else text[:77] + "..."
