"""Images that the server takes from an archive: fetched as `monai-dis dicom fetch` fetches them, compressed ones too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_dis.dicom.dicomweb_fetch import fetch_series
from monai_dis.dicom.retry import Retry

__all__ = ["fetch_compressed_too"]


def fetch_compressed_too() -> None:
    """Have MONAI Label fetch series with our client: its own asks for uncompressed ones, which not every archive can give."""
    import monailabel.datastore.dicom as datastore

    def fetch(study: str | None, series: str, folder: str, client: Any, *_: Any, **__: Any) -> None:
        fetch_series(client, Retry(), study or "", series, Path(folder))

    datastore.dicom_web_download_series = fetch
