"""The learning rate as a pure function of the step."""

from math import cos, pi

from swinir.training.recipe import Decay, OptimizerRecipe


def learning_rate(step: int, optimizer: OptimizerRecipe) -> float:
    """Return the rate of a step counted from 0: a linear warm-up, times the decay."""
    return optimizer.learning_rate * decay_factor(step, optimizer)


def decay_factor(step: int, optimizer: OptimizerRecipe) -> float:
    """Return what every rate of a run is multiplied by at a step."""
    warmup = min(1.0, (step + 1) / (optimizer.warmup_steps + 1))
    match optimizer.decay:
        case Decay.COSINE:
            decay = 0.5 * (1 + cos(pi * step / optimizer.steps))
        case Decay.LINEAR:
            decay = 1 - step / optimizer.steps
        case Decay.MILESTONES:
            passed = sum(step >= milestone for milestone in optimizer.milestones)
            decay = optimizer.decay_factor**passed
    return warmup * decay
