"""The reading desk: what the MONAI Label app in ``apps/dis`` is wired from.

Nothing here imports MONAI Label, so that everything but the server itself works and is tested without it.
"""
