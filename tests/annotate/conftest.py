"""Records with small pictures, an annotator that asks a server on the loopback interface, and a clean environment."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import loopback
import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from pytest_httpserver import HTTPServer
from served import Clock, clock, environment, make_httpserver
from werkzeug import Request, Response

from umed.annotate.openai_annotator import OpenAIAnnotator
from umed.boxes import Box
from umed.records import Record

CONF = Path(__file__).parents[2] / "conf" / "annotator" / "openai.yaml"
__all__ = ["clock", "environment", "make_httpserver"]


@pytest.fixture(autouse=True)
def no_polling(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umed.annotate.batch.sleep", clock.sleep)


@pytest.fixture
def make_records(tmp_path: Path) -> Callable[[int], list[Record]]:
    """`make_records(n)`: with pictures of 40 x 30 pixels in `tmp_path / "pictures"`."""

    def build(count: int) -> list[Record]:
        root, records = tmp_path / "pictures", []
        root.mkdir(exist_ok=True)
        for i in range(count):
            pixels = np.full((30, 40), i % 256, np.uint8)  # plain: a packed one costs more time than all else here
            pixels[0, 0] = i // 256
            Image.fromarray(pixels).save(root / f"{i}.png")
            boxes = (Box(0.1, 0.2, 0.5, 0.6), Box(0.6, 0.5, 0.9, 0.9))[: 1 + i % 2]
            category = ("kidney stone", "cyst")[i % 2]
            records.append(Record(f"s/{i}", "s", f"{i}.png", 40, 30, boxes, category, "CT", f"g{i}", "train"))
        return records

    return build


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    return {"s": tmp_path / "pictures"}


@pytest.fixture
def picture_folders(tmp_path: Path) -> dict[str, Path]:
    """Two sources in a folder with one picture."""
    Image.new("L", (800, 400), 90).save(tmp_path / "a.png")
    return {"s": tmp_path, "t": tmp_path}


@pytest.fixture(scope="session")
def shipped() -> dict[str, Any]:
    """The arguments in the shipped config."""
    cfg: Any = OmegaConf.to_container(OmegaConf.load(CONF))
    return {name: value for name, value in cfg.items() if not name.startswith("_")}


@pytest.fixture
def settings(tmp_path: Path, shipped: dict[str, Any]) -> dict[str, Any]:
    """The shipped config, with a journal in the test's folder and quick repetitions."""
    quick = {"backoff": 0.01, "timeout": 5.0, "tries": 3, "poll_seconds": 0.01}
    return {**shipped, "model": "m", "journal": str(tmp_path / "run" / "annotate.sqlite"), **quick}


@pytest.fixture
def make(httpserver: HTTPServer, settings: dict[str, Any]) -> Callable[..., OpenAIAnnotator]:
    """`make(**changes)`: an annotator that asks `httpserver`."""
    return lambda **changes: OpenAIAnnotator(**{**settings, "base_url": httpserver.url_for("/v1"), **changes})


@pytest.fixture
def serve(httpserver: HTTPServer) -> Callable[..., list[dict[str, Any]]]:
    """`serve(reply)`: answer every request with `reply(body)`, a text or a Response; the bodies that came."""

    def start(
        reply: Callable[[dict[str, Any]], str | Response] = loopback.good, clear: bool = True
    ) -> list[dict[str, Any]]:
        came: list[dict[str, Any]] = []

        def handler(request: Request) -> Response:
            body = request.get_json()
            came.append({**body, "idempotency": request.headers["Idempotency-Key"]})
            said = reply(body)
            if isinstance(said, Response):
                return said
            return Response(json.dumps(loopback.answer(body, said)), content_type="application/json")

        if clear:
            httpserver.clear()
        httpserver.expect_request("/v1/chat/completions").respond_with_handler(handler)
        httpserver.expect_request("/v1/responses").respond_with_handler(handler)
        return came

    return start


