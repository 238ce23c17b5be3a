"""One process of a stage that several compute: `python -m umed.worker RUN STAGE`, also under torchrun and srun."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from umed import config
from umed.errors import InputError
from umed.launch import LOST, end_with_parent, report
from umed.orders import read_order
from umed.processes import find_processes, is_lost, leave
from umed.tasks import plain, quiet


def work(run: Path, stage: str) -> None:
    """Do this process's part of what the run has prepared.

    Raises:
        InputError: nothing is prepared; or see `train_stage` and `evaluate_stage`.
    """
    cfg, kind, settings, data = read_order(run, stage)
    from umed.evaluating import answer_together  # imports torch and Lightning, once it is known what for
    from umed.training import train_together

    kinds: dict[str, Any] = {"train": train_together, "evaluate": answer_together}
    quiet()
    kinds[kind](cfg, data, **settings)


def main(arguments: list[str]) -> None:
    """Errors are told in one line, to the process that has started this one, and the exit code is 1."""
    config.register()
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        if len(arguments) != 2:
            raise InputError("usage: python -m umed.worker RUN_DIR STAGE")
        work(Path(arguments[0]), arguments[1])
        leave()
    except Exception as error:
        line, here = plain(error), find_processes()
        if line is None and here.count > 1 and is_lost(error):
            os._exit(LOST)  # without a word: what happened to the other one is told
        if line is None:
            raise
        report(here.rank, line)
        sys.stderr.flush()
        os._exit(1)  # at once: a normal end would wait for the other processes


if __name__ == "__main__":
    main(sys.argv[1:])
