"""Other people's rules, defects included: computed only when asked for, each under `<rule>@<origin>`.

Each is a function of an output and its gold answer; None = the origin does not score such an item.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from umed.errors import InputError
from umed.evaluation.rules.normalize import norm_llava
from umed.evaluation.rules.short_answers import closed_contains


def closed_contains_llavamed(output: str, gold: str) -> bool:
    """LLaVA-Med v1.0.0 `run_eval`: wrong unless the output has "yes" or "no" in it, whatever the gold is."""
    predicted = norm_llava(output)
    return ("yes" in predicted or "no" in predicted) and closed_contains(output, gold)


def open_exact_llavamed(output: str, gold: str) -> float:
    """LLaVA-Med v1.0.0 `calculate_exactmatch`, a ratio: distinct gold words found / words of the output."""
    predicted, true = (norm_llava(norm_llava(text)).split() for text in (output, gold))
    return sum(word in predicted for word in set(true)) / len(predicted) if predicted else 0.0


def _recall(predicted: set[str], true: set[str]) -> float:
    return len(predicted & true) / len(true) if true else 0.0


def open_recall75_multimedeval(output: str, gold: str) -> bool:
    """MultiMedEval 1.0.0 `VQA.evaluate`: recall of distinct tokens, normalized once, at least .75."""
    predicted, true = (set(norm_llava(text).split()) for text in (output, gold.strip()))
    return _recall(predicted, true) >= 0.75


def closed_multimedeval(output: str, gold: str) -> bool | None:
    """The same for golds yes and no, from .4 on; "not" is added to a gold of "no", so either word is enough."""
    if norm_llava(gold.strip()) not in ("yes", "no"):
        return None
    predicted, true = (set(norm_llava(text).split()) for text in (output, gold.strip()))
    return _recall(predicted, true | {"not"} if true == {"no"} else true) >= 0.4


def closed_medevalkit(output: str, gold: str) -> bool:
    """MedEvalKit `judge_judgement`: exactly one of "yes" and "no" occurs as a substring, and the gold does."""
    predicted = _read_by_medevalkit(output).replace("\n", "").replace(".", "")
    return (("yes" in predicted) != ("no" in predicted)) and gold.lower() in predicted


_MARKS = ("**answer**:", "**answer**", "*answer*:", "**answer:**", "answer is", "answer:", "答案:", "final answer")


def _read_by_medevalkit(output: str) -> str:
    """Its `parse_response`: the last box, or what stands in answer tags, then what follows the last such mark."""
    predicted = output.lower()
    if "boxed" in predicted:
        predicted = _boxed(predicted)
    elif "<answer>" in predicted:
        predicted = _tagged(predicted) or predicted
    for mark in _MARKS:
        predicted = predicted.split(mark)[-1]
    return predicted


def _boxed(text: str) -> str:
    """Inside the last `\\boxed{}`, braces counted; "None" where it is not closed, as mathruler answers."""
    start, depth = text.rfind("\\boxed{"), 0
    inside = text[start + len("\\boxed{") :] if start >= 0 else ""
    for k, letter in enumerate(inside):
        depth += (letter == "{") - (letter == "}")
        if depth < 0:
            return inside[:k].strip()
    return "None"


def _tagged(text: str) -> str:
    """Everything in `<answer>` tags, joined by spaces."""
    return " ".join(re.findall("<answer>(.*?)</answer>", text, re.DOTALL)).strip()


@dataclass(frozen=True, slots=True)
class Variant:
    """A public scorer's rule for items of one answer type."""

    answer_type: str
    rule: Callable[[str, str], bool | float | None]


VARIANTS = {
    "closed_contains@llavamed": Variant("closed", closed_contains_llavamed),
    "open_exact@llavamed": Variant("open", open_exact_llavamed),
    "open_recall75@multimedeval": Variant("open", open_recall75_multimedeval),
    "closed@multimedeval": Variant("closed", closed_multimedeval),
    "closed@medevalkit": Variant("closed", closed_medevalkit),
}


def check_variants(names: Iterable[str]) -> None:
    """Refuse a name that is no variant.

    Raises:
        InputError: naming those that are.
    """
    for name in names:
        if name not in VARIANTS:
            raise InputError(f"task.compat={name}: choose of {', '.join(VARIANTS)}")
