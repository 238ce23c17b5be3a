"""The expert check: a page that nothing can break out of, and decisions that come back exactly once."""

import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from umed.annotate.review import Decision, apply_decisions, find_review, hash_text
from umed.annotate.review_files import guard, read_sheet, unguard
from umed.annotate.review_report import estimate_error_rate, make_report
from umed.annotate.review_sheet import draw_sample, write_sheet
from umed.boxes import Box
from umed.errors import InputError
from umed.records import Record

EVIL = (
    "</script ></script/></script><script>alert(1)</script> <img src=x onerror=alert(2)> <!-- "
    """"'& {{sheet}} at <region>."""
)
TIME = "2026-01-02T03:04:05+00:00"
ALL = {"chunk": 200, "picture_side": 400}


def record(number: int, source: str = "s", diagnosis: str = "A cyst is seen at <region>.") -> Record:
    box = (Box(0.25, 0.25, 0.75, 0.75),)
    name = f"{source}/{number}"
    return Record(name, source, "a.png", 800, 400, box, "cyst", "CT", name, query="What?", diagnosis=diagnosis)


RECORDS = [record(k) for k in range(4)]


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    Image.new("L", (800, 400), 90).save(tmp_path / "a.png")
    return {"s": tmp_path, "t": tmp_path}


