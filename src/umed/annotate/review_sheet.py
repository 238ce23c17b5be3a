"""The sheet that reviewers fill in, pages that work without network and a CSV file, and filled-in ones read back."""

import base64
import csv
import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from tqdm import tqdm

from umed.annotate.base import make_random
from umed.annotate.review import STATUS, Decision, find_review, hash_text
from umed.annotate.sent_picture import clear_scale, clear_side, picture_inside
from umed.chat import REGION
from umed.data.files import decode_text
from umed.errors import InputError
from umed.figures import TRUE, mark_synthetic
from umed.pictures import draw_boxes
from umed.records import Record
from umed.run_files import open_whole, write_whole

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

    `name`: which records these are, in words. `picture_side`: longest side of the pictures in pixels; more where a
    small box could not be seen. Raises InputError: the folder's `review.csv` holds decisions already.
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
            with open_whole(path) as file:
                file.writelines(page.generate(**shared, cards=cards, sheet={**sheet, "page": n + 1}))
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


FORMULA = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")  # a spreadsheet may run a cell that begins so


def guard(text: str) -> str:
    """A cell that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def unguard(text: str) -> str:
    """The text of a guarded cell."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


def read_sheet(path: Path) -> tuple[list[Decision], list[str]]:
    """The decisions of a file that the page saved (.json) or of a filled-in `review.csv`, and the sheets' names.

    A CSV holds no time, so its decisions have that of the file's last change. It may be UTF-8, UTF-16 or Latin-1, with
    commas, semicolons or tabs. Raises InputError: no such file, neither JSON nor CSV, nothing decided, a decision that
    is none (`Decision.read`), or one reviewer who decides differently about one id.
    """
    if not path.is_file():
        raise InputError(f"no file {path}: give what the page saved or the filled-in review.csv in task.read")
    readers = {".json": _read_json, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: neither .json nor .csv: give what the page saved, or save the table as CSV")
    time = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    sheets: Counter[str] = Counter()
    found: dict[tuple[str, str], Decision] = {}
    for where, fields in readers[path.suffix.lower()](path):
        sheets[str(fields.get("sheet") or "")] += 1
        decision = Decision.read({**fields, "time": fields.get("time") or time}, where)
        other = found.setdefault((decision.id, decision.reviewer), decision)
        if other.outcome != decision.outcome or other.hash != decision.hash:
            raise InputError(
                f"{where}: {decision.reviewer} decides twice about {decision.id} ({other.decision}, then "
                f"{decision.decision}): leave one"
            )
    if not found:
        raise InputError(f"{path}: nothing is decided: write {', '.join(STATUS)} for at least one diagnosis")
    return list(found.values()), [name for name in sheets if name]


def _read_json(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of a saved JSON file."""
    try:
        saved = json.loads(decode_text(path.read_bytes(), "cp1252"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({getattr(error, 'msg', error)}): give what the page saved") from None
    entries = saved.get("decisions") if isinstance(saved, dict) else None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise InputError(f"{path}: no list of decisions in it: give what the page saved")
    for number, entry in enumerate(entries, 1):
        yield f"{path}, decision {number}", {**entry, **{k: saved.get(k) for k in ("reviewer", "sheet")}}


def _read_csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The decided rows of a CSV file."""
    for number, row in read_rows(path):
        if word := row.get("decision", "").strip():
            edit = {"diagnosis": row.get("corrected_diagnosis"), "category": row.get("corrected_category")}
            yield f"{path}:{number}", {**row, **edit, "decision": word.lower()}


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows by their line."""
    text = decode_text(path.read_bytes(), "cp1252")  # Latin-1 as spreadsheets write it
    first = text.split("\n", 1)[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        missing = {"id", "decision", "reviewer", "hash"} - set(table.fieldnames or ())
        if missing:
            raise InputError(f"{path}: no column {', '.join(sorted(missing))}: give a filled-in review.csv")
        for row in table:
            yield table.line_num, {k: unguard(v) for k, v in row.items() if isinstance(k, str) and isinstance(v, str)}
    except csv.Error as error:
        raise InputError(f"{path}:{table.line_num}: not CSV ({error}): save the table as CSV") from None
