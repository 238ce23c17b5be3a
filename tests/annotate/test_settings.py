"""Wrong input ends with one line, and the key is nowhere."""

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import good, is_reflection, texts_of
from werkzeug import Response

from umed.annotate.journal import Journal
from umed.errors import InputError
from umed.records import Record

SECRET = "sk-test-0123456789-never-show-me"
Make = Callable[..., Any]


def note(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = record.provenance["annotation"]
    return found


def test_the_key_is_nowhere(make: Make, serve: Make, make_records: Make, roots: Any, tmp_path: Path) -> None:
    """Even where the endpoint quotes it."""

    def reply(body: dict[str, Any]) -> str | Response:
        if "kidney" in texts_of(body)[1][1]:
            error = {"error": {"message": f"no such model for {SECRET}"}}
            return Response(json.dumps(error), 400, content_type="application/json")
        return good(body, diagnosis=f"the key is {SECRET}") if not is_reflection(body) else good(body)

    serve(reply)
    bad, fine = make().annotate(make_records(2), roots)
    assert "no such model" in note(bad)["reason"] and fine.diagnosis
    written = b"".join(p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file())
    assert b"the key is" in written and b"never-show-me" not in written + repr([bad, fine]).encode()


def test_no_key(make: Make, make_records: Make, roots: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="no key for https://api.openai.com/v1: set the environment variable"):
        make(base_url=None).annotate(make_records(1), roots)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ü")
    with pytest.raises(InputError, match="a character that no key has"):
        make(base_url=None).annotate(make_records(1), roots)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"api": "completions"}, "annotator.api=completions: choose chat or responses"),
        ({"max_cost": 1.0}, "annotator.max_cost=1.0 needs prices: set annotator.price.input"),
        ({"max_cost": -1, "price": {"input": 1, "output": 1}}, "annotator.max_cost=-1"),
        ({"price": {"input": -1, "output": 1}}, "annotator.price.input=-1"),
        ({"base_url": "localhost:8000/v1"}, "annotator.base_url is no address"),
        ({"base_url": "http://a b/v1"}, "annotator.base_url is no address"),
        ({"base_url": "http://host:99999/v1"}, "annotator.base_url is no address"),
        ({"base_url": "http://user:pw@[::1"}, "annotator.base_url is no address"),
        ({"queries": []}, "annotator.queries"),
        ({"tries": 0}, "annotator.tries=0"),
        ({"concurrency": 0}, "annotator.concurrency=0: a whole number above 0 is expected"),
        ({"concurrency": "two"}, "annotator.concurrency=two: a whole number"),
        ({"concurrency": 2.5}, "annotator.concurrency=2.5: a whole number"),
        ({"tries": "abc"}, "annotator.tries=abc: a whole number"),
        ({"timeout": "abc"}, "annotator.timeout=abc: a number above 0 is expected"),
        ({"patience": None}, "annotator.patience=null: a number above 0"),
        ({"backoff": float("nan")}, "annotator.backoff=nan: a number above 0"),
        ({"price": {"input": "abc", "output": 1}}, "annotator.price.input=abc: a number, or null, is expected"),
        ({"price": 5}, "annotator.price=5"),
        ({"max_cost": "abc"}, "annotator.max_cost=abc: a number, or null"),
        ({"tokens_per_minute": True}, "annotator.tokens_per_minute=True: a number, or null"),
        ({"model": None}, "annotator.model=null: a name is expected"),
        ({"journal": None}, "annotator.journal=null: a name is expected"),
        ({"seed": "x"}, "annotator.seed=x: a whole number is expected"),
        ({"dry_run": "maybe"}, "annotator.dry_run=maybe: true or false is expected"),
        ({"batch": "yes"}, "annotator.batch=yes: true or false"),
        ({"requests_per_minute": 0}, "annotator.requests_per_minute=0"),
        ({"output_tokens": {"expected": 1, "at_most": 0}}, "annotator.output_tokens"),
    ],
)
def test_wrong_settings_are_told_in_one_line(make: Make, changes: dict[str, Any], told: str) -> None:
    from hydra.errors import InstantiationException

    with pytest.raises(InstantiationException) as error:
        make(**changes)
    assert isinstance(error.value.__cause__, InputError)
    line = str(error.value.__cause__)
    assert told in line and "\n" not in line and "pw" not in line


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("user", "Look at {category}.", "annotator.prompt.user has no place for {region}"),
        ("reflection", "Put it in order.", "annotator.prompt.reflection has no place for <region>"),
        ("repair", "Again.", "annotator.prompt.repair has no place for {problem}"),
        ("system", " ", "annotator.prompt.system is no text"),
    ],
)
def test_prompts_without_their_placeholders(
    make: Make, settings: dict[str, Any], name: str, text: str, told: str
) -> None:
    from hydra.errors import InstantiationException

    with pytest.raises(InstantiationException) as error:
        make(prompt={**settings["prompt"], name: text})
    assert told in str(error.value.__cause__)


