"""README and docs: commands compose, settings and choices exist, links lead somewhere, the language is plain."""

import re
import shlex

import pytest
import yaml
from composed import CONF, composed
from omegaconf import DictConfig, OmegaConf
from pages import FENCE, PAGES, ROOT, fences
from PIL import Image

NOTEBOOKS = "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("notebooks/*.ipynb")))

MADE_UP = ("NAME", "timer")  # names of files in the examples

# What a page never says: paths of one machine, words about how the project is made, spellings that are not American.
FORBIDDEN = re.compile(
    r"/work\b|/tmp\b|/home/|\bsessions?\b|\bissue #?\d|\bworkplace\b|\bTODO\b|measured before"
    r"|\b(?:design|contract)\.md\b|\bexams?\b|\bsaid\b|\btold\b"
    r"|licence|colour|behaviour|neighbour|\bcentre|\bgrey\b|labelled|modelling"
    r"|(?:normal|optim|maxim|minim|recogn|organ|summar|initial|visual)is(?:e|ed|es|ing|ation)\b",
    re.IGNORECASE,
)

_CODE = re.compile(r"`([^`\n]+)`")
_SETTING = re.compile(r"^\+?([a-z_]+(?:[./][A-Za-z_0-9]+)*)(?:=(.*))?$")


def commands(page: str) -> list[str]:
    """The arguments of every `python run.py`, in fenced code and in running text."""
    joined = page.replace("\\\n", " ")
    return re.findall(r"^(?:\w+=\S+ )*python run\.py\b(.*)$", joined, re.MULTILINE) + re.findall(
        r"`(?:\w+=\S+ )*python run\.py\b([^`\n]*)`", joined
    )


def overrides(command: str) -> list[str]:
    """The overrides of one job: of a sweep, its first value."""
    words = [w for w in shlex.split(command, comments=True) if w not in ("-m", "--help", "--cfg", "job")]
    first = [w if "=[" in w else re.sub(r"=([^=,]*),.*", r"=\1", w) for w in words]
    return [re.sub(r"=(\[[^\]]*\]),\[.*", r"=\1", w) for w in first if not w.startswith("hydra.")]


def code(page: str) -> str:
    """Everything that is set as code, one piece a line."""
    return "\n".join([*(text for _, text in FENCE.findall(page)), *_CODE.findall(FENCE.sub("", page))])


COMMANDS = list(dict.fromkeys(shlex.join(overrides(c)) for page in PAGES.values() for c in commands(page)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str) -> None:
    composed(*shlex.split(command))


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 30 and all(commands(page) for page in PAGES.values())


@pytest.fixture(scope="module")
def whole() -> DictConfig:
    """The default with every source, benchmark and reward."""
    several = {g: ",".join(choices(g)) for g in ("data/source", "data/benchmark", "reward")}
    return composed(*(f"{group}=[{names}]" for group, names in several.items()))


def choices(group: str) -> list[str]:
    """What a reader can choose in a group."""
    return [p.stem for p in sorted((CONF / group).glob("*.yaml")) if p.stem != "base"]


def knows(whole: DictConfig, setting: str) -> bool:
    """Whether some composition has the setting `a.b.c`: the default one, or one with another yaml of group a."""
    if OmegaConf.select(whole, setting, default=...) is not ...:
        return True
    group, _, rest = setting.partition(".")
    files = [yaml.safe_load(p.read_text(encoding="utf-8")) or {} for p in (CONF / group).glob("*.yaml")]
    return any(OmegaConf.select(OmegaConf.create(f), rest, default=...) is not ... for f in files)


def unknown(whole: DictConfig, text: str) -> str | None:
    """What a piece of code names that conf/ does not have; pieces that are no setting name nothing."""
    found = _SETTING.match(text.strip("'"))
    if not found or text.startswith("+"):
        return None
    name, value = found.groups()
    if (CONF / name).is_dir() and value is not None:
        names = [v for v in re.split(r"[\[\],]+", value) if v]
        wrong = [v for v in names if v.isidentifier() and v.islower() and v not in (*choices(name), *MADE_UP)]
        return f"{name}={wrong[0]}" if wrong else None
    is_file = name.rpartition(".")[2] in ("json", "jsonl", "yaml", "md", "png", "sqlite", "csv")
    is_setting = name.split(".")[0] in whole and "." in name and "/" not in name and not is_file
    return name if is_setting and not knows(whole, name) else None


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_and_choice_exists(page: str, whole: DictConfig) -> None:
    pieces = [word for piece in _CODE.findall(FENCE.sub("", PAGES[page])) for word in piece.split()]
    assert not sorted({wrong for piece in pieces if (wrong := unknown(whole, piece))})


def test_planted_mistakes_are_found(whole: DictConfig) -> None:
    for text in ("credit=gea", "data/source=[folders]", "method.kl.koef=0.05", "objective.clip_epz"):
        assert unknown(whole, text), text
    for text in ("credit=gae", "'data/source=[folder]'", "task.push_to=ORG/NAME", "mau/accuracy", "model=..."):
        assert unknown(whole, text) is None, text


GROUPS = [
    *("task", "method", "credit", "critic", "objective", "reward", "total", "judge", "annotator", "model"),
    *("experiment", "trainer", "debug", "callbacks", "logger", "hparams_search"),
    *("data/source", "data/benchmark", "data/split", "data/protocol", "data/synonyms"),
]


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_is_named(group: str) -> None:
    text = code("\n".join(PAGES.values()))
    assert group in text
    missing = [c for c in choices(group) if not re.search(rf"(?<![\w-]){re.escape(c)}(?![\w-])", text)]
    assert not missing, f"no page names {missing} of {group}"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    folder = ROOT if page == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        assert (folder / path).exists(), target
        if anchor:
            headings = re.findall(
                r"^#+ (.*)$", (folder / path).read_text(encoding="utf-8") if path else PAGES[page], re.M
            )
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, target


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    named = re.findall(r"(?<![\w/])(?:src|conf|tests|notebooks|docs)/[\w./]+", code(PAGES[page]))
    for tree in (text for text in fences(PAGES[page], "") if text.startswith("src/umed/\n")):
        names = " ".join(re.split(r" {3,}", line)[0] for line in tree.splitlines()[1:])
        named += [f"src/umed/{name}" for name in names.split()]
    gone = [n for n in named if not (ROOT / n.rstrip(".")).exists()]
    assert [n for n in gone if not any(name in n for name in MADE_UP)] == []


def test_the_readme_is_short_and_shows_a_small_picture() -> None:
    lines = PAGES["README.md"].splitlines()
    assert len(lines) <= 150
    pictures = [m for line in lines[:30] for m in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", line)]
    assert pictures, "no picture on the first screen"
    for path in (ROOT / "docs" / "images").iterdir():
        assert path.stat().st_size < 300_000
        with Image.open(path) as image:
            image.verify()
    assert "SYNTHETIC" in PAGES["README.md"]


@pytest.mark.parametrize("page", [*PAGES, "notebooks", "CITATION.cff"])
def test_the_language_is_plain(page: str) -> None:
    text = PAGES.get(page) or {"notebooks": NOTEBOOKS}.get(page) or (ROOT / page).read_text(encoding="utf-8")
    assert not [found.group() for found in FORBIDDEN.finditer(text)]


def test_every_reading_that_code_cites_is_listed() -> None:
    files = [*CONF.rglob("*.yaml"), *(ROOT / "src").rglob("*.py")]
    cited = {r for path in files for r in re.findall(r"\bR\d+b?\b", path.read_text(encoding="utf-8"))}
    assert cited and cited <= set(re.findall(r"^\| (R\d+b?) \|", PAGES["method.md"], re.MULTILINE))


def test_the_citation_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    [paper] = citation["references"]
    assert "Abnormal-Aware Feedback" in paper["title"] and paper["year"] == 2025
