"""Files of features: the same bits, within the bound, and never a reason to stop."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from umed.models.feature_files import FeatureFiles
from umed.models.features import PictureFeatures

MB = 2**20
Lines = Callable[[], list[str]]


def key(number: int) -> str:
    return f"{number:032x}"


def features_of(number: float, dtype: torch.dtype = torch.float32, listed: bool = True) -> PictureFeatures:
    torch.manual_seed(int(number))
    tokens, *layers = (torch.randn(8, 64).to(dtype) for _ in range(3))
    return PictureFeatures(tokens, tuple(layers), listed)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    return lambda: [line for line in capsys.readouterr().err.splitlines() if line.strip()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("listed", [True, False])
def test_the_same_bits_come_back(tmp_path: Path, dtype: torch.dtype, listed: bool, lines: Lines) -> None:
    one = features_of(1, dtype, listed)
    FeatureFiles(tmp_path, MB).write(key(1), one)
    two = FeatureFiles(tmp_path, MB).read(key(1))
    assert two is not None and two.is_listed == listed and len(two.layers) == 2
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one.tensors, two.tensors, strict=True))
    assert FeatureFiles(tmp_path, MB).read(key(2)) is None and not lines()


def test_the_bound_holds_and_what_is_used_stays(tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path, 100_000)  # a file is 6.6 kB
    (tmp_path / "notes.txt").write_text("not ours")
    for number in range(60):
        files.write(key(number), features_of(number))
        os.utime(tmp_path / f"{key(number)}.safetensors", ns=(number + 1, number + 1))
        assert files.read(key(0)) is not None, "used all the time"
        assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 100_000 + 8
    kept = [n for n in range(60) if files.read(key(n)) is not None]
    assert len(kept) >= 10 and kept == [0, *range(60 - len(kept) + 1, 60)]
    assert (tmp_path / "notes.txt").is_file()


def test_what_an_earlier_process_left_counts(tmp_path: Path) -> None:
    for number in range(10):
        FeatureFiles(tmp_path, MB).write(key(number), features_of(number))
    (tmp_path / f"{key(99)}.safetensors.123.part").write_bytes(bytes(1000))  # of a process that was killed
    os.utime(tmp_path / f"{key(99)}.safetensors.123.part", ns=(1, 1))
    FeatureFiles(tmp_path, 56_000).write(key(10), features_of(10))
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 56_000
    assert f"{key(10)}.safetensors" in names(tmp_path) and not [n for n in names(tmp_path) if n.endswith(".part")]


def test_a_picture_too_large_for_the_bound_is_left_out(tmp_path: Path) -> None:
    FeatureFiles(tmp_path, 1000).write(key(1), features_of(1))
    assert not names(tmp_path)


def test_a_bound_too_small_for_any_picture_is_said_once(tmp_path: Path, lines: Lines) -> None:
    files = FeatureFiles(tmp_path, 64)
    for number in range(3):
        files.write(key(number), features_of(number))
    (line,) = lines()
    assert "none of them is kept on the disk: set engine.features.disk_mb" in line and not list(tmp_path.iterdir())


def test_a_full_disk_costs_one_line_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    files = FeatureFiles(tmp_path, MB)
    files.write(key(1), features_of(1))
    write = Path.write_bytes

    def fill(path: Path, data: bytes) -> Any:
        write(path, data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fill)
    for number in range(2, 6):
        files.write(key(number), features_of(number))
    assert names(tmp_path) == [f"{key(1)}.safetensors"]
    (line,) = lines()
    assert line.startswith(f"engine.features: {tmp_path} cannot be written (No space left on device)")
    assert files.read(key(1)) is not None


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path, lines: Lines) -> None:
    (tmp_path / "file").write_text("")
    files = FeatureFiles(tmp_path / "file" / "features", MB)
    for number in range(3):
        assert files.read(key(number)) is None
        files.write(key(number), features_of(number))
    assert len(lines()) == 1


def cut(data: bytes) -> bytes:
    return data[:-7]


def turn_a_bit(data: bytes) -> bytes:
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


def other_tensors(data: bytes) -> bytes:
    return data.replace(b'"is_listed"', b'"is_lister"')


@pytest.mark.parametrize("spoil", [cut, turn_a_bit, other_tensors, lambda data: b"", lambda data: b"{}" * 40])
def test_a_spoiled_file_is_as_none_and_is_written_again(
    tmp_path: Path, lines: Lines, spoil: Callable[[bytes], bytes]
) -> None:
    files = FeatureFiles(tmp_path, MB)
    for number in (1, 2):
        files.write(key(number), features_of(number))
        path = tmp_path / f"{key(number)}.safetensors"
        assert spoil(path.read_bytes()) != path.read_bytes()
        path.write_bytes(spoil(path.read_bytes()))
        assert files.read(key(number)) is None and not path.exists()
    (line,) = lines()  # said once
    assert line.startswith(f"engine.features: {tmp_path / key(1)}.safetensors is not readable (")
    files.write(key(1), features_of(1))
    assert files.read(key(1)) is not None
