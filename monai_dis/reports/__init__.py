"""Pictures and pages for people: overlays, curves, and the page that sums up a run."""

from __future__ import annotations

from monai_dis.reports.curves import Curve, draw_curves, draw_panels
from monai_dis.reports.overlay import Outline, draw_overlay
from monai_dis.reports.page import write_page
from monai_dis.reports.picture import result_picture

__all__ = ["Curve", "Outline", "draw_curves", "draw_overlay", "draw_panels", "result_picture", "write_page"]
