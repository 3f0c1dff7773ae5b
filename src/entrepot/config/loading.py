"""Finding and loading the configuration: file, then variables, then defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from entrepot.config.decode import Decoder, all_spelled_out
from entrepot.config.environment import PATH_VARIABLE, overlay
from entrepot.config.errors import ConfigError, Notice, Origin, Problem
from entrepot.config.honoured import not_honoured
from entrepot.config.nodes import MapNode, Node, ScalarNode, parse_yaml, printable
from entrepot.config.rules import broken_rules, without_effect
from entrepot.config.schema import Catalog, Config, Tags
from entrepot.config.schema_storage import DRIVERS, Filesystem

VERSION = "0.1"
DEFAULT_PATHS = (
    Path("/etc/entrepot/config.yml"),
    Path("/etc/distribution/config.yml"),
    Path("/etc/docker/registry/config.yml"),
)
"""Where a configuration is looked for when none is named, the first that exists being used."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, the origin of every key that was given, and what has no effect in it.

    The keys of `origins` are paths such as "http.tls.clientcas[0]"; a path that isn't there has
    its default. `path` is the file, None if there was none.
    """

    config: Config
    origins: Mapping[str, Origin]
    notices: tuple[Notice, ...]
    path: Path | None = None


def resolve_path(argument: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to load: the argument, $REGISTRY_CONFIGURATION_PATH, or the first default path
    that exists; None for the built-in defaults."""
    if argument is not None:
        return argument
    if environ.get(PATH_VARIABLE):
        return Path(environ[PATH_VARIABLE])
    return next((path for path in DEFAULT_PATHS if path.exists()), None)


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """The configuration in the file at `path` (None: no file), changed by REGISTRY_* variables.

    Raises ConfigError with everything that is wrong, each with its file and line or variable.
    """
    problems: list[Problem] = []
    root: Node = MapNode(Origin())
    if path is not None:
        root = _read(path, problems)
    overlaid = overlay(root, environ, schema=Config)
    root = all_spelled_out(overlaid.root, Config)
    decoder = Decoder(Config)
    config = decoder.section(root, Config, path="")
    refused, notices = not_honoured(root)
    problems += [*overlaid.problems, *decoder.problems, *refused]
    config = _completed(config, decoder.origins)
    problems += broken_rules(config, decoder.origins)
    if problems:
        raise ConfigError(_in_order(problems))
    notices += [*decoder.notices, *without_effect(config, decoder.origins)]
    notices.sort(key=lambda notice: notice.origin.line)
    notices = [*overlaid.notices, *notices]
    return Loaded(config, decoder.origins, tuple(notices), path)


def _read(path: Path, problems: list[Problem]) -> Node:
    # Whole, however long: it is what the user has to open.
    name = str(path) if str(path).isprintable() else repr(str(path))

    def locate(line: int) -> Origin:
        return Origin(file=name, line=line)

    nothing = MapNode(locate(1))
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([Problem(f"{name}: can't be read: {reason}")]) from error
    before = len(problems)
    root = parse_yaml(content, locate=locate, problems=problems)
    if len(problems) > before and not isinstance(root, MapNode):
        return nothing
    version = root.entries.get("version") if isinstance(root, MapNode) else None
    text = version.text if isinstance(version, ScalarNode) else ""
    if text != VERSION:
        where = version.origin if version is not None else locate(1)
        message = f'unsupported version: "{printable(text) if text else ""}", expected "{VERSION}"'
        problems.append(Problem(f"version: {message}", where))
    return root


def _completed(config: Config, origins: dict[str, Origin]) -> Config:
    """With what registry:2 fills in: a driver, the old name of the log level, page sizes."""
    replace = msgspec.structs.replace
    storage, log = config.storage, config.log
    if config.loglevel is not None and "log.level" not in origins:
        log = replace(log, level=config.loglevel)
        origins["log.level"] = origins["loglevel"]
    if all(getattr(storage, name) is None for name in DRIVERS):
        storage = replace(storage, filesystem=Filesystem())
    return replace(
        config,
        storage=storage,
        log=log,
        loglevel=None,
        catalog=config.catalog if config.catalog.maxentries > 0 else Catalog(),
        tags=config.tags if config.tags.maxtags > 0 else Tags(),
    )


def _in_order(problems: list[Problem]) -> list[Problem]:
    """As they stand in the file, then by variable; each only once."""
    unique = dict.fromkeys(problems)
    return sorted(unique, key=lambda p: (p.origin.variable, p.origin.file, p.origin.line))
