"""Imports only go left: the order of the rooms, read from the syntax trees."""

import ast
from pathlib import Path

import umed

PACKAGE = Path(umed.__file__).parent
LAYERS = (
    {"errors", "names", "boxes", "config", "paper_data", "sweeps", "dicom", "thoughts"},
    {"run_files", "processes"},
    {"records", "chat"},
    {"rollout", "pictures", "figures"},
    {"llm", "data", "models", "evaluation.rules"},
    {"annotate", "judges", "rewards", "engine"},
    {"methods"},
    {"evaluation", "metrics"},
    {"callbacks", "analysis", "comparisons", "dashboard", "training", "training_data", "launch", "orders"}
    | {"sft_continued"},
    {"evaluating"},
    {"synthetic"},
    {"bench"},
    {"tasks"},
    {"worker"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
APART = {frozenset({"data", "models"})}  # the config hands both the same light processor
FORBIDDEN = {"torchvision", "pickle", "requests"}


def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            # `from umed import records` names a room, `from umed.records import Record` does not
            bare = node.module == "umed"
            found |= {f"umed.{alias.name}" for alias in node.names} if bare else {str(node.module)}
    return found


def room_of(name: str) -> str:
    """The room of a dotted name below `umed`; the rules are pure functions that lower rooms use too."""
    return "evaluation.rules" if name.startswith("evaluation.rules") else name.split(".")[0]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if name_of(p) != "__init__"]


def test_every_room_has_its_place() -> None:
    assert FILES
    assert {room_of(name_of(p)) for p in FILES} <= set(LEVEL), "give a new room its place in LAYERS"


def test_imports_only_go_left() -> None:
    wrong = []
    for path in FILES:
        here = room_of(name_of(path))
        for name in imports(path):
            if name.split(".")[0] != "umed" or name == "umed":
                continue
            there = room_of(name.removeprefix("umed."))
            if LEVEL[there] > LEVEL[here] or frozenset({here, there}) in APART:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_a_backbone_does_not_know_its_policy() -> None:
    """A family's module is chosen by the config; the shared files never import one."""
    models = PACKAGE / "models"
    shared = [p for p in models.glob("*.py")]
    assert not [p for p in shared if any(name.startswith("umed.models.backbones") for name in imports(p))]


def test_rewards_never_see_the_policy() -> None:
    rewards = PACKAGE / "rewards"
    assert not [p for p in rewards.glob("*.py") if any(name.startswith("umed.models") for name in imports(p))]


def test_nothing_forbidden_is_imported() -> None:
    assert not [(p, name) for p in FILES for name in imports(p) if name.split(".")[0] in FORBIDDEN]


def test_a_task_is_one_file_and_one_yaml() -> None:
    yamls = {p.stem for p in (PACKAGE.parents[1] / "conf" / "task").glob("*.yaml")}
    assert {p.stem for p in (PACKAGE / "tasks").glob("*.py")} - {"__init__"} == yamls


def test_files_are_short_enough_to_read() -> None:
    lengths = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert not {name: length for name, length in lengths.items() if length > 250}
