"""Other networks that people mistake for SwinIR, told by names of tensors that no SwinIR has."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

_BLOCK = r"layers\.0\.residual_group\.blocks\.0\."

# The first that fits is named, so those that are built from others stand before them.
SIGNATURES: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        name: re.compile(pattern)
        for name, pattern in {
            "Swin2SR": rf"{_BLOCK}attn\.(logit_scale|cpb_mlp\..+)|swin2sr\..+",
            "HAT": rf"{_BLOCK}conv_block\.cab\..+|layers\.0\.residual_group\.overlap_attn\..+",
            "SRFormer": rf"{_BLOCK}attn\.aligned_relative_position_index",
            "ATD": r"layers\.0\.residual_group\.(td|layers\.0\..+)",
            "CRAFT": r"layers\.0\.residual_group\.hf_blocks\..+",
            "MambaIR": rf"{_BLOCK}self_attention\..+",
            "DRCT": r"layers\.0\.swin1\..+",
            "RGT": r"layers\.0\.blocks\.0\.(gamma|mlp\.sg\..+)",
            "DAT": r"layers\.0\.blocks\.0\.ffn\.sg\..+",
            "GRL": r"layers\.0\.blocks\.0\.attn\.window_attn\..+",
            "MM-RealSR": r"de_net\.conv_first\.0\.weight",
            "ESRGAN (RRDB)": r"body\.0\.rdb1\.conv1\.weight|model\.1\.sub\.0\.RDB1\..+|RRDB_trunk\.0\..+",
            "RCAN": r"body\.0\.body\.0\.body\.3\.conv_du\.0\.weight",
            "IPT": r"body\.linear_encoding\.weight",
            "EDSR": r"head\.0\.weight",
            "SPAN": r"block_1\.c1_r\.sk\.weight",
            "PLKSR": r"feats\.1\.lk\..+",
            "OmniSR": r"residual_layer\.0\.residual_layer\.0\..+",
            "SCUNet": r"m_head\.0\.weight",
            "FBCNN": r"qf_pred\.0\.res\.0\.weight",
            "DRUNet": r"m_down1\.0\.res\.0\.weight",
            "KBNet": r"encoders\.0\.0\.attgamma|encoder_level1\.0\.ffn\.qkv\.weight",
            "NAFNet": r"middle_blks\.0\.beta",
            "FFTformer": r"encoder_level1\.0\.ffn\.fft",
            "Restormer": r"encoder_level1\.0\..+",
            "Real-CUGAN": r"unet1\.conv1\.conv\.0\.weight",
            "SAFMN": r"feats\.0\.safm\.mfr\.0\.weight",
            "SAFMN-BCIE": r"feats\.0\.layers\.0\.safm\..+",
            "DITN": r"UFONE\.0\.ITLs\..+",
            "DCTLSA": r"B1\.body\.0\.transformer_body\..+",
            "FDAT": r"groups\.0\.blocks\.0\.attn\.qkv\.weight",
            "SeemoRe": r"body\.0\.local_block\..+",
            "MoSR": r"gblocks\.0\.weight",
            "MoESR": r"in_to_dim\.weight",
            "Uformer": r"encoderlayer_0\.blocks\..+",
            "RetinexFormer": r"body\.0\.denoiser\.embedding\.weight",
            "HVI-CIDNet": r"HVE_block0\.1\.weight",
            "MixDehazeNet": r"layer1\.blocks\.0\.norm1\.running_mean",
            "Swift-SRGAN": r"initial\.cnn\.depthwise\.weight",
            "GFPGAN": r"conv_body_first\.weight",
            "RestoreFormer": r"quantize\.embedding\.weight",
            "LaMa": r"model\.model\.1\.ffc\.convl2l\.weight",
            "AuraSR": r"final_res_block\.block1\.proj\.weights",
            "DnCNN": r"model\.2\.weight",
            "Real-ESRGAN Compact (SRVGGNet)": r"body\.0\.weight",
        }.items()
    }
)


def name_network(names: Iterable[str]) -> str | None:
    """Name the network that has tensors of these names, if it is a known one that is no SwinIR."""
    found = tuple(names)
    for network, signature in SIGNATURES.items():
        if any(signature.fullmatch(name) for name in found):
            return network
    return None
