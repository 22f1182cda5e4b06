"""What 3D Slicer's own library makes of label files: run by an interpreter that has `slicer-core`, apart from the tests.

Apart, for its ITK and ours are two builds of one library. Usage: ``python slicer_probe.py RESULT.npz FILE...``; the result holds
for each segment of each file the RAS positions in mm of its voxels, and what the segment is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy


def main(result: str, *files: str) -> None:
    found: dict[str, Any] = {}
    for number, file in enumerate(files):
        segments = segmentation(file) if file.endswith(".seg.nrrd") else label_map(file)
        for index, (about, points) in enumerate(segments):
            found[f"points {number} {index}"] = points
            found[f"about {number} {index}"] = json.dumps(about)
    np.savez(result, **found)


def segmentation(file: str) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Segments of a ``.seg.nrrd`` as the segmentations module reads it."""
    node = read(slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode(), file)
    held = node.GetSegmentation()
    for index in range(held.GetNumberOfSegments()):
        segment = held.GetNthSegment(index)
        image = segment.GetRepresentation("Binary labelmap")
        to_world, entry = vtk.vtkMatrix4x4(), vtk.reference("")
        image.GetImageToWorldMatrix(to_world)
        segment.GetTag("TerminologyEntry", entry)
        about = {
            "name": segment.GetName(),
            "color": list(segment.GetColor()),
            "terminology": str(entry),
            "layers": held.GetNumberOfLayers(),
        }
        yield about, points_of(image, to_world, segment.GetLabelValue())


def label_map(file: str) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Labels of a plain volume, one after the other."""
    node = read(slicer.vtkMRMLLabelMapVolumeNode(), slicer.vtkMRMLVolumeArchetypeStorageNode(), file)
    to_world = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(to_world)
    image = node.GetImageData()
    for value in np.unique(vtk_to_numpy(image.GetPointData().GetScalars())):
        if value:
            yield {"name": str(int(value))}, points_of(image, to_world, int(value))


def read(node: Any, storage: Any, file: str) -> Any:
    scene = slicer.vtkMRMLScene()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(file)
    if not storage.ReadData(node):
        raise SystemExit(f"3D Slicer does not read {file}")
    return node


def points_of(image: Any, to_world: Any, value: int) -> np.ndarray:
    low, size = np.asarray(image.GetExtent())[::2], image.GetDimensions()
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(size[::-1]).T
    matrix = np.array([[to_world.GetElement(row, column) for column in range(4)] for row in range(4)])
    inside = np.argwhere(values == value) + low
    return np.column_stack([inside, np.ones(len(inside))]) @ matrix[:3].T


if __name__ == "__main__":
    main(*sys.argv[1:])
