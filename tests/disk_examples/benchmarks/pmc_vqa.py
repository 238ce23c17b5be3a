"""A SYNTHETIC PMC-VQA of a few rows; the first is a row of the release."""

from pathlib import Path

from PIL import Image

from umed.evaluation.benchmarks.base import Example
from umed.synthetic.benchmark_formats import PMC_V1, PMC_V2, write_pmc_vqa

FIRST = (
    "PMC1064097_F1.jpg", "What is the uptake pattern in the breast? ", " Focal uptake pattern ",
    " A:Diffuse uptake pattern ", " B:Focal uptake pattern ", " C:No uptake pattern ",
    " D:Cannot determine from the information given ", "B",
)  # fmt: skip


def write_example(root: Path) -> Example:
    """Write version 1 with `test_clean.csv`, `test.csv` (`Anwser`) and `train.csv`, and a `test_2.csv` of version 2.

    Both versions have a picture of the same name, each in its own folder.
    """
    clean = [
        FIRST,
        ("b.jpg", 'What, "exactly",\nis shown?', "C: difficile", " A:x", " B: B: y", " C:C: difficile", " D:z", " c "),
        ("c.jpg", "What is it?", "a cyst", " A:a cyst", " B:a mass", " C:a stone", " D:none", "A"),
        ("b.jpg", "Which?", "x", " A:x", " B:y", " C:z", " D:w", "E"),
        ("b.jpg", "Which one?", "w", " A:x", " B:y", " C:z", " D:w", "D"),
    ]
    picture = Image.new("RGB", (64, 48), (90, 40, 40))
    pictures = {"PMC1064097_F1.jpg": picture, "b.jpg": Image.new("RGB", (30, 60), (10, 200, 40)), "c.jpg": picture}
    write_pmc_vqa(root, "test_clean.csv", PMC_V1, clean, pictures)
    misspelt = [name.replace("Answer", "Anwser") if name == "Answer" else name for name in PMC_V1]
    write_pmc_vqa(root, "test.csv", misspelt, clean[:2], {})
    write_pmc_vqa(root, "train.csv", PMC_V1, [("t.jpg", *FIRST[1:])], {"t.jpg": picture})
    second = [("7", "b.jpg", "A caption, long", "Which?", " A: x", " B: y", " C: z", " D: w", "C", "test")]
    write_pmc_vqa(root, "test_2.csv", PMC_V2, second, {"b.jpg": Image.new("RGB", (50, 40), (0, 0, 99))})
    items = {"1": ("B", "Focal uptake pattern"), "2": ("C", "C: difficile"), "3": ("A", "a cyst"), "5": ("D", "w")}
    found: dict[str, tuple[str, str]] = {}
    for row, (letter, text) in items.items():
        found |= {f"test_clean/{row}/choice": ("choice", letter), f"test_clean/{row}/blank": ("blank", text)}
    return Example(items=found, train=2, lost=1)
