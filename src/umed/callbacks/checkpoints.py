"""Checkpoints that a full disk or a kill cannot damage."""

import errno
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io.wrapper import _WrappingCheckpointIO

from umed.errors import InputError
from umed.models.weights import first_line


class AtomicCheckpointIO(_WrappingCheckpointIO):
    """Writes beside the target and renames: a checkpoint is whole or absent."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        half = target.with_name(target.name + ".part")
        try:
            super().save_checkpoint(checkpoint, half, storage_options)
            half.replace(target)
        except OSError as error:
            half.unlink(missing_ok=True)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(
                f"{target}: no room on the disk for a checkpoint; the one before is kept. Free some space, then "
                "continue with resume=RUN_DIR"
            ) from None

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return super().load_checkpoint(path, *args, **kwargs)
        except Exception as error:  # of a damaged file torch raises whatever it stumbles on
            raise InputError(
                f"{path}: not readable as a checkpoint ({first_line(error)}): remove it, then resume=RUN_DIR continues "
                "from the one before, or begins the stage anew"
            ) from error


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to continue from, of `callbacks.checkpoint`; None when the stage has not begun.

    Others, such as the best by a metric, lie in folders of their own and are not looked at.
    """
    return max(folder.glob("*.ckpt"), default=None)
