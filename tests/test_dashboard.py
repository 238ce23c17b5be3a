"""The page of a run's curves, in the sections and the order of W&B."""

from pathlib import Path

import pytest

from umed import dashboard
from umed.errors import InputError


def test_the_page_has_the_sections_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "logs" / "aar"
    logs.mkdir(parents=True)
    (logs / "metrics.csv").write_text(
        "aar/iteration,time/sample,reward/total,val/mau/iou/avg,own/thing\n0,1.5,0.25,,2\n1,1.0,0.75,,nan\n,,,0.5,\n"
    )
    (tmp_path / "metrics.json").write_text('{"aar/mau/iou/avg": 0.5, "aar/mau/iou/n": 3}')
    dashboard.main([str(tmp_path)])
    page = (tmp_path / "dashboard.html").read_text()
    places = [page.index(text) for text in ("reward/total", "val/mau/iou/avg", "time/sample", "own/thing")]
    assert places == sorted(places) and "aar/iteration" not in page and "aar/mau/iou/n" not in page
    assert "reward/total: 0.25 to 0.75" in page and "<td>aar/mau/iou/avg</td><td>0.500</td>" in page
    assert "dashboard.html" in capsys.readouterr().out


def test_a_folder_without_logs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        dashboard.main([str(tmp_path)])
    assert "no logs/<stage>/metrics.csv" in capsys.readouterr().err
    with pytest.raises(InputError, match="no logs"):
        dashboard.read_curves(tmp_path)
