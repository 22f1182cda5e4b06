"""A phantom on a sampling grid: an ellipse with a ramp along each axis, an organ, and marked voxels at known positions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Vector = tuple[float, float, float]

Index = tuple[int, int, int]


@dataclass(frozen=True)
class Grid:
    """Sampling grid of a slice stack in DICOM patient coordinates (LPS, mm)."""

    columns: int = 40
    rows: int = 32
    slices: int = 24
    row_spacing: float = 2.0
    """Distance between rows: the first value of PixelSpacing."""
    column_spacing: float = 2.0
    """Distance between columns: the second value of PixelSpacing."""
    row_direction: Vector = (1.0, 0.0, 0.0)
    """Direction of increasing column index: the first three of ImageOrientationPatient."""
    column_direction: Vector = (0.0, 1.0, 0.0)
    """Direction of increasing row index: the last three of ImageOrientationPatient."""
    step: Vector = (0.0, 0.0, 3.0)
    """Vector from one slice position to the next."""
    origin: Vector = (-39.0, -31.0, -100.0)
    """ImagePositionPatient of the first slice."""

    def position(self, slice_index: float) -> np.ndarray:
        """Return ImagePositionPatient of a slice."""
        return np.asarray(self.origin) + slice_index * np.asarray(self.step)

    def affine(self) -> np.ndarray:
        """Return the affine from (column, row, slice) to LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, 0] = np.asarray(self.row_direction) * self.column_spacing
        matrix[:3, 1] = np.asarray(self.column_direction) * self.row_spacing
        matrix[:3, 2] = self.step
        matrix[:3, 3] = self.origin
        return matrix

    def world(self, index: Index) -> list[float]:
        """Return the LPS position of a voxel centre given as (column, row, slice)."""
        return [round(float(v), 6) for v in (self.affine() @ [*index, 1.0])[:3]]

    def normal(self) -> np.ndarray:
        """Return the unit normal of the image plane."""
        return np.cross(self.row_direction, self.column_direction)


STANDARD_GRID = Grid()


@dataclass(frozen=True)
class Landmark:
    """A marked voxel: its index as (column, row, slice) and its modality value."""

    name: str
    index: Index
    value: float


LANDMARKS = (
    Landmark("A", (27, 9, 5), 1200.0),
    Landmark("B", (12, 22, 18), 1500.0),
)

SINGLE_SLICE_LANDMARK = Landmark("A", (27, 9, 0), 1200.0)


def landmarks_of(grid: Grid) -> tuple[Landmark, ...]:
    """Return the marked voxels that lie inside the grid."""
    shape = (grid.columns, grid.rows, grid.slices)
    inside = tuple(m for m in LANDMARKS if all(i < n for i, n in zip(m.index, shape, strict=False)))
    return inside or (SINGLE_SLICE_LANDMARK,)


def phantom(grid: Grid) -> np.ndarray:
    """Return the phantom in Hounsfield units, indexed (slice, row, column).

    An elliptic body holds a small ramp along each axis, so that a flip or a swap
    of axes changes the values, and an off-centre organ of 150 units.
    """
    k, r, c = np.mgrid[: grid.slices, : grid.rows, : grid.columns].astype(float)
    half_r, half_c = grid.rows / 2, grid.columns / 2
    body = ((r - half_r) / (0.9 * half_r)) ** 2 + ((c - half_c) / (0.9 * half_c)) ** 2 <= 1
    volume = np.where(body, 10 + k + r + c, -1000).astype(np.int16)
    organ = (
        ((k - 0.6 * grid.slices) / (0.25 * grid.slices + 1)) ** 2
        + ((r - 0.55 * grid.rows) / (0.2 * grid.rows)) ** 2
        + ((c - 0.35 * grid.columns) / (0.18 * grid.columns)) ** 2
    ) <= 1
    volume[organ & body] = 150
    for mark in landmarks_of(grid):
        column, row, plane = mark.index
        volume[plane, row, column] = int(mark.value)
    return volume


def tilted_grid(degrees: float) -> Grid:
    """Return a grid whose planes lean while the table moves along z."""
    angle = math.radians(degrees)
    return Grid(column_direction=(0.0, math.cos(angle), -math.sin(angle)))


def oblique_grid(about_x: float, about_z: float) -> Grid:
    """Return a grid turned about the x axis and then about the z axis."""
    a, b = math.radians(about_x), math.radians(about_z)
    turn_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    turn_z = np.array([[math.cos(b), -math.sin(b), 0], [math.sin(b), math.cos(b), 0], [0, 0, 1]])
    turn = turn_z @ turn_x
    return Grid(
        row_direction=tuple(turn[:, 0]),
        column_direction=tuple(turn[:, 1]),
        step=tuple(3.0 * turn[:, 2]),
    )
