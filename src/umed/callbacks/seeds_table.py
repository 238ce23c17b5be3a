"""After a multirun over seeds: stage means and paired gains with bootstrap intervals.

`python -m umed.callbacks.seeds_table FOLDER` makes the same of run folders that lie in FOLDER already.
"""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SeedsTable(Callback):
    """Hydra callback: reads the finished run folders of a sweep, prints the table, writes `file` beside them."""

    def __init__(self, file: str = "seeds.json") -> None:
        self.file = file

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from umed.evaluation.seeds import report_seeds  # takes long to import, and Hydra imports this file first

        report_seeds(Path(config.hydra.sweep.dir), self.file)


if __name__ == "__main__":
    from umed.evaluation.seeds import report_seeds

    report_seeds(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
