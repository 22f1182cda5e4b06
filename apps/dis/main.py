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
import time
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

from monai_dis.checks.limits import Limits  # noqa: E402
from monai_dis.data.atomic import atomic_path  # noqa: E402
from monai_dis.data.image_files import image_suffix, segmentation_suffix  # noqa: E402
from monai_dis.data.images import read_image  # noqa: E402
from monai_dis.data.labels import read_label  # noqa: E402
from monai_dis.errors import DisError  # noqa: E402
from monai_dis.label.access import Access, read_token  # noqa: E402
from monai_dis.label.answer import renumbered_about  # noqa: E402
from monai_dis.label.archive import series_of, series_words  # noqa: E402
from monai_dis.label.desk import (  # noqa: E402
    choose_models,
    strip_paths,
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
from monai_dis.label.guard import Web, install  # noqa: E402
from monai_dis.label.inference import Inference  # noqa: E402
from monai_dis.label.inference_queue import InferenceQueue  # noqa: E402
from monai_dis.label.kept_labels import FINAL, ORIGINAL, KeptLabels  # noqa: E402
from monai_dis.label.look import look_classes  # noqa: E402
from monai_dis.label.model import LabelModel  # noqa: E402
from monai_dis.label.numbering import Numbering  # noqa: E402
from monai_dis.label.outgoing import places_of  # noqa: E402
from monai_dis.label.own_answers import OwnAnswers  # noqa: E402
from monai_dis.label.published import Shelf  # noqa: E402
from monai_dis.label.request import BUDGETS, RUN_FIELDS, RequestError, check_save, check_training, read_infer  # noqa: E402
from monai_dis.label.review import ReviewState  # noqa: E402
from monai_dis.label.scores import ScoreBook, expected_gain, next_image, score_images  # noqa: E402
from monai_dis.label.submitted import check_submitted  # noqa: E402
from monai_dis.label.training import LabelledCase, Schedule, train, usable  # noqa: E402
from monai_dis.pipeline.modes import MODES  # noqa: E402

logger = logging.getLogger("monai_dis.label.app")
CLICKS, LOOK = "_clicks", "_look"
LISTED_FOR_S = 10.0  # an archive is asked for its series so often at most


class DisApp(MONAILabelApp):
    """The app: models from bundles, and everything that a viewer offers around them."""

    def __init__(self, app_dir, studies, conf):
        self.lock = RLock()
        self.label_geometry = conf.get("label_geometry", "reject")
        self.limits = Limits.of_words(json.loads(conf.get("limits") or "{}"))
        self.may_change_images = conf.get("change_images") == "true"
        self.model_dir = Path(app_dir) / "model"
        self.models = {
            name: LabelModel(
                folder,
                weights=Shelf(self.model_dir / name).file,
                lock=self.lock,
                label_geometry=self.label_geometry,
                limits=self.limits,
            )
            for name, folder in choose_models(conf.get("models", "")).items()
        }
        self.classes = {name: model.classes for name, model in self.models.items()}
        self.numbering = Numbering.of(self.classes.values())
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="DIS",
            description="Deep iterative segmentation: the whole image small, then full resolution where it is uncertain",
            labels=["background", *self.numbering.names],
        )
        self.queue = InferenceQueue()
        if "monailabel.app" in sys.modules:  # a server, and no background task
            install(sys.modules["monailabel.app"].app, self.desk(), self.web())

    def desk(self):
        return Desk(
            models={name: task.model.classes for name, task in self._infers.items()},
            trainers=list(self._trainers),
            strategies=list(self._strategies),
            scoring=list(self._scoring_methods),
            images=lambda: set(self.datastore().list_images()),
            may_upload=isinstance(self.datastore(), FolderDatastore),
            may_change_images=self.may_change_images,
        )

    def web(self):
        token = self.conf.get("token_file")
        names = [name for name in self.conf.get("names", "").split(",") if name]
        access = Access(names, read_token(Path(token)) if token else None)
        log = Path(self.app_dir) / "logs" / "app.log"
        store = self.datastore()
        own = OwnAnswers(
            self.name,
            self.description,
            tuple(self.models),
            self.queue,
            access,
            log,
            store.get_image_uri,
            store.get_label_uri,
        )
        folders = [self.app_dir, Path(self.app_dir).parent, tempfile.gettempdir(), self.sessions().store_path]
        folders += [store._datastore_path, sys.prefix, Path.home()]
        return Web(access, self.queue, self.compute, own, tuple(places_of(*folders)))

    def on_init_complete(self):
        super().on_init_complete()
        if self.conf.get("warm_up", "true") == "true":
            self.queue.submit(lambda: [model.warm_up() for model in self.models.values()])

    def _local_request(self, url, params, action):
        """Background tasks do not ask the server for more of them: it may want a token, and looks for itself what is to be scored."""

    def init_datastore(self):
        if self.studies.startswith(("http://", "https://")):
            self.studies = self.studies.rstrip("/").strip()
            store = self._init_dicomweb_datastore()
        else:
            store = FolderDatastore(
                self.studies,
                extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
                auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
                read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
            )
        store.app, store.may_change_images = self, self.may_change_images
        return store

    def init_infers(self):
        tasks = {}
        for name, model in self.models.items():
            tasks[name] = DisInfer(model, InferType.SEGMENTATION, model.metadata.task, self.numbering)
            tasks[name + CLICKS] = DisInfer(
                model, InferType.DEEPEDIT, "refine by clicks: " + model.metadata.task, self.numbering
            )
            tasks[name + LOOK] = DisInfer(
                model, InferType.SEGMENTATION, "where to look: uncertain and refined places", self.numbering
            )
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
        return DicomDatastore(client, {}, settings.MONAI_LABEL_DICOMWEB_CACHE_PATH.strip() or None)

    def book(self, name):
        return ScoreBook(self.model_dir / name / "scores.json")

    def compute(self, asked: Inference):
        """Answer a viewer's request: the file of the answer, and what it says."""
        task, path = self._infers[asked.model], asked.file
        if asked.session:
            session = self.sessions().get_session(asked.session)
            if session is None:
                raise RequestError("there is no such session any more; upload the image again.")
            path = Path(session.image)
        elif path is None:
            path = Path(self.datastore().get_image_uri(asked.image))
        try:
            return task.answer(path, asked.request, asked.label, seg=asked.seg)
        except DisError as error:
            raise strip_paths(error, path, labels=[asked.label] if asked.label else []) from error

    def infer(self, request, datastore=None):
        """Run a model on an image of the datastore, as a batch does, and keep the answer."""
        task, store, image = self._infers[request["model"]], datastore or self.datastore(), str(request["image"])
        path = Path(store.get_image_uri(image))
        known = read_infer({key: request[key] for key in RUN_FIELDS if key in request}, task.model.classes)
        try:
            file, about = task.answer(path, known)
        except DisError as error:
            raise strip_paths(error, path) from error
        tag = str(request.get("label_tag") or ORIGINAL)
        label = store.save_label(image, str(file), tag, {"model": request["model"], "params": about})
        return {"label": label, "tag": tag, "file": str(file), "params": about}

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

    def __init__(self, model, kind, description, numbering):
        self.model, self.numbering = model, numbering
        self.look = description.startswith("where to look")
        classes = look_classes(model.classes) if self.look else model.classes
        config = {"mode": list(MODES), "budget": list(BUDGETS), "device": ["auto", "cpu"]}
        numbers = numbering.numbers(classes)
        super().__init__(
            path=str(model.weights) if model.weights else None,
            network=model.model.network,
            type=kind,
            labels={"background": 0, **{name: numbers[index] for index, name in classes.items()}},
            dimension=model.spatial_dims,
            description=description,
            config={**config, "mode": ["dis"]} if kind == InferType.DEEPEDIT else config,
        )

    def pre_transforms(self, data=None):
        return []

    def post_transforms(self, data=None):
        return []

    def answer(self, path, known, label=None, *, seg=False):
        """Segment an image: the file of the answer, and what it says."""
        series = path if path.is_dir() else path.parent / path.name.removesuffix(image_suffix(path))
        image = series_image(path, self.model.limits) if path.is_dir() else None
        answer = self.model.infer(path, known, image=image, label=label, look=self.look)
        about, labels = answer.about, answer.labels
        suffix = answer_suffix(".seg.dcm" if seg else known.extension, path)
        if suffix == ".seg.dcm" and not series.is_dir():
            raise RequestError("DICOM SEG is for images of a DICOM archive; choose .seg.nrrd or .nii.gz.")
        segments = segment_entries(self.model.metadata, answer.classes)
        if known.restore_numbers is False and suffix == ".nrrd":  # OHIF, which names all models' segments once
            labels = self.numbering.renumbered(labels, answer.classes)
            about = renumbered_about(about, self.numbering.numbers(answer.classes), answer.classes)
        handle, name = tempfile.mkstemp(suffix=suffix)
        os.close(handle)
        try:
            if suffix == ".seg.dcm":
                write_series_seg(
                    series, labels, segments, Path(name), name=self.model.name, version=self.model.metadata.version,
                    weights=self.model.digest(), by_reader=bool(known.points), limits=self.model.limits,
                )  # fmt: skip
            else:
                layered = answer.layers is not None and suffix == ".seg.nrrd"
                write_answer(
                    answer.layers if layered else labels, answer.image, Path(name), segments,
                    dtype=known.dtype, compress=known.compress,
                )  # fmt: skip
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        seconds = about["latencies"]["total"]
        logger.info("%s answered in %.2f s (%s, %d points)", self.model.name, seconds, known.mode, len(known.points))
        return Path(name), about


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
        self.model, self.shelf, self._skipped = model, shelf, []
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
        cases, wrong = usable(self.model.model, datastore.cases_of(self.model.name))
        self._skipped = [
            {"id": case.name, "reason": str(strip_paths(wrong[case.name], case.image, labels=[case.label]))}
            for case in datastore.cases_of(self.model.name) if case.name in wrong
        ]  # fmt: skip
        if wrong:
            self._write_stats({})
            print(f"{len(wrong)} labels cannot be used and are left out; train_stats of /info/ names them", flush=True)
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
        with atomic_path(Path(self._stats_path)) as temporary:
            temporary.write_text(json.dumps({**stats, **({"skipped": self._skipped} if self._skipped else {})}))


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


