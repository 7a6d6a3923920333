"""Values of the command line as they were typed: Snakemake reads `--config rec=01` as a number, and ends a folder's name at its ` #`."""

from collections.abc import Collection, Iterable, MutableMapping
from typing import Any


def keep_typed(pairs: Iterable[str], keys: Collection[str], config: MutableMapping[str, Any], settings: Any) -> None:
    """Put values back as they were typed, for this process and for those that it starts.

    Args:
        pairs: What was given to `--config`, `key=value` each.
        keys: The keys whose values are text.
        config: The configuration as it was read.
        settings: Snakemake's `ConfigSettings`: `overwrite_config` goes over what files say, `config_args` to other processes.
    """
    typed = {key: value for key, _, value in (pair.partition("=") for pair in pairs) if key in keys}
    if typed:
        config.update(typed)
        settings.overwrite_config = {**settings.overwrite_config, **typed}
        quoted = {key: "'" + value.replace("'", "''") + "'" for key, value in typed.items()}
        others = [pair for pair in settings.config_args if pair.partition("=")[0] not in typed]
        settings.config_args = [*others, *(f"{key}={value}" for key, value in quoted.items())]
