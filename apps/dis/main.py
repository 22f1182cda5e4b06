"""DIS at the reading desk: an app of MONAI Label. Wiring only; what it does is in `monai_dis.label`.

monai-dis label serve --studies FOLDER_OR_DICOMWEB_URL
python -m monailabel.main start_server --app apps/dis --studies FOLDER --host 127.0.0.1 --conf models fundus_vessels_dis
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from threading import RLock

from monai_dis.label.discreet_logs import keep_logs_discreet
from monai_dis.label.torchvision_shim import ensure_torchvision

keep_logs_discreet()
ensure_torchvision()

from filelock import FileLock  # noqa: E402
from monailabel.config import settings  # noqa: E402
from monailabel.datastore.dicom import DICOMwebClientX, DICOMWebDatastore  # noqa: E402
from monailabel.datastore.local import LocalDatastore  # noqa: E402
from monailabel.datastore.utils.dicom import dicom_web_download_series, dicom_web_upload_dcm  # noqa: E402
from monailabel.interfaces.app import MONAILabelApp  # noqa: E402
from monailabel.interfaces.tasks.batch_infer import BatchInferTask  # noqa: E402
from monailabel.interfaces.tasks.infer_v2 import InferType  # noqa: E402
from monailabel.interfaces.tasks.scoring import ScoringMethod  # noqa: E402
from monailabel.interfaces.tasks.strategy import Strategy  # noqa: E402
from monailabel.tasks.infer.basic_infer import BasicInferTask  # noqa: E402
from monailabel.tasks.train.basic_train import BasicTrainTask  # noqa: E402
from monailabel.utils.async_tasks.utils import processes  # noqa: E402

from monai_dis.data.image_files import image_suffix  # noqa: E402
from monai_dis.data.images import read_image  # noqa: E402
from monai_dis.data.labels import read_label  # noqa: E402
from monai_dis.errors import DisError  # noqa: E402
from monai_dis.label.desk import (  # noqa: E402
    choose_models,
    inside,
    series_modalities,
    strip_paths,
    wanted_output,
)
from monai_dis.label.dicom_source import (  # noqa: E402
    PHOTOGRAPH_SUFFIX,
    VOLUME_SUFFIX,
    series_image,
    write_series_file,
    write_series_seg,
)
from monai_dis.label.endpoints import Desk  # noqa: E402
from monai_dis.label.files import answer_suffix, segment_entries, write_answer  # noqa: E402
from monai_dis.label.guard import install  # noqa: E402
from monai_dis.label.look import look_classes  # noqa: E402
from monai_dis.label.model import LabelModel  # noqa: E402
from monai_dis.label.published import Shelf  # noqa: E402
from monai_dis.label.request import BUDGETS, RequestError, check_training, read_infer  # noqa: E402
from monai_dis.label.scores import ScoreBook, expected_gain, next_image, score_images  # noqa: E402
from monai_dis.label.training import LabelledCase, Schedule, train  # noqa: E402
from monai_dis.pipeline.modes import MODES  # noqa: E402

logger = logging.getLogger("monai_dis.label.app")
CLICKS, LOOK = "_clicks", "_look"


class DisApp(MONAILabelApp):
    """The app: models from bundles, and everything that a viewer offers around them."""

    def __init__(self, app_dir, studies, conf):
        self.lock = RLock()
        self.label_geometry = conf.get("label_geometry", "reject")
        self.model_dir = Path(app_dir) / "model"
        self.models = {
            name: LabelModel(
                folder, weights=Shelf(self.model_dir / name).file, lock=self.lock, label_geometry=self.label_geometry
            )
            for name, folder in choose_models(conf.get("models", "")).items()
        }
        names = dict.fromkeys(name for model in self.models.values() for name in look_classes(model.classes).values())
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="DIS",
            description="Deep iterative segmentation: the whole image small, then full resolution where it is uncertain",
            labels=["background", *names],
        )
        if "monailabel.app" in sys.modules:  # a server, and no background task
            install(sys.modules["monailabel.app"].app, self.desk())

    def desk(self):
        return Desk(
            models={name: task.model.classes for name, task in self._infers.items()},
            trainers=list(self._trainers),
            strategies=list(self._strategies),
            scoring=list(self._scoring_methods),
            images=lambda: set(self.datastore().list_images()),
            may_upload=isinstance(self.datastore(), LocalDatastore)
            and not isinstance(self.datastore(), DICOMWebDatastore),
        )

    def init_infers(self):
        tasks = {}
        for name, model in self.models.items():
            tasks[name] = DisInfer(model, InferType.SEGMENTATION, model.metadata.task)
            tasks[name + CLICKS] = DisInfer(model, InferType.DEEPEDIT, "refine by clicks: " + model.metadata.task)
            tasks[name + LOOK] = DisInfer(model, InferType.SEGMENTATION, "where to look: uncertain and refined places")
        return tasks

    def init_trainers(self):
        return {name: DisTrain(model, Shelf(self.model_dir / name)) for name, model in self.models.items()}

    def init_strategies(self):
        first = next(iter(self.models))
        return {
            "expected_gain": ExpectedGain(self.book(first)),
            "random": AnyImage("a case by chance", random.SystemRandom().choice),
            "sequential": AnyImage("cases in the order of their names", min),
        }

    def init_scoring_methods(self):
        return {
            "expected_gain" if number == 0 else f"expected_gain_{name}": GainScoring(model, self.book(name))
            for number, (name, model) in enumerate(self.models.items())
        }

    def init_batch_infer(self):
        return batch_infer

    def _init_dicomweb_datastore(self):
        client = DICOMwebClientX(
            url=self.studies,
            qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
            wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
            stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
        )
        store = DicomDatastore(client, {}, settings.MONAI_LABEL_DICOMWEB_CACHE_PATH.strip() or None)
        store.app = self
        return store

    def book(self, name):
        return ScoreBook(self.model_dir / name / "scores.json")

    def infer(self, request, datastore=None):
        """Run a model on an image of the datastore, of a session, or of this request."""
        task = self._infers[request["model"]]
        store = datastore or self.datastore()
        image = str(request.get("image") or "")
        if image in store.list_images():
            path, known = Path(store.get_image_uri(image)), True
        else:
            path, known = Path(image), False
            if not image or not inside(path, [tempfile.gettempdir(), self.sessions().store_path]):
                raise RequestError("there is no such image or session; choose an image of the datastore or upload one.")
        request = {**request, "image_path": path}
        try:
            file, about = task(request)
        except DisError as error:
            raise strip_paths(
                error, path, labels=[Path(str(request["label"]))] if request.get("label") else []
            ) from error
        label = file
        if known and file and request.get("save_label"):
            tag = str(request.get("label_tag") or "original")
            label = store.save_label(image, file, tag, {"model": request["model"], "params": about})
        return {"label": label, "tag": "original", "file": file, "params": about}

    def async_scoring(self, method, params=None):
        """Score in the background; what runs already, or has nothing to do, is not started again."""
        if not method and (processes("scoring") or not self._unscored()):
            return {}
        return super().async_scoring(method, params)

    def _unscored(self):
        first = next(iter(self.models))
        return set(self.datastore().list_images()) - set(self.book(first).read())


class DisInfer(BasicInferTask):
    """One model, answering as its type says."""

    def __init__(self, model, kind, description):
        self.model = model
        self.look = description.startswith("where to look")
        classes = look_classes(model.classes) if self.look else model.classes
        config = {"mode": list(MODES), "budget": list(BUDGETS), "device": ["auto", "cpu"]}
        super().__init__(
            path=str(model.weights) if model.weights else None,
            network=model.model.network,
            type=kind,
            labels={"background": 0, **{name: number for number, name in classes.items()}},
            dimension=model.spatial_dims,
            description=description,
            config={**config, "mode": ["dis"]} if kind == InferType.DEEPEDIT else config,
        )

    def pre_transforms(self, data=None):
        return []

    def post_transforms(self, data=None):
        return []

    def __call__(self, request, callbacks=None):
        path = Path(request["image_path"])
        uploaded = str(request.get("label") or "")
        label = Path(uploaded) if uploaded.startswith(tempfile.gettempdir() + os.sep) else None
        known = read_infer(_params(request, label is not None), self.model.classes)
        series = path if path.is_dir() else path.parent / path.name.removesuffix(image_suffix(path))
        image = series_image(path) if path.is_dir() else None
        answer = self.model.infer(path, known, image=image, label=label, look=self.look)
        suffix = answer_suffix(".seg.dcm" if wanted_output.get() == "dicom_seg" else known.extension, path)
        handle, name = tempfile.mkstemp(suffix=suffix)
        os.close(handle)
        segments = segment_entries(self.model.metadata, answer.classes)
        if suffix == ".seg.dcm":
            if not series.is_dir():
                raise RequestError("DICOM SEG is for images of a DICOM archive; choose .seg.nrrd or .nii.gz.")
            write_series_seg(
                series, answer.labels, segments, Path(name), name=self.model.name,
                version=self.model.metadata.version, weights=self.model.digest(), by_reader=bool(known.points),
            )  # fmt: skip
        else:
            layered = answer.layers is not None and suffix == ".seg.nrrd"
            write_answer(
                answer.layers if layered else answer.labels, answer.image, Path(name), segments,
                dtype=known.dtype, compress=known.compress,
            )  # fmt: skip
        seconds = answer.about["latencies"]["total"]
        logger.info("%s answered in %.2f s (%s, %d points)", self.model.name, seconds, known.mode, len(known.points))
        return name, answer.about


def _params(request, labelled):
    """What the client sent, less what the server added."""
    own = {"model", "image", "image_path", "description", "session", "session_id", "images", "_id", "_image_id", "gpus",
           "save_label", "label_tag", "logging", "multi_gpu", "max_workers", "max_batch_size", "timeout"}  # fmt: skip
    own |= {"label"} if labelled else set()
    return {key: value for key, value in request.items() if key not in own}


def batch_infer(request, datastore, infer):
    """Every image in turn; one that fails does not stop the others."""

    def forgiving(each, store):
        try:
            return infer(each, store)
        except Exception as error:
            sentence = str(error) if isinstance(error, DisError) else type(error).__name__
            return {"label": None, "file": None, "error": sentence}

    # Without a GPU MONAI Label's choice among several divides by their number.
    return BatchInferTask()({**request, "max_workers": 1, "multi_gpu": False}, datastore, forgiving)


class DisTrain(BasicTrainTask):
    """Training from the datastore's final labels."""

    def __init__(self, model, shelf):
        self.model, self.shelf = model, shelf
        super().__init__(str(shelf.folder), description=f"train {model.name} on final labels", tracking=None)
        self._config = {
            "parts": ["both", "coarse", "refine"], "max_epochs": 10, "steps_per_epoch": 50, "val_split": 0.2,
            "learning_rate": 0.0002, "restore": False,
        }  # fmt: skip

    def config(self):
        return self._config

    def stats(self):
        return {**super().stats(), "versions": self.shelf.versions()}

    def network(self, context):
        return self.model.model.network

    def optimizer(self, context):
        return None

    def loss_function(self, context):
        return None

    def train_pre_transforms(self, context):
        return []

    def train_post_transforms(self, context):
        return []

    def val_inferer(self, context):
        return self.model.model.inferer

    def __call__(self, request, datastore):
        known = {key: value for key, value in request.items() if key not in ("local_rank", "bundle_path")}
        known = check_training(known)
        if known.get("restore"):
            print(f"version {self.shelf.restore()} is in use again", flush=True)
            return {"version": self.shelf.current()}
        self.model.refresh()
        cases = [
            LabelledCase(Path(each["image"]).name, Path(each["image"]), Path(each["label"]))
            for each in datastore.datalist()
        ]
        schedule = Schedule(
            parts=known.get("parts") or "both",
            epochs=known.get("max_epochs", 10),
            steps=known.get("steps_per_epoch", 50),
            learning_rate=known.get("learning_rate", 2e-4),
            val_split=known.get("val_split", 0.2),
        )

        def on_epoch(epoch):
            print(
                f"epoch {epoch.number} of {epoch.of}: loss {epoch.loss:.4f}, validation Dice {epoch.val_dice:.4f} "
                f"(in use: {epoch.in_use_dice:.4f}), {epoch.seconds:.0f} s",
                flush=True,
            )
            self._write_stats({
                "epoch": epoch.number, "max_epochs": epoch.of, "loss": epoch.loss, "total_time": round(epoch.seconds, 1),
                "best_metric": epoch.val_dice, "in_use": epoch.in_use_dice,
            })  # fmt: skip

        try:
            outcome = train(self.model.model, cases, schedule, self.shelf, on_epoch)
        except DisError as error:
            said = strip_paths(error, *(case.image for case in cases), labels=[case.label for case in cases])
            print(said, flush=True)
            sys.exit(1)
        said = (
            f"published as version {outcome.version}" if outcome.version else "not published: what is in use is better"
        )
        print(f"best validation Dice {outcome.best_dice:.4f} (in use: {outcome.in_use_dice:.4f}), {said}", flush=True)
        return {"version": outcome.version, "best_dice": outcome.best_dice, "in_use_dice": outcome.in_use_dice}

    def _write_stats(self, stats):
        self.shelf.folder.mkdir(parents=True, exist_ok=True)
        Path(self._stats_path).write_text(json.dumps(stats))


