"""Registers the resolvers `${umed.*}` wherever Hydra starts, also in the fresh interpreter of a launcher."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from umed.config import register

register()


class UmedResolvers(SearchPathPlugin):
    """Hydra imports this module because of this class; the search path stays as it is."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        pass
