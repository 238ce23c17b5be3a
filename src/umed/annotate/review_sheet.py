"""The sheet that reviewers fill in: pages that work without network, and a CSV file with the same records."""

import base64
import csv
import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from tqdm import tqdm

from umed.annotate.base import make_random
from umed.annotate.review import STATUS, find_review, hash_text
from umed.annotate.review_files import guard, read_rows
from umed.annotate.sent_picture import clear_scale, clear_side, picture_inside
from umed.chat import REGION
from umed.errors import InputError
from umed.figures import TRUE, mark_synthetic
from umed.pictures import draw_boxes
from umed.records import Record
from umed.run_files import write_whole

COLUMNS = (
    "id", "source", "category", "query", "diagnosis", "decision", "corrected_diagnosis", "corrected_category",
    "comment", "reviewer", "hash", "sheet",
)  # fmt: skip
FACTS = ("source", "modality", "category", "query")  # shown on a card
FOLDER = Path(__file__).parent


def draw_sample(records: Sequence[Record], sample: int | None, seed: int) -> tuple[list[Record], str]:
    """The records with a diagnosis, or a random part in which each source has its share, and the choice in words.

    Which records are drawn depends on the records and the seed, not on their order; a source has at least one if
    `sample` is no less than the number of sources. Raises InputError: no record has a diagnosis.
    """
    written = [r for r in records if r.diagnosis]
    if not written:
        raise InputError("no record has a diagnosis to review: write them with task=annotate")
    if sample is None or sample >= len(written):
        return written, f"all {len(written)} diagnoses"
    queues: dict[str, list[Record]] = defaultdict(list)
    for record in written:
        queues[record.source].append(record)
    order = []  # sources take turns by the share that they have had
    for name, own in sorted(queues.items()):
        own.sort(key=lambda r: (make_random(r, seed).random(), r.id))
        order += [(k / len(own), name, record.id) for k, record in enumerate(own)]
    ids = {id_ for _, _, id_ in sorted(order)[:sample]}
    name = f"a random {sample} of {len(written)} diagnoses, spread over sources (seed {seed})"
    return [r for r in written if r.id in ids], name


def write_sheet(
    records: Sequence[Record], roots: Mapping[str, Path], out: Path, name: str, *, chunk: int, picture_side: int
) -> list[Path]:
    """Write `review.html` (then `review-2.html`, ...) of `chunk` cards each, and `review.csv`, card by card.

    Raises InputError: the folder's `review.csv` holds decisions already.

    Args:
        name: which records these are, in words.
        picture_side: longest side of the pictures in pixels; more where a small box could not be seen.
    """
    out.mkdir(parents=True, exist_ok=True)
    csv_path = out / "review.csv"
    if csv_path.is_file() and any(row.get("decision", "").strip() for _, row in read_rows(csv_path)):
        raise InputError(f"{csv_path} holds decisions: read it back with task.read=[{csv_path}] or move it away")
    pages = -(-len(records) // chunk)
    paths = [out / (f"review-{n + 1}.html" if n else "review.html") for n in range(pages)]
    for old in set(out.glob("review-*.html")) - set(paths):
        if re.fullmatch(r"review-\d+\.html", old.name):
            old.unlink()  # of a longer sheet
    sheet = {
        "id": hashlib.sha256(json.dumps([[r.id, hash_text(r)] for r in records]).encode()).hexdigest()[:12],
        "name": name,
        "pages": pages,
        "categories": sorted({r.category for r in records}),
    }
    templates = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True)
    page = templates.get_template("review.html")
    script = re.findall(r"<script>(.*?)</script>", (FOLDER / "review.html").read_text(encoding="utf-8"), re.DOTALL)[0]
    shared = {
        "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "title": f"{mark_synthetic(r.source for r in records)}review of diagnoses",
        "names": [path.name for path in paths],
        "words": list(STATUS),
        "region": REGION,
    }
    with tqdm(records, desc="writing cards", unit="card", leave=False, disable=None) as bar:
        queue = iter(bar)
        for n, path in enumerate(paths):
            cards = _cards(islice(queue, chunk), roots, picture_side)
            part = path.with_name(path.name + ".part")
            with part.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(page.generate(**shared, cards=cards, sheet={**sheet, "page": n + 1}))
            part.replace(path)
    rows = io.StringIO()
    table = csv.writer(rows)
    table.writerow(COLUMNS)
    for r in records:
        texts = (r.id, r.source, r.category, r.query, r.diagnosis, "", "", "", "", "", hash_text(r), name)
        table.writerow([guard(text) for text in texts])
    write_whole(csv_path, "\ufeff" + rows.getvalue())  # the mark by which a spreadsheet knows UTF-8
    return paths


def _cards(records: Iterable[Record], roots: Mapping[str, Path], side: int) -> Iterator[dict[str, Any]]:
    """What the template shows of each record."""
    for record in records:
        corners = [", ".join(f"{v:.0f}" for v in b.to_xyxy(record.width, record.height)) for b in record.boxes]
        places = "; ".join(f"({c})" for c in corners) + f" px of {record.width} x {record.height}" if corners else ""
        facts = {name: values for name, values in record.to_json().items() if name in FACTS}
        if review := find_review(record):
            facts["earlier"] = f"{review['status']} by {review['reviewer']}"
        data = {"id": record.id, "source": record.source, "category": record.category, "diagnosis": record.diagnosis}
        card = {"record": record, "facts": facts, "data": {**data, "hash": hash_text(record), "boxes": places}}
        try:
            picture, size = _draw(record, roots, side)
            yield {**card, "picture": picture, "size": size}
        except InputError as error:
            yield {**card, "problem": str(error)}


def _draw(record: Record, roots: Mapping[str, Path], side: int) -> tuple[str, tuple[int, int]]:
    """The picture with its boxes, a JPEG in base64, and its size. Raises InputError: see `picture_inside`."""
    image = picture_inside(record, roots)
    room = max(side, clear_side(image.size, record.boxes))
    image.thumbnail((room, room))
    scale = clear_scale(image.size, record.boxes)
    room = max(side, max(image.size) * scale)
    image = draw_boxes(image, record.boxes, TRUE, scale=scale)  # enlarges small ones
    image.thumbnail((room, room))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88, subsampling=0)  # or the outline's color would run into a small box
    return base64.b64encode(file.getvalue()).decode(), image.size