class ExpectedGain(Strategy):
    """The unlabelled image of which most is expected to be learned, by scores that are there already."""

    def __init__(self, book):
        super().__init__("the case that teaches most: the highest expected gain of those scored so far")
        self.book = book

    def __call__(self, request, datastore):
        name = next_image(self.book.read(), datastore.get_unlabeled_images())
        return {"id": name} if name else {}


class AnyImage(Strategy):
    """An unlabelled image by a simple rule."""

    def __init__(self, description, choose):
        super().__init__(description)
        self.choose = choose

    def __call__(self, request, datastore):
        images = sorted(datastore.get_unlabeled_images())
        return {"id": self.choose(images)} if images else {}


class GainScoring(ScoringMethod):
    """One coarse pass for every image that has no score yet."""

    def __init__(self, model, book):
        super().__init__("the expected gain of every image, from one coarse pass each")
        self.model, self.book = model, book

    def __call__(self, request, datastore):
        self.model.refresh()
        images = [(name, lambda name=name: Path(datastore.get_image_uri(name))) for name in datastore.list_images()]

        def on_image(done, scored, total):
            print(f"{done} of {total} images looked at, {scored} scored", flush=True)

        return score_images(
            self.book, images, lambda path: expected_gain(self.model.model, path), self.model.digest(), on_image
        )