def test_a_damaged_journal_is_told(make: Make, serve: Make, make_records: Make, roots: Any, settings: Any) -> None:
    came, path = serve(), Path(settings["journal"])
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but long enough to look like one" * 40)
    with pytest.raises(InputError, match="journal .*annotate.sqlite cannot be used") as error:
        make().annotate(make_records(1), roots)
    assert "\n" not in str(error.value) and not came
    path.unlink()
    make().annotate(make_records(9), roots)
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with pytest.raises(InputError, match="cannot be used"):
        make().annotate(make_records(9), roots)
    assert len(came) == 18


def test_a_journal_serves_one_run_at_a_time(
    make: Make, serve: Make, make_records: Make, roots: Any, settings: Any
) -> None:
    serve()
    with Journal(Path(settings["journal"])), pytest.raises(InputError, match="held by another run"):
        make().annotate(make_records(1), roots)
    assert make().annotate(make_records(1), roots)[0].diagnosis
    rows = sqlite3.connect(settings["journal"])
    assert rows.execute("SELECT COUNT(*) FROM answers").fetchone() == (2,)
    rows.close()


def test_an_id_that_occurs_twice(make: Make, make_records: Make, roots: Any) -> None:
    with pytest.raises(InputError, match="s/0 occurs 2 times"):
        make().annotate(make_records(1) * 2, roots)


@pytest.mark.parametrize("key", ["x", "local", "test"])
def test_a_word_for_a_key_leaves_the_answers_alone(
    make: Make, serve: Make, make_records: Make, roots: Any, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    came = serve(lambda body: good(body, **({} if is_reflection(body) else {"diagnosis": "The local test x."})))
    (record,) = make().annotate(make_records(1), roots)
    assert record.diagnosis.endswith("lies here: <region>. This indicates kidney stone.")
    assert len(came) == 2 and json.loads(texts_of(came[1])[2][1])["diagnosis"] == "The local test x."


@pytest.mark.parametrize("key", [SECRET, 'sk-"quoted"-never-\\-show-me'])
def test_only_the_whole_key_is_taken_out_however_it_is_spelled(
    make: Make, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    clean = make()._endpoint().without_key
    for said in (f"the key is {key}.", f"a\n{key}\nb", f"{key}"):
        inner = json.dumps({"diagnosis": said})
        told = json.loads(json.loads(clean(json.dumps({"content": inner})))["content"])["diagnosis"]
        assert told == said.replace(key, "OPENAI_API_KEY")
        assert json.loads(clean(json.dumps({"content": said})))["content"] == told
        assert clean(said) == told
    longer = json.dumps({"content": f"{key}-and-more x{key}"})
    assert clean(longer) == longer
    started = time.process_time()
    for text in ('"' + '\\"' * 100_000, '"' * 200_000, "[" * 200_000):
        assert clean(text) == text
    assert time.process_time() - started < 2


def test_a_journal_of_old_is_used_on(make: Make, serve: Make, make_records: Make, roots: Any, settings: Any) -> None:
    came, records, path = serve(), make_records(2), Path(settings["journal"])
    done = make().annotate(records, roots)
    rows = sqlite3.connect(path, isolation_level=None)
    rows.execute("ALTER TABLE answers DROP COLUMN estimate")
    rows.execute("ALTER TABLE batches DROP COLUMN endpoint")
    rows.close()
    assert make().annotate(records, roots) == done and len(came) == 4
    assert all(r.diagnosis for r in make().annotate(make_records(3), roots))
    with Journal(path) as journal:
        assert [estimate is None for *_, estimate in journal.tokens()] == [True] * 4 + [False] * 2


def test_left_and_right_are_told_apart(settings: dict[str, Any]) -> None:
    said = "Left and right are the patient's in X-ray, CT and MR, and the image's in endoscopy."
    assert said in settings["prompt"]["system"]
    assert "in the upper zone of the patient's left lung: <region>." in settings["prompt"]["reflection"]
