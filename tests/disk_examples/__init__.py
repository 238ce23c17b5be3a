"""Tiny SYNTHETIC data sets on disk in the format of each source and benchmark; contract tests read them back."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def example_of(target: Any) -> Callable[[Path], Any]:
    """What writes an example for a source's or benchmark's class to a folder: its own `example`, or this package's."""
    if hasattr(target, "example"):
        return target.example
    kind, name = target.__module__.split(".")[-2:]
    return import_module(f"disk_examples.{kind}.{name}").write_example
