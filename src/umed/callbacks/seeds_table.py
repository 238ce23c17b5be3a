"""After a multirun: the table of its members, means and paired differences with bootstrap intervals, and a figure.

`python -m umed.callbacks.seeds_table FOLDER` makes the default table of run folders that lie in FOLDER already.
"""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from umed.errors import InputError


class SeedsTable(Callback):
    """Hydra callback: reads the finished members of a sweep, prints their table, writes `file` beside them.

    Args:
        layout: fields of `umed.evaluation.seeds.Layout`, which says what they are.
    """

    def __init__(self, file: str = "seeds.json", **layout: Any) -> None:
        self.file, self.layout = file, layout

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        # takes long to import, and Hydra imports this file first
        from umed.evaluation.seeds import Layout, report_seeds

        plain: Any = OmegaConf.to_container(OmegaConf.create(self.layout))
        try:
            report_seeds(Path(config.hydra.sweep.dir), self.file, Layout(**plain))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    from umed.evaluation.seeds import report_seeds

    report_seeds(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
