"""The data card: contents of a set of records, authors of its texts, and terms of use."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from huggingface_hub import DatasetCardData

from umed.data.splits import SPLITS, find_empty_splits
from umed.records import SYNTHETIC, Record

UNKNOWN = "not known to this program: find out before you pass the pictures on"
# Summaries of the sources' own terms. False = not to be passed on, or not without asking.
TERMS: dict[str, tuple[str, bool]] = {
    "deeplesion": ("NIH Clinical Center asks for citation and acknowledgment; no explicit license", False),
    "kidney_stone": ("CC BY 4.0: name the authors", True),
    "nih_chest": ("free use; name the NIH Clinical Center, cite and link back; no re-identification", True),
    "tbx11k": ("CC BY-NC-SA 4.0 (copies disagree): not commercial, share alike", True),
    "kvasir": ("research and education; any other use needs Simula's permission first", False),
}
WARNING = "NOT TO BE REDISTRIBUTED as it is"


def render_card(records: Sequence[Record]) -> str:
    """The card in Markdown, without a head."""
    parts = [f"# {len(records)} records of {len({r.source for r in records})} sources", *_warnings(records)]
    parts += ["## Counts", *(_counts(records, field) for field in ("source", "category", "modality"))]
    parts += ["## Boxes", _boxes(records)]
    parts += ["## Splits", _splits(records)]
    parts += ["## Texts", _texts(records)]
    parts += ["## Terms of use", _terms(records)]
    return "\n\n".join(parts) + "\n"


def render_head(records: Sequence[Record]) -> str:
    """The YAML head of the README.md of an exported data set."""
    synthetic = all(_is_synthetic(r) for r in records)
    splits = [{"split": s, "path": f"data/{s}-*.parquet"} for s in SPLITS if any(r.split == s for r in records)]
    head = DatasetCardData(
        pretty_name="Abnormality diagnoses with boxes" + (" (synthetic)" if synthetic else ""),
        license="apache-2.0" if synthetic else "other",
        task_categories=["visual-question-answering", "object-detection"],
        tags=["medical", *(["synthetic"] if any(_is_synthetic(r) for r in records) else [])],
        configs=[{"config_name": "default", "data_files": splits}],
    )
    return f"---\n{head.to_yaml()}\n---\n"


def list_restricted(records: Iterable[Record]) -> list[str]:
    """The sources whose pictures may not be passed on without asking."""
    return sorted(s for s in {r.source for r in records} if not _terms_of(s)[1])


def _is_synthetic(record: Record) -> bool:
    return record.source.startswith(SYNTHETIC)


def _terms_of(source: str) -> tuple[str, bool]:
    if source.startswith(SYNTHETIC):
        return "SYNTHETIC: drawn by a program, no patient; Apache-2.0", True
    return TERMS.get(source.removesuffix("_controls"), (UNKNOWN, False))


def _warnings(records: Sequence[Record]) -> list[str]:
    warnings = []
    if synthetic := sorted({r.source for r in records if _is_synthetic(r)}):
        warnings.append(
            f"> **SYNTHETIC**: the pictures of {_code(synthetic)} were drawn by a program. They show no patient, and "
            "nothing learned from them is medicine."
        )
    if restricted := list_restricted(records):
        names = _code(restricted)
        warnings.append(f"> **{WARNING}**: the terms of {names} do not allow it, or are not known; see the end.")
    return [*warnings, "Not for diagnosis or treatment: made for research on training methods."]


def _counts(records: Sequence[Record], field: str) -> str:
    names = sorted({str(getattr(r, field)) for r in records})
    of = Counter((str(getattr(r, field)), r.split) for r in records)
    rows = [[name, *(of[name, s] for s in SPLITS), sum(of[name, s] for s in ("", *SPLITS))] for name in names]
    return _table([field, *SPLITS, "all"], rows)


def _boxes(records: Sequence[Record]) -> str:
    rows = []
    for source in sorted({r.source for r in records}):
        of_source = [r for r in records if r.source == source]
        pairs = [(r, b) for r in of_source for b in r.boxes]
        if not pairs:
            rows.append([source, len(of_source), 0, *["-"] * 4])
            continue
        low, middle, high = np.percentile([100 * b.area for _, b in pairs], (5, 50, 95))
        side = min(min((b.x1 - b.x0) * r.width, (b.y1 - b.y0) * r.height) for r, b in pairs)
        numbers = (f"{number:.3g}" for number in (low, middle, high, side))
        most = max(len(r.boxes) for r in of_source)
        rows.append([source, len(of_source), f"{len(pairs)} (at most {most})", *numbers])
    note = (
        "Area as a share of the picture in percent; the shortest side of any box in pixels. Boxes refer to the stored "
        "pixels: do not rotate a picture by its EXIF tag, as `datasets` does where there is one."
    )
    head = ["source", "records", "boxes (a record)", "area: 5 %", "median", "95 %", "shortest side"]
    return f"{note}\n\n{_table(head, rows)}"


def _splits(records: Sequence[Record]) -> str:
    splits: dict[tuple[str, str], set[str]] = {}
    for r in records:
        splits.setdefault((r.source, r.group), set()).add(r.split)
    crossing = sum(len(names) > 1 for names in splits.values())
    note = "none of them is in two splits" if not crossing else f"**{crossing} of them are in more than one split**"
    empty = {} if all(not r.split for r in records) else find_empty_splits(records)
    notes = [f" No record of {_code([source])} is in {' or '.join(names)}." for source, names in empty.items()]
    return f"{len(splits)} groups (patients, or pictures that belong together); {note}.{''.join(notes)}"


def _texts(records: Sequence[Record]) -> str:
    rows = [[name, n] for name, n in Counter(map(_author, records)).most_common()]
    reviews = [[name, n] for name, n in Counter(map(_review, records)).most_common()]
    return f"{_table(['diagnosis written by', 'records'], rows)}\n\n{_table(['review', 'records'], reviews)}"


def _author(record: Record) -> str:
    """Annotator, model and prompt as `provenance` names them."""
    if not record.diagnosis:
        return "nobody: no diagnosis"
    note = record.provenance.get("annotation")
    note = note if isinstance(note, dict) else {}
    prompt = f"prompt {str(note['prompt_sha256'])[:12]}" if note.get("prompt_sha256") else None
    names = [record.provenance.get("annotator"), note.get("model"), prompt]
    return ", ".join(str(n) for n in names if n) or "unknown"


def _review(record: Record) -> str:
    review = record.provenance.get("review")
    return str(review.get("status", "unknown")) if isinstance(review, dict) else "not reviewed"


def _terms(records: Sequence[Record]) -> str:
    rows = []
    for source in sorted({r.source for r in records}):
        terms, may_share = _terms_of(source)
        rows.append([source, terms, "" if may_share else f"**{WARNING}**"])
    note = "Groups and provenance hold what the sources say of their patients: nobody may try to find out who they are."
    return f"{_table(['source', 'terms', ''], rows)}\n\n{note}"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{_cell(name)}`" for name in names)


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(map(_cell, cells)) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _cell(value: object) -> str:
    """A name from anywhere as one cell: no line break, no column, no HTML."""
    text = " ".join(str(value).split()).replace("<", "&lt;")
    return text.replace("|", "\\|").replace("`", "'")
