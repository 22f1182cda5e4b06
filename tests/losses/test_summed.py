"""Losses that a config joins: each term as its own library computes it."""

from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser
from monai.losses import DiceLoss

from monai_dis.errors import DataError
from monai_dis.losses import SummedLoss


def test_a_config_joins_losses_by_weight() -> None:
    config = {
        "loss": {
            "_target_": "monai_dis.losses.SummedLoss",
            "losses": [
                {"_target_": "torch.nn.BCEWithLogitsLoss", "pos_weight": "$torch.full((2, 1, 1), 3.0)"},
                {"_target_": "DiceLoss", "sigmoid": True, "batch": True},
            ],
            "weights": [4, 1],
        },
        "imports": ["$import torch"],
    }
    parser = ConfigParser(config)
    logits, target = torch.randn(2, 2, 8, 8), (torch.rand(2, 2, 8, 8) > 0.7).float()
    cross_entropy = torch.nn.BCEWithLogitsLoss(pos_weight=torch.full((2, 1, 1), 3.0))
    expected = 4 * cross_entropy(logits, target) + DiceLoss(sigmoid=True, batch=True)(logits, target)
    torch.testing.assert_close(parser.get_parsed_content("loss")(logits, target), expected)


def test_every_loss_needs_a_weight() -> None:
    with pytest.raises(DataError, match="2 losses do not fit 1 weights"):
        SummedLoss([torch.nn.L1Loss(), torch.nn.MSELoss()], [1.0])