class DicomDatastore(DICOMWebDatastore):
    """An archive, read strictly, with labels as SEG of our own writer."""

    app = None

    def list_images(self):
        found = {}
        for modality in series_modalities(self.app.models.values() if self.app else ()):
            for data in self._client.search_for_series(search_filters={"Modality": modality}):
                found[str(data["0020000E"]["Value"][0])] = None
        return list(found)

    def get_image_uri(self, image_id):
        folder = Path(self._datastore.image_path()).resolve() / image_id
        # a batch, a scoring and the server, each a process of its own, may want one series at the same time
        with FileLock(folder.with_name(f".{image_id}.lock")):
            if not folder.is_dir() or not any(folder.iterdir()):
                partial = folder.with_name(folder.name + ".part")
                shutil.rmtree(partial, ignore_errors=True)
                dicom_web_download_series(None, image_id, str(partial), self._client, self._fetch_by_frame)
                partial.rename(folder)
            for file in (folder.with_name(folder.name + suffix) for suffix in (VOLUME_SUFFIX, PHOTOGRAPH_SUFFIX)):
                if file.exists():
                    return str(file)
            with tempfile.TemporaryDirectory() as made:
                new = write_series_file(folder, Path(made), image_id)
                LocalDatastore.add_image(self, image_id, str(new), {"SeriesInstanceUID": image_id})
        return str(folder.with_name(new.name))

    def save_label(self, image_id, label_filename, label_tag, label_info, label_id=""):
        image = Path(self.get_image_uri(image_id))
        folder = image.with_name(image_id)
        with tempfile.TemporaryDirectory() as made:
            pixels = read_image(image)
            # A reader may mark more than the models know, so that any class is taken.
            try:
                label = read_label(label_filename, like=pixels, geometry=self.app.label_geometry)
            except DisError as error:
                raise strip_paths(error, image, labels=[Path(label_filename)]) from error
            labels, file = label.as_tensor().numpy()[0], Path(made) / image.name
            write_answer(labels, pixels, file, {})
            if label_tag == "final":
                seg = Path(made) / "label.dcm"
                segments = _reader_segments(label_info.get("label_info"), labels, self.app)
                write_series_seg(
                    folder, labels, segments, seg, name="corrected", version="1", weights="", by_reader=True
                )
                label_info = {**label_info, "SeriesInstanceUID": dicom_web_upload_dcm(str(seg), self._client)}
            return LocalDatastore.save_label(self, image_id, str(file), label_tag, label_info)


def _reader_segments(said, labels, app):
    """What a reader's labels are: by name those of the models, else tissue."""
    names = {int(each["idx"]): str(each["name"]) for each in said or () if "idx" in each and "name" in each}
    known = {}
    for model in app.models.values():
        entries = segment_entries(model.metadata, model.classes)
        known.update({name: entries[number] for number, name in model.classes.items()})
    last = max([int(labels.max()), 1, *names])
    plain = {number: names.get(number, f"label {number}") for number in range(1, last + 1)}
    first = next(iter(app.models.values()))
    made = segment_entries(first.metadata, plain)
    return {number: known.get(name, made[number]) for number, name in plain.items()}
