"""Gigapixel images: read from disk window by window, segmented level by level, written tile by tile.

Letters in shapes: ``C`` channels or classes, ``X`` columns and ``Y`` rows, in MONAI's order (columns first).
"""
