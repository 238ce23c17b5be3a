"""Names for folders, W&B groups and tags made from what a user typed: short, and no two texts share one."""

import hashlib
import re

LONGEST = 128  # a file system takes 255 bytes, W&B 128 characters
_WORD = r"[a-z0-9_.]*[a-z0-9_]"
# lists of up to three words and paths of four or more: the number of parts tells which of the two was meant
_VALUE = rf"{_WORD}|\d[\d.]*e-\d+|\[{_WORD}(?:,{_WORD}){{1,2}}\]|{_WORD}(?:/{_WORD}){{3,}}"
_OVERRIDE = rf"[a-z_][a-z0-9_./]*=(?:{_VALUE})"
_CLEAR = re.compile(rf"{_OVERRIDE}(?:,{_OVERRIDE})*")


def make_folder_name(text: object) -> str:
    """One folder that can be named without quotes: never a path, at most `LONGEST` bytes."""
    name = re.sub(r"[^\w.-]+", "-", str(text)).strip("-.")
    return name.encode()[:LONGEST].decode(errors="ignore")


def make_sweep_name(overrides: str) -> str:
    """The folder of a sweep's job, from `hydra.job.override_dirname`, and the same whenever that is the same.

    A hash of all overrides follows where the name is cut, or where other overrides would read the same.
    """
    name = make_folder_name(overrides)
    clear = _CLEAR.fullmatch(overrides) and len(overrides) <= LONGEST
    return name if clear or not overrides else _with_hash(name, overrides, LONGEST)


def shorten(text: str, longest: int = LONGEST) -> str:
    """The text, where it is too long its beginning and a hash of all of it."""
    return text if len(text) <= longest else _with_hash(text, text, longest)


def _with_hash(name: str, text: str, longest: int) -> str:
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:10]
    kept = name.encode()[: longest - len(digest) - 1].decode(errors="ignore").strip("-.")
    return f"{kept}-{digest}".lstrip("-")


def is_training(target: str) -> bool:
    """Whether the task of this `_target_` trains, so that its run folder is resumed and never shared."""
    return target.rsplit(".", 1)[-1] in ("pipeline", "train", "pretrain")
