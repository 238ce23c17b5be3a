"""Compose the config, run its task. `python run.py --help` explains both."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    from umed.tasks import run

    return run(cfg)


if __name__ == "__main__":
    main()
