"""Compose the config, run its task. `python run.py --help` explains both."""

import hydra
from omegaconf import DictConfig

from umed import config

config.register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    from umed.tasks import run

    run(cfg)


if __name__ == "__main__":
    main()
