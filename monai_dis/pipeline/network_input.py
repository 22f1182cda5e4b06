"""What a network takes, read off its first convolution, so that an image that does not fit is refused with a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from monai_dis.errors import ImageError

__all__ = ["NetworkInput", "check_axes", "check_image"]


@dataclass(frozen=True)
class NetworkInput:
    """Channels and spatial axes of a network's input; None where it cannot be told.

    Attributes:
        channels: number of image channels.
        spatial_dims: number of spatial axes.
    """

    channels: int | None = None
    spatial_dims: int | None = None

    @classmethod
    def of(cls, network: nn.Module) -> NetworkInput:
        """Read the input of a network, of its coarse part where it has two stages."""
        first = getattr(network, "coarse", network)
        for module in first.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
                return cls(module.in_channels, module.weight.ndim - 2)
        return cls()


def check_axes(image: Tensor, expected: NetworkInput, name: str) -> None:
    """Refuse an image (C, *spatial) of another number of axes than the network's.

    Raises:
        ImageError: with what the image has and what the network needs.
    """
    dims = image.ndim - 1
    if expected.spatial_dims is not None and dims != expected.spatial_dims:
        raise ImageError(
            f"{name} has {dims} spatial axes, the bundle's network takes {expected.spatial_dims}; "
            "choose a bundle made for such images."
        )


def check_image(image: Tensor, expected: NetworkInput, name: str) -> None:
    """Refuse a prepared image (C, *spatial) that the network cannot take.

    Raises:
        ImageError: with what the image has and what the network needs.
    """
    check_axes(image, expected, name)
    if expected.channels is not None and image.shape[0] != expected.channels:
        raise ImageError(
            f"{name} has {image.shape[0]} channel{'s' if image.shape[0] != 1 else ''}, the bundle's network takes "
            f"{expected.channels}; convert the image or choose a bundle made for it."
        )
    if not bool(image.isfinite().all()):
        raise ImageError(f"{name} holds values that are not finite numbers; mend the image.")
