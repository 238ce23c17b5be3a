"""The sheet of a review: pages that nothing can break out of, and a table."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image
from reviewing import ALL, EVIL, FILLED, RECORDS, Page, filled, record

from umed.annotate.review import apply_decisions, hash_text
from umed.annotate.review_sheet import draw_sample, read_sheet, write_sheet
from umed.boxes import Box
from umed.errors import InputError


def test_the_page_shows_every_record_and_nothing_breaks_out(picture_folders, tmp_path):
    evil = replace(record(1, "t", EVIL), category=EVIL, query=EVIL, modality=EVIL, id=f"t/{EVIL}")
    (path,) = write_sheet([record(0), evil], picture_folders, tmp_path / "review", f"all {EVIL}", **ALL)
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


def test_the_page_needs_no_network_and_runs_no_foreign_script(picture_folders, tmp_path):
    (path,) = write_sheet([record(0, diagnosis=EVIL)], picture_folders, tmp_path / "review", "all", **ALL)
    page = Page(path)
    linked = [(tag, a[name]) for tag, a in page.elements for name in ("src", "href", "srcset", "action") if name in a]
    assert [(tag, str(value)[:23]) for tag, value in linked] == [("img", "data:image/jpeg;base64,")]
    text = re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"https?:|//\w+\.|@import|url\(|\beval\b|innerHTML", text)
    assert set(re.findall(r"\{\{\w+\}\}", text)) == {"{{sheet}}"}  # the diagnosis's own words
    (policy,) = (str(m["content"]) for m in page.all("meta", **{"http-equiv": "Content-Security-Policy"}))
    script = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{script}'" in policy and "default-src 'none'" in policy


def test_pictures_are_embedded_small_and_with_their_boxes(picture_folders, tmp_path):
    (path,) = write_sheet(RECORDS[:1], picture_folders, tmp_path / "review", "all", **ALL)
    (img,) = Page(path).all("img")
    image = Image.open(io.BytesIO(base64.b64decode(str(img["src"]).partition(",")[2])))
    assert image.size == (400, 200) == (int(str(img["width"])), int(str(img["height"])))
    red, green, blue = image.getpixel((99, 100))  # left of the box
    assert green > red + 40 and green > blue + 40
    assert all(max(image.getpixel(xy)) < 110 for xy in ((102, 100), (200, 100)))


@pytest.mark.parametrize(("corners", "size"), [((200, 100, 203, 102), (1564, 1280)), ((50, 60, 61, 69), (1173, 960))])
def test_a_small_region_is_enlarged_and_not_covered(picture_folders, tmp_path, corners, size):
    dark = Image.new("RGB", (391, 320), (60, 60, 60))
    dark.paste((250, 250, 250), corners)
    dark.save(picture_folders["s"] / "a.png")
    small = replace(record(0), width=391, height=320, boxes=(Box.from_xyxy(corners, 391, 320),))
    (path,) = write_sheet([small], picture_folders, tmp_path / "review", "all", **ALL)
    (img,) = Page(path).all("img")
    image = Image.open(io.BytesIO(base64.b64decode(str(img["src"]).partition(",")[2]))).convert("RGB")
    assert image.size == size
    x0, y0, x1, y1 = (round(v * size[0] / 391) for v in corners)
    assert min(min(image.getpixel((x, y))) for x in range(x0 + 2, x1 - 2) for y in range(y0 + 2, y1 - 2)) > 200
    red, green, blue = image.getpixel((x0 - 1, (y0 + y1) // 2))
    assert green > red + 40 and green > blue + 40


def test_a_card_tells_why_it_has_no_picture(picture_folders, tmp_path):
    picture_folders["s"] = tmp_path / "inner"
    picture_folders["s"].mkdir()
    (picture_folders["s"] / "text.png").write_text("no picture")
    (picture_folders["s"] / "link.png").symlink_to(tmp_path / "a.png")
    (picture_folders["s"] / "folder").symlink_to(tmp_path)
    outside = ("../a.png", f"{tmp_path}/a.png", "link.png", "folder/a.png", "../inner/text.png")
    images = {"none.png": "no picture", "text.png": "not a readable", **dict.fromkeys(outside, "inside")}
    records = [replace(record(k), image=image) for k, image in enumerate(images)]
    (path,) = write_sheet([*records, record(1, "t")], picture_folders, tmp_path / "review", "all", **ALL)
    page = Page(path)
    assert len(page.all("article")) == 8 and len(page.all("img")) == 1
    reasons = re.findall('<p class="nopicture">No picture: (.*)</p>', path.read_text(encoding="utf-8"))
    assert all(why in reason for why, reason in zip(images.values(), reasons, strict=True))


def test_many_cards_become_several_pages_with_links(picture_folders, tmp_path):
    out = tmp_path / "review"
    paths = write_sheet([record(k) for k in range(5)], picture_folders, out, "all", chunk=2, picture_side=40)
    assert [p.name for p in paths] == ["review.html", "review-2.html", "review-3.html"]
    assert [len(Page(p).all("article")) for p in paths] == [2, 2, 1]
    for path in paths:
        links = Page(path).all("a")
        assert [a["href"] for a in links] == [p.name for p in paths]
        assert [a["href"] for a in links if a.get("aria-current")] == [path.name]
    (out / "review-anna.html").write_text("mine")
    write_sheet(RECORDS, picture_folders, out, "all", **ALL)
    assert {p.name for p in out.iterdir()} == {"review.html", "review.csv", "review-anna.html"}


def test_a_sample_gives_each_source_its_share_whatever_the_order():
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


def test_a_table_with_decisions_is_not_overwritten(picture_folders, tmp_path):
    out = tmp_path / "review"
    write_sheet(RECORDS, picture_folders, out, "all", **ALL)
    write_sheet(RECORDS, picture_folders, out, "all", **ALL)
    text = filled(out / "review.csv", FILLED)
    (out / "review.csv").write_text(text, newline="")
    with pytest.raises(InputError, match="holds decisions"):
        write_sheet(RECORDS, picture_folders, out, "all", **ALL)
    assert (out / "review.csv").read_bytes() == text.encode()


@pytest.mark.skipif(not shutil.which("node"), reason="no node on this machine to run the page's script")
def test_what_the_script_saves_is_read_back(picture_folders, tmp_path):
    evil = record(1, diagnosis=EVIL)
    records = [record(0), evil, record(2), record(3)]
    (path,) = write_sheet(records, picture_folders, tmp_path / "review", "all 4", **ALL)
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