@pytest.fixture
def annotate(make, make_records, roots):
    """`annotate(records, **changes)`: what the annotator makes of records, or of so many new ones."""

    def run(records: int | list[Record], **changes: Any) -> list[Record]:
        return make(**changes).annotate(make_records(records) if isinstance(records, int) else records, roots)

    return run


class Shop:
    """Files and batches in memory; `fate(number)` is how the batch of that number ends, `reply(body)` a line's."""

    def __init__(self, server: HTTPServer) -> None:
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.fate: Callable[[int], str] = lambda _: "completed"
        self.reply: Callable[[dict[str, Any]], str | int] = loopback.good
        self.polls_before_end, self.is_ascii, self.words = 1, False, "no"
        self.tokens = (100, 50)
        server.expect_request("/v1/files", method="POST").respond_with_handler(self.upload)
        server.expect_request("/v1/batches", method="POST").respond_with_handler(self.create)
        server.expect_request("/v1/batches", method="GET").respond_with_handler(self.list)
        server.expect_request(re.compile("/v1/batches/.*"), method="GET").respond_with_handler(self.retrieve)
        server.expect_request(re.compile("/v1/files/.*/content")).respond_with_handler(self.content)

    @staticmethod
    def json(value: Any) -> Response:
        return Response(json.dumps(value), content_type="application/json")

    def upload(self, request: Request) -> Response:
        assert request.form["purpose"] == "batch"
        name = f"file-{len(self.files)}"
        self.files[name] = request.files["file"].read().decode()
        return self.json({"id": name, "object": "file"})

    def create(self, request: Request) -> Response:
        body = request.get_json()
        assert (body["endpoint"], body["completion_window"]) == ("/v1/chat/completions", "24h")
        name = f"batch-{len(self.batches)}"
        self.batches[name] = {**body, "id": name, "object": "batch", "status": "in_progress", "polls": 0}
        return self.json(self.batches[name])

    def list(self, request: Request) -> Response:
        return self.json({"object": "list", "data": list(self.batches.values()), "has_more": False})

    def retrieve(self, request: Request) -> Response:
        batch = self.batches.get(request.path.rpartition("/")[2])
        if batch is None:
            return Response("{}", 404, content_type="application/json")
        batch["polls"] += 1
        if batch["polls"] > self.polls_before_end and batch["status"] == "in_progress":
            batch["status"] = self.fate(int(batch["id"].split("-")[1]))
            self._work(batch)
        return self.json(batch)

    def _work(self, batch: dict[str, Any]) -> None:
        good_lines, bad_lines = [], []
        for text in self.files[batch["input_file_id"]].splitlines():
            line = json.loads(text)
            assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
            self.asked.append(line["custom_id"])
            said = self.reply(line["body"])
            if isinstance(said, int):
                response = {"status_code": said, "body": {"error": {"message": self.words}}}
                bad_lines.append({"custom_id": line["custom_id"], "response": response, "error": None})
            elif batch["status"] == "completed" or len(good_lines) < 2:  # what expires has done a part
                response = {"status_code": 200, "body": loopback.answer(line["body"], said, self.tokens)}
                good_lines.append({"custom_id": line["custom_id"], "response": response, "error": None})
        if batch["status"] == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "limit", "message": "too many tokens"}]}
            return
        for kind, lines in {"output": good_lines[::-1], "error": bad_lines}.items():
            if lines:
                name = f"{kind}-{batch['id']}"
                self.files[name] = "\n".join(json.dumps(line, ensure_ascii=self.is_ascii) for line in lines) + "\n"
                batch[f"{kind}_file_id"] = name

    def content(self, request: Request) -> Response:
        name = request.path.split("/")[3]
        if name not in self.files:
            return Response("{}", 404, content_type="application/json")
        return Response(self.files[name], content_type="application/octet-stream")


@pytest.fixture
def shop(httpserver: HTTPServer) -> Shop:
    return Shop(httpserver)
