"""Many readers at once while a volume is in the network: how long `info`, `datastore`, images and labels take.

python benchmarks/label_readers.py --studies FOLDER --labels FOLDER --bundle left_atrium_mr_dis

Three phases: nothing is computed; volumes are computed by a second server on the same cores (what the load of the machine alone costs);
volumes are computed by the server that is asked. What readers wait beyond the second phase is what the server itself is to blame for.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_dis.testing.label_server import Running, label_server

KINDS = ("info", "datastore", "image", "label")


@dataclass
class Seconds:
    """Seconds of answers by what was asked for."""

    of: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    guard: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, seconds: float) -> None:
        with self.guard:
            self.of[kind].append(seconds)

    def figures(self) -> dict[str, Any]:
        return {
            kind: {
                "p50_ms": round(1000 * statistics.median(every), 1),
                "p95_ms": round(1000 * statistics.quantiles(every, n=20)[-1], 1),
                "worst_ms": round(1000 * max(every), 1),
                "requests": len(every),
            }
            for kind, every in self.of.items()
        }


def read(server: Running, paths: dict[str, str], pause: float, seconds: Seconds, over: threading.Event) -> None:
    """One reader: a connection of its own, kinds of requests in random order, and time to think between them."""
    host = urllib.parse.urlsplit(server.url).netloc
    connection, order = http.client.HTTPConnection(host, timeout=300), random.Random()
    while not over.wait(order.uniform(0, 2 * pause)):
        kind = order.choice(KINDS)
        start = time.perf_counter()
        connection.request("GET", paths[kind])
        answer = connection.getresponse()
        answer.read()
        seconds.add(kind, time.perf_counter() - start)
        if answer.status != 200:
            raise SystemExit(f"{kind}: {answer.status}")


@contextmanager
def volumes_in_the_network(server: Running, model: str, image: Path) -> Iterator[list[float]]:
    """Compute the same volume again and again, as a new one each time."""
    over, done = threading.Event(), []

    def compute() -> None:
        client = server.client()
        while not over.is_set():
            os.utime(image)
            done.append(ask(client, model, image))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def ask(client: Any, model: str, image: Path) -> float:
    start = time.perf_counter()
    file, _ = client.infer(
        model, image.name.removesuffix(".nii.gz"), {"result_extension": ".nrrd", "result_dtype": "uint8"}
    )
    Path(file).unlink()
    return time.perf_counter() - start


def phase(server: Running, paths: dict[str, str], readers: int, pause: float, length: float, seconds: Seconds) -> None:
    over = threading.Event()
    threads = [threading.Thread(target=read, args=(server, paths, pause, seconds, over)) for _ in range(readers)]
    for thread in threads:
        thread.start()
    time.sleep(length)
    over.set()
    for thread in threads:
        thread.join()


def main(
    studies: Annotated[Path, typer.Option(help="Folder of NIfTI images, of which three are copied.")],
    labels: Annotated[Path, typer.Option(help="Folder of their labels, under the same names.")],
    bundle: Annotated[str, typer.Option(help="Name or folder.")],
    output: Annotated[Path | None, typer.Option(help="JSON file of the figures.")] = None,
    readers: Annotated[int, typer.Option(help="At once.")] = 20,
    pause: Annotated[float, typer.Option(help="Seconds between two requests of a reader, in the mean.")] = 1.0,
    length: Annotated[float, typer.Option(help="Seconds of a phase.")] = 15.0,
    turns: Annotated[int, typer.Option(help="Of the three phases.")] = 3,
) -> None:
    model = Path(bundle).name
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("one", "two"):
            (root / name).mkdir()
            for file in sorted(studies.glob("*.nii.gz"))[:3]:
                shutil.copyfile(file, root / name / file.name)
        images = sorted((root / "one").glob("*.nii.gz"))
        ids = [image.name.removesuffix(".nii.gz") for image in images]
        paths = {
            "info": "/info/",
            "datastore": "/datastore/?output=all",
            "image": f"/datastore/image?image={ids[1]}",
            "label": f"/datastore/label?label={ids[1]}&tag=final",
        }
        with label_server(root / "one", [bundle], root / "first") as server:
            client = server.client()
            client.save_label(ids[1], str(labels / images[1].name), params={})
            figures: dict[str, Any] = {"first_case_s": round(ask(client, model, images[0]), 2)}
            figures["second_case_s"] = round(ask(client, model, images[2]), 2)
            found = {name: Seconds() for name in ("nothing computed", "computed elsewhere", "computed here")}
            there: list[float] = []
            here: list[float] = []
            with label_server(root / "two", [bundle], root / "second") as other:
                ask(other.client(), model, root / "two" / images[0].name)
                for _ in range(turns):  # other programs' load changes: each phase has its share of it
                    phase(server, paths, readers, pause, length, found["nothing computed"])
                    with volumes_in_the_network(other, model, root / "two" / images[0].name) as done:
                        phase(server, paths, readers, pause, length, found["computed elsewhere"])
                    there += done
                    with volumes_in_the_network(server, model, images[0]) as done:
                        phase(server, paths, readers, pause, length, found["computed here"])
                    here += done
        figures.update({name: seconds.figures() for name, seconds in found.items()})
        figures["volumes"] = {"elsewhere": len(there), "here": len(here)}
        figures["seconds_per_volume"] = {
            key: round(statistics.median(v), 2) for key, v in (("elsewhere", there), ("here", here))
        }
        figures["cores"], figures["load"] = len(os.sched_getaffinity(0)), round(os.getloadavg()[0], 1)
    text = json.dumps({"readers": readers, "pause_s": pause, **figures}, indent=1)
    typer.echo(text)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
