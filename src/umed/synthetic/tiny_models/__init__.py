"""Tiny random models of every family, written to a folder offline: parity checks and tests load them."""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from umed.models import backbones
from umed.models.backbone import Backbone


class WriteTiny(Protocol):
    def __call__(self, folder: str | Path, corpus: Iterable[str]) -> None:
        """Write model, tokenizer and image processor to a folder; the corpus decides the vocabulary."""


def family_names() -> list[str]:
    """The families: every file of `models/backbones` that has a `BACKBONE`."""
    files = sorted(p.stem for p in Path(backbones.__path__[0]).glob("*.py"))
    return [n for n in files if hasattr(import_module(f"umed.models.backbones.{n}"), "BACKBONE")]


def backbone_of(family: str) -> Backbone:
    return import_module(f"umed.models.backbones.{family}").BACKBONE


def write_tiny_of(family: str) -> WriteTiny:
    """`write_tiny` of a family: this room's file of the same name, else the family's own module."""
    name = f"{__name__}.{family}"
    return import_module(name if find_spec(name) else f"umed.models.backbones.{family}").write_tiny
