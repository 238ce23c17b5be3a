"""What was found in a run, in two sentences: from its answers, with paired intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from umed.evaluation.seeds import Layout, build_seeds_table

NAMES = {
    "accuracy": "accuracy",
    "iou": "IoU",
    "accuracy_sampled": "accuracy of sampled answers",
    "iou_sampled": "IoU of sampled answers",
    "attention": "attention on the abnormality",
}
Cell = Mapping[str, float]


def describe_findings(run: Path, stages: Sequence[str], mark: str) -> list[str]:
    """How far the last stage came, and what it adds to the one that it must beat; fewer where stages are missing.

    Args:
        stages: those with answers, in the order of training.
        mark: begins the first sentence where pictures are synthetic.
    """
    tested = [stage for stage in stages if (run / "predictions" / stage / "mau.jsonl").is_file()]
    if not tested or not (run / "records.jsonl").is_file():
        return []
    last = tested[-1]
    rival = next((s for s in ("sft_continued", "sft", *reversed(tested)) if s in tested and s != last), None)
    differences = [[last, rival]] if rival else []
    shown = list(dict.fromkeys([tested[0], *(s for s in ("sft", rival) if s in tested), last]))
    table = build_seeds_table([run], Layout(rows=shown, metrics=tuple(NAMES), differences=differences))
    n = int(table[last]["accuracy"]["n"])
    figures = [f"{table[s]['accuracy']['value']:.2f} / {table[s]['iou']['value']:.2f} ({s})" for s in shown]
    first = f"{mark}On {n} test items, accuracy / IoU are {_list(figures)}."
    return [first, _compare(table[f"{last} - {rival}"], last, rival)] if rival else [first]


def _compare(gains: Mapping[str, Cell], last: str, rival: str) -> str:
    """What of the last stage is better, worse and not different from its rival."""
    metrics: dict[str, list[str]] = {"better": [], "worse": [], "same": []}
    for metric, name in NAMES.items():
        if cell := gains.get(metric):
            kind = "better" if cell["low"] > 0 else "worse" if cell["high"] < 0 else "same"
            metrics[kind].append(f"{name} ({cell['value']:+.2f} [{cell['low']:+.2f}, {cell['high']:+.2f}])")
    parts = [f"is {kind} in {_list(metrics[kind])}" for kind in ("better", "worse") if metrics[kind]]
    parts += [f"does not differ beyond chance in {_list(metrics['same'])}"] if metrics["same"] else []
    control = ", its control of equal compute," if rival == "sft_continued" else ""
    return f"Compared with {rival}{control} {last} {_list(parts, '; it ')}."


def _list(parts: Sequence[str], between: str = "") -> str:
    """The parts in one phrase."""
    if between or len(parts) < 2:
        return (between or ", ").join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
