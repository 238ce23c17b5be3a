"""VQA-RAD: the JSON and pictures of OSF node 89kps, or a hub form; the official test is 451 questions."""

from collections.abc import Mapping
from pathlib import Path

from umed.evaluation.benchmarks.base import placed
from umed.evaluation.benchmarks.short_answers import Rows, ShortAnswers, ShortAnswerScorer, json_rows
from umed.evaluation.scorer import Scorer

FILES = ("VQA_RAD Dataset Public.json", "VQA_RAD_Dataset_Public.json")
FOLDERS = ("VQA_RAD Image Folder", "VQA_RAD_Image_Folder")
TEST = ("test_freeform", "test_para")


class VqaRad(ShortAnswers):
    """Questions about radiology pictures; see `ShortAnswers`.

    By `answer_type` 272 of the 451 test questions are closed, by `yes_no` 251. Test pictures are shared with training:
    the official split is by question.
    """

    name = "vqa_rad"
    scorers: Mapping[str, Scorer] = {"vqa_rad": ShortAnswerScorer("VQA-RAD")}
    kept = ("phrase_type", "image_organ", "question_type", "qid_linked_id", "image_name")

    def __init__(
        self, root: str | None = None, hub: str | None = None, closed_by: str = "answer_type", dataset: str = "vqa_rad"
    ) -> None:
        super().__init__(root, hub, closed_by, dataset)

    def local(self, root: Path, part: str) -> tuple[Path, str, Rows, list[str | None]]:
        """The rows of one file whose `phrase_type` is, or is not, one of the test."""
        path = next((root / name for name in FILES if (root / name).is_file()), root / FILES[0])
        sha256, rows = json_rows(path, "the questions of VQA-RAD")
        folder = next((name for name in FOLDERS if (root / name).is_dir()), FOLDERS[0])
        own = [row for row in rows if (str(row.get("phrase_type")).strip() in TEST) == (part == "test")]
        return path, sha256, own, [placed(folder, row.get("image_name")) for row in own]
