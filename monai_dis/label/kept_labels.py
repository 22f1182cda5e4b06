"""A datastore that loses nothing: what MONAI Label's keeps, written whole, with every former label and who made it.

`KeptLabels` stands before MONAI Label's ``LocalDatastore`` or one of its descendants (``class Store(KeptLabels, LocalDatastore)``). The
index, a JSON file in the folder of the images, says what is known of them; the files themselves say what there is.
"""

from __future__ import annotations

import filecmp
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from fnmatch import fnmatch
from pathlib import Path
from threading import RLock
from typing import Any

from monai_dis.data.atomic import atomic_path, written_whole
from monai_dis.data.locks import LOCK_PREFIX, locked
from monai_dis.errors import DataError, OutputError
from monai_dis.label.access import current_reader
from monai_dis.label.incoming import Refusal
from monai_dis.label.request import check_save
from monai_dis.label.review import ReviewState, counts, state_of

__all__ = ["FINAL", "ORIGINAL", "KeptLabels"]

logger = logging.getLogger(__name__)

FINAL, ORIGINAL = "final", "original"
_VERSION = re.compile(r"version_(\d{1,6})")
_FORMER = ".former-"


def _held(name: str) -> Callable[..., Any]:
    """A method of MONAI Label's that looks into the index, which nobody else changes meanwhile."""

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        with self._alone:
            return getattr(super(KeptLabels, self), name)(*arguments, **named)

    method.__name__ = name
    return method


