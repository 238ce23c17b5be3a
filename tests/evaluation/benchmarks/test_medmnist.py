"""MedMNIST: only the file that was published, and only arrays of its form."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import build_example

from umed.errors import InputError
from umed.evaluation.benchmarks.medmnist import MedMnist


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    benchmark, _ = build_example("medmnist", tmp_path, checksums=None)
    with pytest.raises(
        InputError, match=r"dermamnist.npz: MD5 is \w{32}, 0744692d530f8e62ec473284d019b0c7 is published"
    ):
        benchmark.questions()
    with pytest.raises(InputError, match="MD5 is"):
        _ = benchmark.splits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_labels": np.array([[7]] * 3, np.uint8)}, "labels 7 to 7: 0 to 6 are expected"),
        ({"test_labels": np.zeros((2, 1), np.uint8)}, r"labels \(2, 1\) of 3 pictures"),
        ({"test_images": np.zeros((3, 28, 28), np.float32)}, "pictures are float32"),
        (
            {"test_images": np.zeros((3, 64, 64), np.uint8)},
            r"are uint8 \(3, 64, 64\): uint8 \(N, 28, 28, 3\) is",
        ),
        ({"test_images": np.zeros((3, 28, 28), np.uint8)}, r"pictures are uint8 \(3, 28, 28\)"),
        ({"test_images": None}, "no readable test part"),
        ({"test_labels": np.array([{}] * 3)}, "no readable test part"),  # pickled: never loaded
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    _, example = build_example("medmnist", tmp_path)
    path = tmp_path / "dermamnist.npz"
    with np.load(path) as file:
        arrays = {**file, **change}
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    checksums = {**dict(example.options)["checksums"], "derma": hashlib.md5(path.read_bytes()).hexdigest()}
    benchmark = MedMnist(str(tmp_path), checksums=checksums)
    with pytest.raises(InputError, match=message):
        benchmark.questions()


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    benchmark, _ = build_example("medmnist", tmp_path)
    (tmp_path / "breastmnist.npz").unlink()
    with pytest.raises(InputError, match="no file .*breastmnist.npz: download it"):
        benchmark.questions()


def test_an_npz_that_is_damaged_inside(tmp_path: Path) -> None:
    build_example("medmnist", tmp_path)
    path = tmp_path / "breastmnist.npz"
    for content in (_broken(path.read_bytes()), b"\x93NUMPY\x01\x00" + b"v\x00" + b" " * 118):
        path.write_bytes(content)
        digest = hashlib.md5(content).hexdigest()
        with pytest.raises(InputError, match="no readable test part"):
            MedMnist(str(tmp_path), sets=["breast"], checksums={"breast": digest}).questions()


def _broken(content: bytes) -> bytes:
    """A zip whose test labels do not unpack."""
    place = content.index(b"test_labels") + 60
    return content[:place] + bytes(255 - byte for byte in content[place : place + 20]) + content[place + 20 :]
