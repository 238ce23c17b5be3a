"""Every rule of every data set on prediction lines: the verdict of each item, and the value of each rule.

A rule's value is the mean of its verdicts over the items it applies to; None = it does not apply. An empty or
unreadable output is wrong, never None.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from umed.errors import InputError
from umed.evaluation.question import kind
from umed.evaluation.rules import choice, labels, mau
from umed.evaluation.rules import short_answers as vqa
from umed.evaluation.rules.compat import VARIANTS
from umed.evaluation.rules.mentions import NO_ALIASES
from umed.evaluation.rules.nearest import are_nearest

Line = dict[str, Any]
Verdict = dict[str, bool | float | None]

VQA = ("open_exact", "open_recall", "open_recall75", "open_nearest", "closed_exact", "closed_contains")
PMC = ("choice_letter", "choice_nearest", "choice_likelihood", "blank_exact", "blank_nearest")
MEDMNIST = ("acc", "auc", "acc_generated")
RULES: dict[str, tuple[str, ...]] = {
    "mau": mau.RULES,
    "vqa_rad": VQA,
    "slake": VQA,
    "pmc_vqa": PMC,
    **{dataset: MEDMNIST for dataset in labels.LABELS},
}
OPEN: dict[str, Callable[[str, str], bool | float]] = {
    "open_exact": vqa.open_exact,
    "open_recall": vqa.open_recall,
    "open_recall75": vqa.open_recall75,
}
CLOSED = {"closed_exact": vqa.closed_exact, "closed_contains": vqa.closed_contains}


def verdicts(
    lines: Sequence[Line],
    compat: Sequence[str] = (),
    synonyms: Mapping[str, Sequence[str]] = NO_ALIASES,
    named: bool = False,
) -> list[Verdict]:
    """The verdict of every rule of its data set on each line, in order.

    Args:
        lines: checked ones, of any data sets.
        compat: other people's rules to compute besides, names of `VARIANTS`.
        synonyms, named: of MAU's accuracy, see `mau.verdicts`.

    Raises:
        InputError: a variant that is not known.
    """
    for name in compat:
        if name not in VARIANTS:
            raise InputError(f"task.compat={name}: choose of {', '.join(VARIANTS)}")
    judges: dict[str, Callable[[Sequence[Line]], list[Verdict]]] = {
        "mau": lambda own: _mau(own, synonyms, named),
        "pmc_vqa": _pmc_vqa,
        **{dataset: _medmnist for dataset in labels.LABELS},
    }
    parts: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        parts[line["dataset"]].append(number)
    found: list[Verdict] = [{}] * len(lines)
    for dataset, numbers in parts.items():
        own = [lines[n] for n in numbers]
        judged = judges[kind(dataset)](own) if kind(dataset) in judges else _vqa(own, compat)
        for n, verdict in zip(numbers, judged, strict=True):
            found[n] = verdict
    return found


def metrics(lines: Sequence[Line], found: Sequence[Mapping[str, bool | float | None]]) -> dict[str, float]:
    """`<dataset>/<rule>` and `<dataset>/<rule>/n`, n = how many items the rule applies to; a rule of none is left out.

    Of MAU also `mau/<rule>/<source>` and `/avg`; of `open_nearest` also `/candidates`; of answers in the form of a
    letter or a label also `<dataset>/unreadable`, the share that could not be read.
    """
    values: dict[str, list[float]] = defaultdict(list)
    parts: dict[str, list[int]] = defaultdict(list)
    for number, (line, verdict) in enumerate(zip(lines, found, strict=True)):
        parts[line["dataset"]].append(number)
        for rule, value in verdict.items():
            if value is not None:
                values[f"{line['dataset']}/{rule}"].append(float(value))
    result: dict[str, float] = {}
    for dataset, numbers in parts.items():
        for rule in found[numbers[0]]:
            if judged := values.get(f"{dataset}/{rule}"):
                result |= {f"{dataset}/{rule}": sum(judged) / len(judged), f"{dataset}/{rule}/n": len(judged)}
        own = [lines[n] for n in numbers]
        if kind(dataset) == "mau":
            result |= mau.averages(own, [found[n] for n in numbers])
        elif kind(dataset) in labels.LABELS:
            result |= _auc(dataset, own)
        elif kind(dataset) == "pmc_vqa":
            result |= _unreadable(dataset, own)
        else:
            result |= _candidates(dataset, own)
    return result


def _mau(lines: Sequence[Line], synonyms: Mapping[str, Sequence[str]], named: bool) -> list[Verdict]:
    known = mau.categories(lines)
    # a config's own mapping is slow to ask
    synonyms = {name: tuple(synonyms.get(name, ())) for names in known.values() for name in names}
    found: list[Verdict] = []
    for line in lines:
        verdict = mau.verdicts({**line, "categories": known[line["source"]]}, synonyms, named)
        found.append({r: v if r == "iou" else bool(v) for r, v in verdict.items()})
    return found


def _vqa(lines: Sequence[Line], compat: Sequence[str]) -> list[Verdict]:
    near = _open_nearest(lines)
    found = []
    for line, nearest in zip(lines, near, strict=True):
        output, gold = line["output"], str(line["answer"])
        verdict: Verdict = dict.fromkeys(VQA)
        if line["answer_type"] == "open":
            verdict |= {rule: judge(output, gold) for rule, judge in OPEN.items()} | {"open_nearest": nearest}
        else:
            verdict |= {rule: judge(output, gold) for rule, judge in CLOSED.items()}
        for name in compat:
            applies = VARIANTS[name].answer_type == line["answer_type"]
            verdict[name] = VARIANTS[name].rule(output, gold) if applies else None
        found.append(verdict)
    return found


def _open_nearest(lines: Sequence[Line]) -> list[bool | None]:
    """Whether the candidate nearest to the output is the gold text; raw texts, see `nearest.py`.

    Candidates are the line's `choices`, else the distinct gold answers of the open items in file order: a closed list
    taken from the test labels, as MedVInT's authors do.
    """
    parts: dict[tuple[str, ...] | None, list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        if line["answer_type"] == "open":
            parts[None if line["choices"] is None else tuple(line["choices"])].append(number)
    found: list[bool | None] = [None] * len(lines)
    for choices, numbers in parts.items():
        own = [lines[n] for n in numbers]
        known = candidates(lines) if choices is None else choices
        right = are_nearest([line["output"] for line in own], [str(line["answer"]) for line in own], known)
        for n, is_nearest in zip(numbers, right, strict=True):
            found[n] = is_nearest
    return found


def candidates(lines: Sequence[Line]) -> tuple[str, ...]:
    """The distinct gold answers of the open items, in file order."""
    return tuple(dict.fromkeys(str(line["answer"]) for line in lines if line["answer_type"] == "open"))


def _candidates(dataset: str, lines: Sequence[Line]) -> dict[str, float]:
    known = candidates(lines)
    return {f"{dataset}/open_nearest/candidates": len(known)} if known else {}


def _pmc_vqa(lines: Sequence[Line]) -> list[Verdict]:
    found = []
    for line in lines:
        output, choices = line["output"], line["choices"]
        letter = line["answer_type"] == "choice"
        gold = choice.gold_index(str(line["answer"]), choices, letter_first=letter)
        verdict: Verdict = dict.fromkeys(PMC)
        if letter:
            assert gold is not None, line["id"]  # lines are checked
            verdict["choice_letter"] = choice.choice_letter(output, gold, choices)
            verdict["choice_nearest"] = choice.choice_nearest(output, gold, choices)
            if line["scores"]:
                verdict["choice_likelihood"] = choice.choice_likelihood(line["scores"], gold)
        else:
            text = choice.plain(str(line["answer"])) if gold is None else choice.without_prefix(choices)[gold]
            verdict["blank_exact"] = choice.blank_exact(output, text)
            verdict["blank_nearest"] = choice.blank_nearest(output, text, choices)
        found.append(verdict)
    return found


def _unreadable(dataset: str, lines: Sequence[Line]) -> dict[str, float]:
    own = [line for line in lines if line["answer_type"] == "choice"]
    lost = sum(choice.read_letter(line["output"], line["choices"]) is None for line in own)
    return {f"{dataset}/unreadable": lost / len(own), f"{dataset}/unreadable/n": len(own)} if own else {}


def _matrix(dataset: str, lines: Sequence[Line]) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and scores (N, C) of the lines, columns in the order of the label index."""
    names = labels.LABELS[kind(dataset)]
    true = np.array([labels.gold_label(line["answer"], names) for line in lines], int)
    return true, np.array([[line["scores"][name] for name in names] for line in lines], float).reshape(-1, len(names))


def _medmnist(lines: Sequence[Line]) -> list[Verdict]:
    found: list[Verdict] = [dict.fromkeys(MEDMNIST) for _ in lines]
    names = labels.LABELS[kind(lines[0]["dataset"])]
    scored = [n for n, line in enumerate(lines) if line["scores"]]
    for n, right in zip(
        scored, labels.accuracy(*_matrix(lines[0]["dataset"], [lines[n] for n in scored])), strict=True
    ):
        found[n]["acc"] = bool(right)
    for line, verdict in zip(lines, found, strict=True):
        if line["output"] or not line["scores"]:  # what gives scores alone writes no answer
            gold = names[labels.gold_label(line["answer"], names)]
            verdict["acc_generated"] = labels.acc_generated(line["output"], gold, names)
    return found


def _auc(dataset: str, lines: Sequence[Line]) -> dict[str, float]:
    scored = [line for line in lines if line["scores"]]
    area = labels.auc(*_matrix(dataset, scored)) if scored else None
    return {} if area is None else {f"{dataset}/auc": area, f"{dataset}/auc/n": len(scored)}