class KeptLabels:
    """The part of a datastore that keeps labels; see the module.

    Attributes:
        may_change_images: whether an image that is there may be replaced or removed.
    """

    may_change_images = False
    _datastore: Any
    _datastore_config_path: str
    _config_ts: float

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._alone = RLock()
        self._depth = 0
        super().__init__(*arguments, **named)
        if hasattr(self, "_handler"):  # files appear under their names by being renamed
            self._handler.on_moved = self._on_any_event  # type: ignore[attr-defined]

    list_images = _held("list_images")
    get_image_uri = _held("get_image_uri")
    get_label_uri = _held("get_label_uri")
    get_image_info = _held("get_image_info")
    get_label_info = _held("get_label_info")
    get_labels_by_image_id = _held("get_labels_by_image_id")

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Nobody else changes the index, in this process or in another."""
        with self._alone:
            if self._depth:
                yield
                return
            index = Path(self._datastore_config_path)
            with locked(index.with_name(f"{LOCK_PREFIX}{index.name}")):
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1

    # The index

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        with self._exclusively():
            index = Path(self._datastore_config_path)
            if not index.exists():
                return
            changed = index.stat().st_mtime
            if changed == self._config_ts:
                return
            read = self._read_index(index)
            recovered = self._recovered(index) if read is None else None
            kept = read if recovered is None else recovered
            kept.base_path = self._datastore.base_path
            self._datastore, self._config_ts = kept, changed
            if recovered is not None:
                self._update_datastore_file()

    def _read_index(self, index: Path) -> Any:
        """The index; None where it is damaged."""
        try:
            return type(self._datastore).model_validate_json(index.read_bytes())
        except (OSError, ValueError):
            return None

    def _recovered(self, index: Path) -> Any:
        """What can be had in place of a damaged index: the one before it, or an empty one, which the files then fill."""
        index.replace(index.with_name(f"{index.name}.damaged-{int(time.time())}"))
        former = self._read_index(_former_of(index))
        logger.warning(
            "the datastore's index was damaged; it is made again from the files%s, and the damaged one is kept beside it",
            "" if former is None else " and the index before it",
        )
        if former is not None:
            return former
        plain = type(self._datastore)
        return plain(
            name=self._datastore.name,
            description=self._datastore.description,
            images_dir=self._datastore.images_dir,
            labels_dir=self._datastore.labels_dir,
        )

    def _update_datastore_file(self, lock: bool = True) -> None:
        with self._exclusively(), written_whole(Path(self._datastore_config_path)) as temporary:
            self._write_index(temporary)
        self._config_ts = Path(self._datastore_config_path).stat().st_mtime

    def _write_index(self, temporary: Path) -> None:
        """Write the index under a temporary name, and keep the one that it will replace."""
        content = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
        _write_through(temporary, content.encode())
        index = Path(self._datastore_config_path)
        if index.exists() and index.stat().st_size:
            former = _former_of(index)
            former.unlink(missing_ok=True)
            _link(index, former)

    def _list_files(self, path: str, patterns: Sequence[str]) -> dict[str, str]:
        """Files of a folder by name: no hidden and unfinished ones, and no empty ones, which a full disk leaves."""
        names = [name for name in os.listdir(path) if any(fnmatch(name, pattern) for pattern in patterns)]  # noqa: PTH208
        return {name: name for name in names if not name.startswith(".") and _size(Path(path) / name)}

    def refresh(self) -> None:
        """Look at the files again."""
        self._reconcile_datastore()

    def _reconcile_datastore(self) -> None:
        with self._exclusively():
            super()._reconcile_datastore()  # type: ignore[misc]

    # Labels

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: Mapping[str, Any]) -> str:
        """Keep a label, and the one that it replaces as a version of its own.

        Raises:
            DataError: when there is no such image.
            OutputError: when it cannot be written; then nothing has changed.
        """
        info = dict(label_info)
        _, suffix = self._to_id(Path(label_filename).name)  # type: ignore[attr-defined]
        with self._exclusively():
            self._init_from_datastore_file()
            known = self._datastore.objects.get(image_id)
            if known is None:
                raise DataError("there is no such image in the datastore; ask /datastore/?output=all for their ids.")
            folder = Path(self._datastore.label_path(label_tag))
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / f"{image_id}{suffix}"
            info = {**info, **self._signed(info), "name": target.name}
            label = type(known.image)(info=info, ext=suffix)
            self._replace_label(image_id, known, label_tag, target, Path(label_filename), label)
        return image_id

    def save_and_send(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: Mapping[str, Any],
        send: Callable[[], Mapping[str, Any]],
    ) -> str:
        """Keep a label here, and only then send it on: whichever of the two fails, what a reader has drawn is kept once at least.

        Args:
            image_id: of the image.
            label_filename: the label's file.
            label_tag: of the label.
            label_info: what is said of it.
            send: sends it; returns what is to be noted of it besides.

        Raises:
            Refusal: when it is kept here and could not be sent.
        """
        KeptLabels.save_label(self, image_id, label_filename, label_tag, label_info)
        try:
            sent = send()
        except Exception as error:
            logger.warning("a label is kept here and was not taken by the archive (%s)", type(error).__name__)
            raise Refusal(
                502,
                "the label is kept on this server, but the archive did not take it; submit it again when the archive answers.",
            ) from error
        with self._exclusively():
            self._init_from_datastore_file()
            self._datastore.label(image_id, label_tag).info.update(sent)
            self._update_datastore_file()
        return image_id

    def _signed(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Who made it, and when."""
        now = datetime.now(timezone.utc)
        reader = current_reader.get() or str(info.get("client_id") or "")
        return {"ts": int(now.timestamp()), "saved": now.isoformat(timespec="seconds"), "saved_by": reader or "unknown"}

    def _replace_label(self, name: str, known: Any, tag: str, target: Path, source: Path, label: Any) -> None:
        """Label and index change together: both are written before either takes its place, which needs no room any more."""
        before, index = dict(known.labels), Path(self._datastore_config_path)
        former = self._keep_former(name, known, tag) if tag != ORIGINAL else None
        old = before.get(tag)
        try:
            with atomic_path(index) as new_index, atomic_path(target) as temporary:
                _write_through(temporary, source.read_bytes())
                known.labels[tag] = label
                self._write_index(new_index)
        except BaseException as error:
            known.labels.clear()
            known.labels.update(before)
            if former is not None:
                former.unlink(missing_ok=True)
            if isinstance(error, OSError) and not isinstance(error, OutputError):
                raise OutputError("the label cannot be written to the datastore; nothing was changed.") from error
            raise
        self._config_ts = index.stat().st_mtime
        if old is not None and old.ext != label.ext:
            (target.parent / f"{name}{old.ext}").unlink(missing_ok=True)

    def _keep_former(self, name: str, known: Any, tag: str) -> Path | None:
        """Keep the label that is about to be replaced, or removed, as the next version."""
        former = known.labels.get(tag)
        if former is None:
            return None
        file = Path(self._datastore.label_path(tag)) / f"{name}{former.ext}"
        if not file.is_file():
            return None
        numbers = [int(found[1]) for each in known.labels if (found := _VERSION.fullmatch(each))]
        version = f"version_{max(numbers, default=0) + 1}"
        place = Path(self._datastore.label_path(version))
        place.mkdir(parents=True, exist_ok=True)
        _link(file, place / file.name)
        known.labels[version] = type(former)(info={**former.info, "version_of": tag}, ext=former.ext)
        return place / file.name

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label; a final one becomes a version, so that it can be had again."""
        with self._exclusively():
            self._init_from_datastore_file()
            known = self._datastore.objects.get(label_id)
            label = None if known is None else known.labels.get(label_tag)
            if label is None:
                raise Refusal(404, "there is no such label.")
            folder = Path(self._datastore.label_path(label_tag))
            if label_tag == FINAL:
                self._keep_former(label_id, known, label_tag)
            del known.labels[label_tag]
            self._update_datastore_file()
            (folder / f"{label_id}{label.ext}").unlink(missing_ok=True)

    def update_label_info(self, label_id: str, label_tag: str, info: Mapping[str, Any]) -> None:
        """Note what is said of a label: a review, or a name."""
        with self._exclusively():
            self._init_from_datastore_file()
            label = self._datastore.label(label_id, label_tag)
            if label is None:
                raise Refusal(404, "there is no such label.")
            label.info.update(check_save(info))
            self._update_datastore_file()

    # Images

    def add_image(self, image_id: str, image_filename: str, image_info: Mapping[str, Any]) -> str:
        """Add an image; one that is there stays, unless the server may change images.

        Raises:
            Refusal: when another image has this name.
        """
        found, suffix = self._to_id(Path(image_filename).name)  # type: ignore[attr-defined]
        image_id = image_id or found
        with self._exclusively():
            self._init_from_datastore_file()
            known = self._datastore.objects.get(image_id)
            target = Path(self._datastore.image_path()) / f"{image_id}{suffix}"
            if known is not None or target.exists():
                there = target if known is None else target.with_name(f"{image_id}{known.image.ext}")
                if there.is_file() and filecmp.cmp(there, image_filename, shallow=False):
                    return image_id
                if not self.may_change_images:
                    raise Refusal(
                        409,
                        "another image of this name is in the datastore, and images are not replaced; give it another name, or start "
                        "the server with --change-images.",
                    )
            self._put_image(image_id, Path(image_filename), target, suffix, check_save(image_info or {}))
        return image_id

    def _put_image(self, image_id: str, source: Path, target: Path, suffix: str, info: Mapping[str, Any]) -> None:
        with self._exclusively():
            with written_whole(target) as temporary:
                shutil.copyfile(source, temporary)
            kinds = type(self._datastore).model_fields["objects"].annotation.__args__[1]
            data = kinds.model_fields["image"].annotation
            image = data(info={**info, "ts": int(time.time()), "name": target.name}, ext=suffix)
            known = self._datastore.objects.get(image_id)
            self._datastore.objects[image_id] = kinds(image=image, labels={} if known is None else known.labels)
            self._update_datastore_file()

    def update_image_info(self, image_id: str, info: Mapping[str, Any]) -> None:
        """Note what is said of an image."""
        with self._exclusively():
            self._init_from_datastore_file()
            known = self._datastore.objects.get(image_id)
            if known is None:
                raise Refusal(404, "there is no such image in the datastore.")
            offered = info.get("strategy")  # MONAI Label notes to whom a case was offered
            known.image.info.update(
                {**check_save(info), **({"strategy": offered} if isinstance(offered, dict) else {})}
            )
            self._update_datastore_file()

    # Cases by their review

    def review_of(self, image_id: str) -> ReviewState:
        """How far a case is."""
        with self._alone:
            known = self._datastore.objects.get(image_id)
            final = None if known is None else known.labels.get(FINAL)
            return state_of(None if final is None else final.info)

    def get_labeled_images(self, label_tag: str | None = None, labels: Sequence[str] | None = None) -> list[str]:
        """Images whose final label is submitted or approved."""
        return [name for name in self.list_images() if self.review_of(name).is_done]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: Sequence[str] | None = None) -> list[str]:
        """Images that are open, or whose label a reviewer has returned."""
        return [name for name in self.list_images() if not self.review_of(name).is_done]

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Images and their final labels, without those that a reviewer has returned."""
        with self._alone:
            pairs: list[dict[str, Any]] = super().datalist(full_path)  # type: ignore[misc]
            returned = {
                f"{name}{known.image.ext}"
                for name, known in self._datastore.objects.items()
                if self.review_of(name) is ReviewState.RETURNED
            }
        return [pair for pair in pairs if Path(pair["image"]).name not in returned]

    def status(self) -> dict[str, Any]:
        """Numbers of images, labels and cases by their review."""
        with self._alone:
            states = [self.review_of(name) for name in self.list_images()]
            tags: dict[str, int] = {}
            for known in self._datastore.objects.values():
                for tag in known.labels:
                    tags[tag] = tags.get(tag, 0) + 1
        done = sum(state.is_done for state in states)
        return {"total": len(states), "completed": done, "label_tags": tags, "review": counts(states)}

    def json(self) -> Any:
        """Everything that is known, as the index has it, and the review of each case."""
        with self._alone:
            content = self._datastore.model_dump(exclude={"base_path"})
            for name, known in content["objects"].items():
                known["image"]["info"]["review"] = self.review_of(name).value
        return content


def _size(file: Path) -> int:
    """Of a file that somebody may remove meanwhile."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _former_of(index: Path) -> Path:
    return index.with_name(f"{_FORMER}{index.name}")


def _write_through(file: Path, content: bytes) -> None:
    """Write a file so that it is on the disk before it takes its name."""
    with file.open("wb") as written:
        written.write(content)
        written.flush()
        os.fsync(written.fileno())


def _link(file: Path, other: Path) -> None:
    """The same file under another name, or a copy of it where the file system has no such names."""
    try:
        os.link(file, other)
    except OSError:
        shutil.copyfile(file, other)