class Page(HTMLParser):
    """The elements of a page with their attributes and the text in them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.diagnoses: list[str] = []
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._inside = "script"
            self.scripts.append("")
        elif ("class", "diagnosis") in attrs:
            self._inside = "diagnosis"
            self.diagnoses.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "p"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "diagnosis":
            self.diagnoses[-1] += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and attributes.items() <= a.items()]


def decision(number: int, word: str, reviewer: str = "anna", base: Record | None = None, **fields: str) -> Decision:
    base = base or record(number)
    return Decision(base.id, hash_text(base), word, reviewer, **{"time": TIME, "where": "file:1", **fields})


def test_the_page_shows_every_record_and_nothing_breaks_out(roots: dict[str, Path], tmp_path: Path) -> None:
    evil = replace(record(1, "t", EVIL), category=EVIL, query=EVIL, modality=EVIL, id=f"t/{EVIL}")
    (path,) = write_sheet([record(0), evil], roots, tmp_path / "review", f"all {EVIL}", **ALL)
    page = Page(path)
    assert len(page.all("article", **{"class": "card"})) == 2
    assert page.diagnoses == ["A cyst is seen at region.", EVIL.replace("<region>", "region")]
    assert [m["title"] for m in page.all("mark")] == ["(200, 100, 600, 300) px of 800 x 400"] * 2
    assert len(page.scripts) == 4 and len(page.all("script", type="application/json")) == 3
    assert not set("<>&") & set("".join(page.scripts[:3]))  # browsers end a script at less than html.parser does
    first, second, sheet = (json.loads(page.scripts[k]) for k in range(3))
    assert (second["id"], second["diagnosis"], second["hash"]) == (evil.id, EVIL, hash_text(evil))
    assert first["category"] == "cyst" and sheet["categories"] == sorted(["cyst", EVIL])
    assert [b["data-do"] for b in page.all("button") if b.get("data-do")][:3] == ["accept", "edit", "reject"]
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]


def test_the_page_needs_no_network_and_runs_no_foreign_script(roots: dict[str, Path], tmp_path: Path) -> None:
    (path,) = write_sheet([record(0, diagnosis=EVIL)], roots, tmp_path / "review", "all", **ALL)
    page = Page(path)
    linked = [(tag, a[name]) for tag, a in page.elements for name in ("src", "href", "srcset", "action") if name in a]
    assert [(tag, str(value)[:23]) for tag, value in linked] == [("img", "data:image/jpeg;base64,")]
    text = re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"https?:|//\w+\.|@import|url\(|\beval\b|innerHTML", text)
    assert set(re.findall(r"\{\{\w+\}\}", text)) == {"{{sheet}}"}  # the diagnosis's own words
    (policy,) = (str(m["content"]) for m in page.all("meta", **{"http-equiv": "Content-Security-Policy"}))
    script = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{script}'" in policy and "default-src 'none'" in policy


def test_pictures_are_embedded_small_and_with_their_boxes(roots: dict[str, Path], tmp_path: Path) -> None:
    (path,) = write_sheet(RECORDS[:1], roots, tmp_path / "review", "all", **ALL)
    (img,) = Page(path).all("img")
    image = Image.open(io.BytesIO(base64.b64decode(str(img["src"]).partition(",")[2])))
    assert image.size == (400, 200) == (int(str(img["width"])), int(str(img["height"])))
    red, green, blue = image.getpixel((99, 100))  # left of the box
    assert green > red + 40 and green > blue + 40
    assert all(max(image.getpixel(xy)) < 110 for xy in ((102, 100), (200, 100)))


@pytest.mark.parametrize(("corners", "size"), [((200, 100, 203, 102), (1564, 1280)), ((50, 60, 61, 69), (1173, 960))])
def test_a_small_region_is_enlarged_and_not_covered(
    roots: dict[str, Path], tmp_path: Path, corners: tuple[int, ...], size: tuple[int, int]
) -> None:
    dark = Image.new("RGB", (391, 320), (60, 60, 60))
    dark.paste((250, 250, 250), corners)
    dark.save(roots["s"] / "a.png")
    small = replace(record(0), width=391, height=320, boxes=(Box.from_xyxy(corners, 391, 320),))
    (path,) = write_sheet([small], roots, tmp_path / "review", "all", **ALL)
    (img,) = Page(path).all("img")
    image = Image.open(io.BytesIO(base64.b64decode(str(img["src"]).partition(",")[2]))).convert("RGB")
    assert image.size == size
    x0, y0, x1, y1 = (round(v * size[0] / 391) for v in corners)
    assert min(min(image.getpixel((x, y))) for x in range(x0 + 2, x1 - 2) for y in range(y0 + 2, y1 - 2)) > 200
    red, green, blue = image.getpixel((x0 - 1, (y0 + y1) // 2))
    assert green > red + 40 and green > blue + 40


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("none.png", "no picture"),
        ("text.png", "not a readable"),
        *((name, "inside") for name in ("../a.png", "{root}/a.png", "link.png", "folder/a.png", "../inner/text.png")),
    ],
)
def test_a_card_tells_why_it_has_no_picture(tmp_path: Path, roots: dict[str, Path], image: str, why: str) -> None:
    roots["s"] = tmp_path / "inner"
    roots["s"].mkdir()
    (roots["s"] / "text.png").write_text("no picture")
    (roots["s"] / "link.png").symlink_to(tmp_path / "a.png")
    (roots["s"] / "folder").symlink_to(tmp_path)
    wrong = replace(record(0), image=image.format(root=tmp_path))
    (path,) = write_sheet([wrong, record(1, "t")], roots, tmp_path / "review", "all", **ALL)
    page = Page(path)
    assert len(page.all("article")) == 2 and len(page.all("img")) == 1
    assert re.search(f'<p class="nopicture">No picture: .*{why}', path.read_text(encoding="utf-8"))


def test_many_cards_become_several_pages_with_links(roots: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "review"
    paths = write_sheet([record(k) for k in range(5)], roots, out, "all", chunk=2, picture_side=40)
    assert [p.name for p in paths] == ["review.html", "review-2.html", "review-3.html"]
    assert [len(Page(p).all("article")) for p in paths] == [2, 2, 1]
    for path in paths:
        links = Page(path).all("a")
        assert [a["href"] for a in links] == [p.name for p in paths]
        assert [a["href"] for a in links if a.get("aria-current")] == [path.name]
    (out / "review-anna.html").write_text("mine")
    write_sheet(RECORDS, roots, out, "all", **ALL)
    assert {p.name for p in out.iterdir()} == {"review.html", "review.csv", "review-anna.html"}


def test_a_sample_gives_each_source_its_share_whatever_the_order() -> None:
    records = (
        [record(k, "s") for k in range(80)] + [record(k, "t") for k in range(20)] + [record(k, "u", "") for k in (1, 2)]
    )
    drawn, told = draw_sample(records, 10, 0)
    assert Counter(r.source for r in drawn) == {"s": 8, "t": 2}
    assert told == "a random 10 of 100 diagnoses, spread over sources (seed 0)"
    assert {r.id for r in draw_sample(records[::-1], 10, 0)[0]} == {r.id for r in drawn}
    assert drawn == sorted(drawn, key=records.index)
    assert draw_sample(records, 10, 1)[0] != drawn
    assert {r.source for r in draw_sample(records, 2, 0)[0]} == {"s", "t"}
    assert draw_sample(records, None, 0) == (records[:100], "all 100 diagnoses") == draw_sample(records, 500, 0)
    with pytest.raises(InputError, match="no record has a diagnosis.*task=annotate"):
        draw_sample(records[-2:], None, 0)


@given(st.text(st.sampled_from("=+-@\t\r\n'\uff1da ")))
def test_a_guarded_cell_comes_back_and_is_no_formula(text: str) -> None:
    assert unguard(guard(text)) == text
    assert not guard(text).startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))


def filled(path: Path, words: Sequence[dict[str, str]]) -> str:
    """The text of a CSV sheet with the first rows filled in."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    for row, word in zip(rows, words, strict=False):
        row.update(word)
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