class CheckedLabels(KeptLabels):
    """A datastore whose labels are checked when they come, and kept on the voxels of their image."""

    app = None

    def save_label(self, image_id, label_filename, label_tag, label_info, label_id=""):
        image, file = Path(self.get_image_uri(image_id)), Path(label_filename)
        try:
            pixels = read_image(image)
            if "params" in label_info:  # of a network here
                labels, said = read_label(file, like=pixels).as_tensor().numpy()[0], dict(label_info)
            else:
                known = check_save(label_info)
                app = self.app
                good = check_submitted(file, pixels, known, app.classes, app.label_geometry, app.numbering, app.limits)
                labels, said = good.labels, {**known, "bundle": good.bundle, "classes": list(good.classes)}
        except DisError as error:
            raise strip_paths(error, image, labels=[file]) from error
        with tempfile.TemporaryDirectory() as made:
            kept = Path(made) / f"label{segmentation_suffix(image)}"
            write_answer(labels, pixels, kept, {})
            send = self._sender(image, image_id, labels, said, Path(made)) if label_tag == FINAL else None
            if send is None:
                return super().save_label(image_id, str(kept), label_tag, said)
            return self.save_and_send(image_id, str(kept), label_tag, said, send)

    def _sender(self, image, image_id, labels, said, place):
        """What sends a final label on, once it is kept here; None where it goes nowhere."""

    def cases_of(self, bundle):
        """Images and final labels that a bundle can learn from: those of its own classes, without what a reviewer returned."""
        pairs = {Path(each["image"]).name: each for each in self.datalist()}
        found = []
        for name in self._datastore.filter_by_tag(FINAL):
            known = self._datastore.objects[name]
            pair = pairs.get(f"{name}{known.image.ext}")
            if pair and known.labels[FINAL].info.get("bundle") in (None, bundle):
                found.append(LabelledCase(name, Path(pair["image"]), Path(pair["label"])))
        return found


