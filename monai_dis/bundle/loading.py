"""A bundle in use: its folder, its metadata, and the parts that its config describes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_dis.bundle.locate import find_bundle
from monai_dis.bundle.metadata import BundleMetadata
from monai_dis.errors import BundleError, DisError

if TYPE_CHECKING:
    from monai.bundle.config_parser import ConfigParser

__all__ = ["Bundle", "load_bundle"]


@dataclass(frozen=True)
class Bundle:
    """A bundle with one of its configs open; parts are made when they are first asked for.

    Attributes:
        folder: where it lies.
        metadata: what it says of itself.
        parser: the config, with overrides applied.
        config_file: the file that was read, the last of several.
    """

    folder: Path
    metadata: BundleMetadata
    parser: ConfigParser = field(repr=False)
    config_file: Path

    def part(self, key: str) -> Any:
        """Make the part that the config describes under ``key``, or return the one made before.

        Raises:
            BundleError: when the config has no such part or cannot make it.
            DisError: the part's own error, when the values given to it are at fault.
        """
        if key not in self.parser:
            raise BundleError(f"the config {self.config_file} has no entry {key!r}, which this command needs.")
        try:
            with _quiet_parsing():
                return self.parser.get_parsed_content(key)
        except Exception as error:
            raise self._error_for(key, error) from error

    def run(self) -> Any:
        """Run the ``run`` entries of the config, as ``python -m monai.bundle run`` does; the evaluator's result is returned."""
        return self.part("evaluator").run()

    def _error_for(self, key: str, error: Exception) -> DisError:
        root: BaseException = error
        # MONAI wraps what a component raised; the sentence for the user is inside.
        while not isinstance(root, DisError) and (inner := root.__cause__ or root.__context__) is not None:
            root = inner
        if isinstance(root, DisError):
            return root
        reason = f"{type(root).__name__}: {root}".splitlines()[0]
        return BundleError(
            f"the config {self.config_file} cannot make its {key!r} ({reason}); check the entry and its overrides."
        )


def load_bundle(
    name_or_folder: str | Path,
    config: str | Sequence[str] = "inference",
    overrides: Mapping[str, Any] | None = None,
    **more: Any,
) -> Bundle:
    """Open a bundle for use.

    A config is code: open only bundles that you trust.

    Args:
        name_or_folder: as for `find_bundle`.
        config: name of a config in the bundle's ``configs`` folder, without suffix, or a path to a file; several are laid one over
            the other, as MONAI does (``("inference", "evaluate")``).
        overrides: entries to replace, by config key (``"inferer::roi_size"`` reaches inside an entry).
        more: the same, for keys that are Python names.

    Returns:
        The `Bundle`.

    Raises:
        BundleError: when the bundle or its config cannot be found or read.

    Example:
        >>> bundle = load_bundle("fundus_vessels_dis", image_files=["eye.jpg"], output_dir="out")  # doctest: +SKIP
        >>> report = bundle.run()  # doctest: +SKIP
    """
    from monai.bundle.config_parser import ConfigParser

    folder = find_bundle(name_or_folder)
    metadata = BundleMetadata.read(folder)
    files = [_config_file(folder, name) for name in ([config] if isinstance(config, str) else config)]
    file = files[-1]
    parser = ConfigParser()
    try:
        with _quiet_parsing():
            parser.read_config([str(each) for each in files])
            parser.read_meta(str(folder / "configs" / "metadata.json"))
            parser["bundle_root"] = str(folder)
            for key, value in {**(overrides or {}), **more}.items():
                if key.split("::")[0] not in parser:
                    # Set blindly, a misspelt entry would change nothing and say nothing.
                    raise BundleError(
                        f"the config {file} has no entry {key.split('::')[0]!r} to override; check the spelling."
                    )
                parser.set(value, key, recursive=True)
            parser.parse(reset=True)
    except DisError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BundleError(f"the config {file} cannot be read ({reason}).") from error
    return Bundle(folder, metadata, parser, file)


def _config_file(folder: Path, config: str) -> Path:
    direct = Path(config)
    if direct.suffix in (".yaml", ".yml", ".json") and direct.is_file():
        return direct
    for suffix in (".yaml", ".yml", ".json"):
        file = folder / "configs" / f"{config}{suffix}"
        if file.is_file():
            return file
    have = ", ".join(sorted(path.stem for path in (folder / "configs").glob("*.y*ml"))) or "none"
    raise BundleError(f"the bundle {folder} has no config {config!r}; it has: {have}.")


@contextmanager
def _quiet_parsing() -> Iterator[None]:
    """Hide MONAI's notice that configs are code: the documentation and `load_bundle` say it once and for all."""
    logger = logging.getLogger("monai.bundle")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"monai\.bundle.*")
            warnings.filterwarnings("ignore", message=".*arbitrary code.*|.*_target_.*")
            yield
    finally:
        logger.setLevel(level)