ANNA = {"reviewer": "Änna"}
FILLED = (
    {**ANNA, "decision": "accept"},
    {**ANNA, "decision": " Edit ", "corrected_diagnosis": "'-A größer stone,\nat <region>;", "comment": "'=no"},
    {**ANNA, "decision": "reject"},
)
UNDO: dict[str, Callable[[str], bytes]] = {
    "as written": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "without mark": lambda text: text.encode(),
    "other line ends": lambda text: text.replace("\r\n", "\n").encode(),
    "Latin-1": lambda text: text.encode("latin-1"),
    "UTF-16": lambda text: text.encode("utf-16"),
}


@pytest.mark.parametrize("form", UNDO)
def test_a_filled_in_table_is_read_in_any_form(roots: dict[str, Path], tmp_path: Path, form: str) -> None:
    equals = replace(record(0, diagnosis="=1+1 <region>"), id="=s/0")
    records = [equals, *RECORDS[1:]]
    write_sheet(records, roots, tmp_path / "review", "all 4", **ALL)
    path = tmp_path / "review" / "review.csv"
    assert "'=s/0" in path.read_text(encoding="utf-8-sig")
    path.write_bytes(UNDO[form](filled(path, FILLED)))
    os.utime(path, (1e9, 1e9))
    decisions, sheets = read_sheet(path)
    assert sheets == ["all 4"] and [d.decision for d in decisions] == ["accept", "edit", "reject"]
    first, second, third = decisions
    assert (first.id, first.hash, first.reviewer) == ("=s/0", hash_text(equals), "Änna")
    assert second.diagnosis == "-A größer stone,\nat <region>;" and second.comment == "=no"
    assert third.time == "2001-09-09T01:46:40+00:00"
    after = apply_decisions(records, decisions, "refuse")
    assert [r.diagnosis for r in after] == [equals.diagnosis, second.diagnosis, "", RECORDS[3].diagnosis]


def test_a_table_with_semicolons_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        f'id;decision;reviewer;hash;corrected_diagnosis\ns/0;edit;ben;{hash_text(record(0))};"a, b <region>"\n'
    )
    ((found,), sheets) = read_sheet(path)
    assert (found.diagnosis, found.category, sheets) == ("a, b <region>", "", [])


def saved(path: Path, decisions: Any, **fields: Any) -> Path:
    path.write_text(json.dumps({"reviewer": "anna", "sheet": "all", "decisions": decisions, **fields}))
    return path


GOOD = {"id": "s/0", "hash": hash_text(record(0)), "decision": "accept", "time": "2026-01-02T04:04:05+01:00"}


