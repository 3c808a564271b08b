"""SwinIR: image restoration with the Swin transformer of Liang et al. (2021)."""
