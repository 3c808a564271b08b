"""The network."""

from swinir.model.config import VARIANTS, ResidualConv, SwinIRConfig
from swinir.model.heads import Upsampler
from swinir.model.swinir import SwinIR

__all__ = ["VARIANTS", "ResidualConv", "SwinIR", "SwinIRConfig", "Upsampler"]