def test_what_the_page_saved_is_read(tmp_path: Path) -> None:
    edit = {**GOOD, "id": "s/1", "decision": "edit", "diagnosis": " new <region> ", "category": "stone", "comment": "c"}
    path = saved(tmp_path / "a.JSON", [GOOD, GOOD, {**edit, "time": "2026-01-02T03:04:05.678Z"}])
    (first, second), sheets = read_sheet(path)
    assert (first.time, first.outcome, sheets) == (TIME, ("accept", "", ""), ["all"])
    assert second.outcome == ("edit", "new <region>", "stone") and second.time == TIME


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"decision": "acept"}, r"a\.json, decision 1, s/0: the decision is 'acept'"),
        ({"decision": "edit"}, "an edit without text"),
        ({"decision": "edit", "diagnosis": " "}, "an edit without text"),
        ({"decision": 1}, "decision is 1: text"),
        ({"comment": "\ud800"}, "comment is .*: text"),
        ({"time": "yesterday"}, "the time is 'yesterday'"),
        ({"hash": ["x"]}, "hash is .*: text"),
    ],
)
def test_a_wrong_entry_is_told(tmp_path: Path, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_sheet(saved(tmp_path / "a.json", [{**GOOD, **wrong}]))


def test_a_wrong_file_is_told(tmp_path: Path) -> None:
    def refused(name: str, content: str | bytes, told: str) -> None:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(InputError, match=told) as error:
            read_sheet(path)
        assert "\n" not in str(error.value) and name in str(error.value)

    with pytest.raises(InputError, match=r"no file .*none\.json"):
        read_sheet(tmp_path / "none.json")
    refused("a.xlsx", b"PK", "neither .json nor .csv")
    refused("a.json", "{", "not JSON")
    refused("b.json", "[" * 100_000, "not JSON")
    refused("c.json", "[]", "no list of decisions")
    refused("d.json", '{"decisions": [1]}', "no list of decisions")
    refused("e.json", '{"decisions": [], "reviewer": "anna"}', "nothing is decided")
    refused("f.json", json.dumps({"decisions": [GOOD]}), "no reviewer")
    refused(
        "g.json", json.dumps({"decisions": [GOOD, {**GOOD, "decision": "reject"}], "reviewer": "a"}), "decides twice"
    )
    stale = {"decisions": [GOOD, {**GOOD, "hash": "another"}], "reviewer": "a"}
    refused("h.json", json.dumps(stale), "decides twice")
    refused("a.csv", b"PK\x03\x04\x00\x01", "no column decision, hash, id, reviewer")
    refused("b.csv", "", "no column")
    head = "id,decision,reviewer,hash\n"
    refused("c.csv", head + "s/0,,anna,x\n", "nothing is decided")
    refused("d.csv", head + "s/0,accept,,x\n", r"d\.csv:2, s/0: no reviewer")
    refused("e.csv", head + "s/0,accept,anna,x\n\ns/0,reject,anna,x\n", r"e\.csv:4: anna decides twice about s/0")
    refused("f.csv", head + "s/0,edit,anna,x\n", "an edit without text")
    refused("g.csv", head + f"{'x' * 140_000},accept,anna,x\n", r"g\.csv:1: not CSV")


def test_decisions_become_the_records() -> None:
    edit = {"diagnosis": "A stone is seen at <region>.", "category": "stone", "comment": "no cyst"}
    done = [decision(0, "accept"), decision(1, "edit", **edit), decision(2, "reject")]
    after = apply_decisions(RECORDS, done, "refuse")
    accepted, edited, rejected, untouched = after
    assert untouched == RECORDS[3] and [r.query for r in after] == ["What?"] * 4
    assert (accepted.diagnosis, edited.diagnosis, edited.category) == (RECORDS[0].diagnosis, *list(edit.values())[:2])
    assert (rejected.diagnosis, rejected.category) == ("", "cyst")
    status = [r.provenance["review"]["status"] for r in after[:3]]
    assert status == ["accepted", "edited", "rejected"] and "before" not in accepted.provenance["review"]
    review = edited.provenance["review"]
    assert {k: review[k] for k in ("reviewer", "time", "comment")} == {
        "reviewer": "anna",
        "time": TIME,
        "comment": "no cyst",
    }
    assert review["before"] == {"diagnosis": RECORDS[1].diagnosis, "category": "cyst"}
    later = [replace(d, time="2027-01-01T00:00:00+00:00") for d in done]
    assert apply_decisions(after, done, "refuse") == apply_decisions(after, later, "refuse") == after
    again = [Record.from_json(json.loads(json.dumps(r.to_json()))) for r in after]
    assert apply_decisions(again, done, "refuse") == again
    assert make_report(again) == make_report(after)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (decision(9, "accept"), "file:1: no record has this id"),
        (replace(decision(0, "accept"), hash="0" * 12), "file:1: the sheet shows another diagnosis"),
        (decision(0, "edit", diagnosis="no place"), "file:1: the edited text holds <region> 0 times"),
        (decision(0, "edit", diagnosis="<region> <region>"), "holds <region> 2 times"),
        (decision(0, "edit", diagnosis=record(0).diagnosis), "changes nothing"),
    ],
)
def test_what_cannot_be_applied_is_told(wrong: Decision, told: str) -> None:
    with pytest.raises(InputError, match=told):
        apply_decisions(RECORDS, [decision(1, "accept"), wrong], "refuse")


