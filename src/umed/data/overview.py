"""What a preparation shows: a table of all sources and a contact sheet of each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from umed.data.splits import SPLITS
from umed.pictures import contact_sheet, draw_boxes, picture_of
from umed.records import SYNTHETIC, Record

SHOWN, CELL = 12, 320  # pictures of a contact sheet, and their side in pixels


def print_table(records: Sequence[Record], counts: Mapping[str, Mapping[str, int]]) -> None:
    """One row a source. `counts`: source -> `kept`, `left_out`, `controls` and reasons of dropped items -> number."""
    rows: list[tuple[str, ...]] = [("source", "modality", "kept", *SPLITS, "boxes", "not kept")]
    for name, count in counts.items():
        of_source = [r for r in records if r.source == name]
        splits = Counter(r.split for r in of_source)
        modality = "/".join(sorted({r.modality for r in of_source}))
        boxes = str(sum(len(r.boxes) for r in of_source))
        lost = ", ".join(f"{n} {reason}" for reason, n in count.items() if reason != "kept" and n)
        rows.append((name, modality, str(len(of_source)), *(str(splits[s]) for s in SPLITS), boxes, lost or "0"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [c.rjust(w) if 2 <= k < 7 else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())


def draw_sheets(records: Sequence[Record], roots: Mapping[str, Path], folder: Path) -> None:
    """Write `data_<source>.png` for each source; sheets of other sources in the folder are removed."""
    sources = list(dict.fromkeys(r.source for r in records))
    for sheet in folder.glob("data_*.png"):
        if sheet.stem.removeprefix("data_") not in sources:
            sheet.unlink()
    for source in sources:
        _draw_sheet([r for r in records if r.source == source], roots, folder / f"data_{source}.png")


def _draw_sheet(records: Sequence[Record], roots: Mapping[str, Path], path: Path) -> None:
    """Pictures evenly spread over the records of one source, with their boxes."""
    shown = [records[k * len(records) // SHOWN] for k in range(SHOWN)] if len(records) > SHOWN else list(records)
    source = records[0].source
    note = " (synthetic)" if source.startswith(SYNTHETIC) else ""
    images = []
    for record in shown:
        picture = picture_of(record, roots)
        picture.thumbnail((CELL, CELL))  # before drawing, which keeps the outline's width
        images.append(draw_boxes(picture, record.boxes, "yellow"))
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"{source}{note}: {len(shown)} of {len(records)} records"
    contact_sheet(images, [f"{r.category} ({r.split})" for r in shown], title, cell=CELL).save(path)
