"""What a stranger adds is one file and one yaml: tried literally on a copy, where the contract tests find each."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FILES = {
    "src/umed/evaluation/benchmarks/ward.py": '''
"""Yes and no about the pictures of a ward."""

import csv
from pathlib import Path

from PIL import Image

from umed.evaluation.benchmarks.base import Benchmark, Example, Split
from umed.evaluation.question import Question
from umed.evaluation.scorer import DEFAULTS, Column, Scorer


class FirstWord(Scorer):
    answer_types = ("closed",)
    rules = ("first_word",)
    columns = (Column("closed", "Ward", "first_word"),)

    def judge(self, predictions, options=DEFAULTS):
        return [{"first_word": p.output.lower().split()[:1] == [p.question.gold.lower()]} for p in predictions]

    def chance(self, answer_types):
        return {"first_word": 0.5}


class Ward(Benchmark):
    scorers = {"ward": FirstWord()}
    splits = {"ward": Split("ward.csv", "0" * 64, "ward")}

    def __init__(self, root):
        self.root = Path(root)

    def questions(self):
        with (self.root / "ward.csv").open() as file:
            rows = list(csv.DictReader(file))
        common = {"dataset": "ward", "split_file": "ward.csv", "answer_type": "closed"}
        return [Question(id=r["id"], question=r["q"], answer=r["a"], image=r["image"], **common) for r in rows]

    def picture(self, question):
        return Image.open(self.root / question.image).convert("RGB")

    @staticmethod
    def example(folder):
        Image.new("RGB", (40, 30)).save(folder / "a.png")
        (folder / "ward.csv").write_text("id,q,a,image\\n1,Is it?,yes,a.png\\n2,Is it not?,no,a.png\\n")
        return Example({"1": ("closed", "yes"), "2": ("closed", "no")})
''',
    "conf/data/benchmark/ward.yaml": """
ward:
  _target_: umed.evaluation.benchmarks.ward.Ward
  root: ???
""",
    "src/umed/rewards/short.py": '''
"""Pays for short answers."""

import torch

from umed.rewards.base import Reward


class ShortReward(Reward):
    """1 for less than 1,000 characters; the gold answer only ties."""

    gold_ties = True

    def __call__(self, rollout):
        return torch.tensor([float(len(text) < 1000) for text in rollout.texts])
''',
    "conf/reward/short.yaml": """
# @package reward.parts
short:
  _target_: umed.rewards.short.ShortReward
""",
    "src/umed/methods/credit/plain.py": '''
"""The reward itself as the advantage of every token."""

from umed.methods.credit.base import Credit


class PlainCredit(Credit):
    """No baseline."""

    def assign(self, rollout, reward_B, penalty_BT, spans):
        return reward_B[:, None] - penalty_BT, rollout.values_BT
''',
    "conf/credit/plain.yaml": "_target_: umed.methods.credit.plain.PlainCredit\n",
    "src/umed/models/critics/doubled.py": '''
"""A head on twice the policy's states."""

from umed.models.critics.base import Critic


class DoubledCritic(Critic):
    def states(self, prompts, ids_BT, mask_BT, state_BTH):
        return 2 * state_BTH.detach()
''',
    "conf/critic/doubled.yaml": "_target_: umed.models.critics.doubled.DoubledCritic\n_partial_: true\n",
}
FOUND = (
    "tests/evaluation/benchmarks/test_contract.py",
    "tests/rewards/test_contract.py",
    "tests/methods/credit/test_every_credit.py",
    "tests/models/critics/test_every_critic.py",
)


@pytest.mark.slow
def test_contract_tests_find_what_is_added(tmp_path: Path) -> None:
    for folder in ("src", "conf", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.lstrip(), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *FOUND]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    for name in ("ward", "doubled", "plain"):
        passed = [x for x in done.stdout.splitlines() if re.search(rf"[\[-]{name}[\]-]", x) and "PASSED" in x]
        assert len(passed) >= 3, name


def test_what_is_added_touches_no_other_file() -> None:
    assert not [name for name in FILES if (ROOT / name).exists()]
