"""`monai-dis bundles`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from monai_dis.bundle import BundleMetadata, known_bundles

__all__ = ["list_bundles"]


def list_bundles() -> None:
    """Print a table of the known bundles: name, version, task, whether weights are there."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("bundle", "version", "task", "weights", "folder"):
        table.add_column(column, overflow="fold")
    for name, folder in known_bundles().items():
        metadata = BundleMetadata.read(folder)
        weights = folder / "models" / "model.pt"
        size = f"{weights.stat().st_size / 1e6:.1f} MB" if weights.is_file() else "to be trained"
        table.add_row(name, metadata.version, metadata.task, size, str(folder))
    console = Console()
    console.print(
        table if table.row_count else "no bundles are installed with monai-dis; give a bundle's folder instead."
    )
