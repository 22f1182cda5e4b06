"""Weights that training publishes: every version is kept, one is in use, and the former can be brought back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_dis.data.atomic import atomic_path
from monai_dis.errors import DataError

__all__ = ["Shelf"]


@dataclass(frozen=True)
class Shelf:
    """The versions of one model.

    Version 0 is the bundle's own weights, which lie elsewhere; ``model.pt`` is the version in use, absent for version 0.

    Attributes:
        folder: where the versions lie.
    """

    folder: Path

    @property
    def file(self) -> Path:
        """The weights in use, a plain state dict; absent while the bundle's own are."""
        return self.folder / "model.pt"

    def versions(self) -> list[dict[str, Any]]:
        """What is known of each published version, oldest first; the one in use has ``in_use``."""
        try:
            return list(json.loads((self.folder / "versions.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return []

    def current(self) -> int:
        """Number of the version in use."""
        return next((int(each["version"]) for each in self.versions() if each["in_use"]), 0)

    def publish(self, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> int:
        """Take weights into use.

        Args:
            state: of the network.
            about: what is to be known of them, in plain JSON types.

        Returns:
            the number of the new version.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self.versions()
        version = max((int(each["version"]) for each in known), default=0) + 1
        former = self.current()
        plain = {key: value.detach().cpu() for key, value in state.items()}
        with atomic_path(self._of(version)) as temporary:
            torch.save(plain, temporary)
        self._use(version, [*known, {"version": version, "former": former, **about}])
        return version

    def restore(self) -> int:
        """Bring back the version before the one in use.

        Returns:
            its number; 0 for the bundle's own weights.

        Raises:
            DataError: when the bundle's own weights are in use already.
        """
        known = self.versions()
        used = next((each for each in known if each["in_use"]), None)
        if used is None:
            raise DataError("the bundle's own weights are in use; there are none from before to bring back.")
        self._use(int(used["former"]), known)
        return int(used["former"])

    def _of(self, version: int) -> Path:
        return self.folder / f"version_{version:04d}.pt"

    def _use(self, version: int, known: list[dict[str, Any]]) -> None:
        """Switch; whoever looks sees one whole file or the other."""
        if version == 0:
            self.file.unlink(missing_ok=True)
        else:
            with atomic_path(self.file) as temporary:
                temporary.write_bytes(self._of(version).read_bytes())
        marked = [{**each, "in_use": int(each["version"]) == version} for each in known]
        with atomic_path(self.folder / "versions.json") as temporary:
            temporary.write_text(json.dumps(marked, indent=2) + "\n", encoding="utf-8")