def test_the_category_alone_can_be_corrected() -> None:
    (after, *_) = apply_decisions(
        RECORDS, [decision(0, "edit", diagnosis=record(0).diagnosis, category="stone")], "refuse"
    )
    assert (after.diagnosis, after.category) == (record(0).diagnosis, "stone")


def test_a_reviewer_may_change_their_mind() -> None:
    first, second = decision(0, "accept"), decision(0, "reject", time="2026-01-03T00:00:00+00:00")
    both = apply_decisions(RECORDS, [second, first], "refuse")
    assert both[0].diagnosis == "" and both == apply_decisions(
        apply_decisions(RECORDS, [first], "refuse"), [second], "refuse"
    )
    assert apply_decisions(both, [first], "refuse") == both  # the older file once more


def test_an_edited_text_can_be_judged_again_and_still_counts_as_an_error() -> None:
    edit = decision(0, "edit", diagnosis="A stone at <region>.")
    edited = apply_decisions(RECORDS, [edit], "refuse")
    agree = decision(0, "accept", "ben", edited[0])
    again = apply_decisions(edited, [agree], "refuse")
    assert again[0].diagnosis == edited[0].diagnosis and again[0].provenance["review"]["reviewer"] == "ben"
    assert again[0].provenance["review"]["earlier"] == edited[0].provenance["review"]
    assert apply_decisions(again, [agree], "refuse") == again
    assert make_report(again)["total"]["edited"] == 1
    with pytest.raises(InputError, match="another diagnosis"):  # the first file is of a text that is two reviews old
        apply_decisions(again, [edit], "refuse")


def test_a_text_that_was_written_anew_is_not_reviewed() -> None:
    (rejected, *_) = apply_decisions(RECORDS, [decision(0, "reject")], "refuse")
    anew = replace(rejected, diagnosis="Another text at <region>.")
    assert find_review(rejected) and find_review(anew) is None
    assert make_report([anew])["total"]["not_reviewed"] == 1
    with pytest.raises(InputError, match="another diagnosis"):
        apply_decisions([anew], [decision(0, "reject")], "refuse")


def test_reviewers_who_disagree() -> None:
    done = [decision(0, "accept"), decision(0, "reject", "ben", time="2026-01-03T00:00:00+00:00")]
    with pytest.raises(InputError, match=r"s/0: the reviewers disagree \(anna: accept, ben: reject\)"):
        apply_decisions(RECORDS, done, "refuse")
    with pytest.raises(InputError, match="s/0: the reviewers disagree"):  # also if ben comes later
        apply_decisions(apply_decisions(RECORDS, done[:1], "refuse"), done[1:], "refuse")
    for rule, by in (("last", "ben"), ("reject", "anna, ben")):
        after = apply_decisions(RECORDS, done, rule)
        assert after[0].diagnosis == "" and after[0].provenance["review"]["reviewer"] == by
        assert apply_decisions(after, done[::-1], rule) == after
    last = apply_decisions(RECORDS, [done[1], replace(done[0], time="2026-01-04T00:00:00+00:00")], "last")
    assert last[0].diagnosis == record(0).diagnosis
    with pytest.raises(InputError, match="task.on_conflict=first"):
        apply_decisions(RECORDS, done, "first")


def test_two_texts_of_one_edit_disagree() -> None:
    with pytest.raises(InputError, match="anna: edit, ben: edit"):
        apply_decisions(RECORDS, [decision(0, "edit", d, diagnosis=f"{d} <region>") for d in ("anna", "ben")], "refuse")


def test_the_error_rate_and_its_interval() -> None:
    paper = make_report(RECORDS)["paper"]
    assert paper["error_rate"] == pytest.approx(0.0022348, abs=1e-6)
    assert (paper["low"], paper["high"]) == (pytest.approx(0.0013066, abs=1e-6), pytest.approx(0.0038201, abs=1e-6))
    assert estimate_error_rate(0, 10) == {"error_rate": 0, "low": 0, "high": pytest.approx(0.2775, abs=1e-4)}
    assert estimate_error_rate(0, 0) == {"error_rate": None, "low": None, "high": None}
    other = record(7, "t")
    done = [decision(0, "accept"), decision(1, "reject"), decision(7, "accept", base=other)]
    report = make_report(apply_decisions([*RECORDS, other], done, "refuse"))
    assert report["sources"]["s"] | estimate_error_rate(1, 2) == report["sources"]["s"]
    counts = ("reviewed", "accepted", "edited", "rejected", "not_reviewed")
    assert [report["total"][k] for k in counts] == [3, 2, 0, 1, 2]
    assert report["sources"]["t"]["reviewed"] == 1 and report["agreement"] is None