class FolderDatastore(CheckedLabels, LocalDatastore):
    """A folder of images."""


class DicomDatastore(CheckedLabels, DICOMWebDatastore):
    """An archive, read strictly, with labels as SEG of our own writer."""

    _listed = (0.0, ())

    def list_images(self):
        since, found = self._listed
        if time.monotonic() - since > LISTED_FOR_S or not found:
            found = series_of(self._client, self.app.models.values() if self.app else ())
            self._listed = time.monotonic(), found
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
                new = write_series_file(folder, Path(made), image_id, self.app.limits if self.app else None)
                suffix, info = image_suffix(new), {"SeriesInstanceUID": image_id, **series_words(folder)}
                self._put_image(image_id, new, folder.with_name(new.name), suffix, info)
        return str(folder.with_name(new.name))

    def get_labeled_images(self, label_tag=None, labels=None):
        """What was submitted here, and what others have put into the archive."""
        elsewhere = set(DICOMWebDatastore.get_labeled_images(self))
        return [
            name for name in self.list_images()
            if self.review_of(name).is_done or (self.review_of(name) is ReviewState.OPEN and name in elsewhere)
        ]  # fmt: skip

    def get_unlabeled_images(self, label_tag=None, labels=None):
        done = set(self.get_labeled_images())
        return [name for name in self.list_images() if name not in done]

    def _sender(self, image, image_id, labels, said, place):
        """The final label as SEG, for the archive."""
        model = self.app.models[said["bundle"]]
        segments = segment_entries(model.metadata, model.classes)
        seg = place / "label.dcm"
        write_series_seg(
            image.with_name(image_id), labels, segments, seg, name="corrected", version="1", weights="", by_reader=True,
            limits=self.app.limits,
        )  # fmt: skip
        return lambda: {"SeriesInstanceUID": dicom_web_upload_dcm(str(seg), self._client)}
