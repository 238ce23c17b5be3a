"""The rules of VQA-RAD and SLAKE: pure functions of an output and its gold answer, both as text.

An empty output is wrong. `open_nearest` stands in `nearest.py`.
"""

from collections import Counter
from functools import lru_cache

from umed.evaluation.rules.normalize import fold, norm, norm_llava


def open_exact(output: str, gold: str) -> bool:
    """Equal after `norm`; where the gold is a list with commas, of whatever script, equal parts in any order."""
    if "," in fold(gold):
        return bool(norm(output)) and _parts(output) == _parts(gold)
    return closed_exact(output, gold)


def _parts(text: str) -> Counter[str]:
    return Counter(filter(None, map(norm, fold(text).split(","))))


@lru_cache(maxsize=8)  # the rules of one item ask for the same
def open_recall(output: str, gold: str) -> float:
    """Token recall as LLaVA-Med v1.0.0 counts it (`evaluate_metrics.calculate_f1score`), in [0, 1].

    Its runner normalizes once and the metric once more. A right word counts as often as the OUTPUT says it, so that
    repeating it raises the recall: that is the published behavior, and stands under this name only.
    """
    predicted, true = (Counter(norm_llava(norm_llava(text)).split()) for text in (output, gold))
    if not predicted or not true:
        return 0.0
    found = sum(count for word, count in predicted.items() if word in true)
    missed = sum(count for word, count in true.items() if word not in predicted)
    return found / (found + missed) if found else 0.0


ENOUGH = 0.75  # recall from which on an open answer counts as right


def open_recall75(output: str, gold: str) -> bool:
    """Whether `open_recall` is at least .75, as MedVLMBench counts."""
    return open_recall(output, gold) >= ENOUGH


def closed_exact(output: str, gold: str) -> bool:
    """Equal after `norm`."""
    return bool(norm(output)) and norm(output) == norm(gold)


def closed_contains(output: str, gold: str) -> bool:
    """Whether the gold is a substring of the output after `norm_llava`, as the public harnesses test it.

    "no" is inside "normal" and "not": a known weakness of the rule, hence `closed_exact` beside it.
    """
    wanted = norm_llava(gold)
    return bool(wanted) and wanted in norm_llava(output)