def test_agreement_of_two_and_of_three() -> None:
    words = {"anna": ["accept", "accept", "reject", "reject"], "ben": ["accept", "accept", "reject", "accept"]}
    done = [decision(k, w, name) for name, own in words.items() for k, w in enumerate(own)]
    agreement = make_report(apply_decisions(RECORDS, done, "reject"))["agreement"]
    assert agreement == {"reviewers": ["anna", "ben"], "records": 4, "same_decision": 0.75, "kappa": 0.5}
    alike = make_report(apply_decisions(RECORDS[:1], [decision(0, "accept", n) for n in words], "refuse"))["agreement"]
    assert alike == {"reviewers": ["anna", "ben"], "records": 1, "same_decision": 1, "kappa": None}
    three = make_report(apply_decisions(RECORDS, [*done, decision(0, "accept", "cleo")], "reject"))["agreement"]
    assert three == {"reviewers": ["anna", "ben", "cleo"], "records": 4, "same_decision": 0.75, "kappa": None}


def test_a_table_with_decisions_is_not_overwritten(roots: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "review"
    write_sheet(RECORDS, roots, out, "all", **ALL)
    write_sheet(RECORDS, roots, out, "all", **ALL)
    text = filled(out / "review.csv", FILLED)
    (out / "review.csv").write_text(text, newline="")
    with pytest.raises(InputError, match="holds decisions"):
        write_sheet(RECORDS, roots, out, "all", **ALL)
    assert (out / "review.csv").read_bytes() == text.encode()


@pytest.mark.skipif(not shutil.which("node"), reason="no node on this machine to run the page's script")
def test_what_the_script_saves_is_read_back(roots: dict[str, Path], tmp_path: Path) -> None:
    evil = record(1, diagnosis=EVIL)
    records = [record(0), evil, record(2), record(3)]
    (path,) = write_sheet(records, roots, tmp_path / "review", "all 4", **ALL)
    *cards, sheet, script = Page(path).scripts
    cards_state = {
        "s/0": {"decision": "accept", "time": "2026-01-02T03:04:05.000Z", "comment": " fine "},
        "s/1": {"decision": "edit", "time": "2026-01-02T03:04:05.000Z", "diagnosis": f"New. {EVIL}", "category": "x"},
        "s/2": {"comment": "not decided", "draft": {"diagnosis": "half"}},
    }
    script += f"""
    const records = [{",".join(cards)}], state = restored({json.dumps(json.dumps({"cards": cards_state}))}).cards;
    const texts = ["", "gone", "<region> <region>", records[0].diagnosis, "good <region>"];
    console.log(JSON.stringify({{
      file: exported({sheet}, records, state, " Anna M. ", "now"), name: fileName({sheet}, " Änna/M. "),
      second: fileName({{pages: 3, page: 2}}, "b"), broken: [restored("["), restored(null), restored("[1]")],
      problems: texts.map(t => problem(records[0], t, "cyst")), unnamed: problem(records[0], "<region>", " "),
    }}));"""
    done = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["name"], said["second"]) == ("review-Änna-M..json", "review-b-2.json")
    assert said["broken"] == [{"reviewer": "", "cards": {}}] * 3
    told = ["Write the corrected", "Write <region> once", "Write <region> once", "Nothing is changed", ""]
    assert all(p.startswith(t) and bool(p) == bool(t) for p, t in zip(said["problems"], told, strict=True))
    assert said["unnamed"] == "Write the category."
    saved = tmp_path / "review-anna.json"
    saved.write_text(json.dumps(said["file"]))
    decisions, sheets = read_sheet(saved)
    assert sheets == ["all 4"] and [(d.id, d.reviewer) for d in decisions] == [("s/0", "Anna M."), ("s/1", "Anna M.")]
    after = apply_decisions(records, decisions, "refuse")
    assert (after[1].diagnosis, after[1].category) == (f"New. {EVIL}", "x") and after[2:] == records[2:]
    assert after[0].provenance["review"]["comment"] == "fine"
