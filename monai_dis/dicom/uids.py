"""UIDs that depend on nothing but what a result is made of, so that a retry gives the same objects (O6)."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

__all__ = ["ResultIdentity", "derived_uid"]


def derived_uid(*parts: str) -> str:
    """A UID of the form 2.25 (PS3.5 annex B.2) that depends on the parts alone.

    Example:
        >>> derived_uid("a", "b") == derived_uid("a", "b"), derived_uid("ab") == derived_uid("a", "b")
        (True, False)
    """
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


@dataclass(frozen=True)
class ResultIdentity:
    """What a result is made of.

    Attributes:
        sources: SOP Instance UIDs of the images.
        bundle: name of the bundle.
        version: of the bundle.
        weights: SHA-256 of the weights.
        settings: SHA-256 of everything else that the result depends on.
    """

    sources: tuple[str, ...]
    bundle: str
    version: str
    weights: str
    settings: str

    def uid(self, *kind: str) -> str:
        """The UID of one of the result's objects, such as ``uid("seg", "series")``."""
        return derived_uid(*sorted(self.sources), self.bundle, self.version, self.weights, self.settings, *kind)
