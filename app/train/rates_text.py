"""What the Train tab says about the learning rates over a run."""

HEADING = "Learning rate over the run"
RATE_AXIS = "learning rate"
FACTOR_AXIS = "factor"
STEPS_AXIS = "step"
PARTS = {
    "unet": "UNet",
    "conv": "convolutions",
    "text": "text encoders",
    "word": "learned word",
}
FOUND = "Prodigy finds the learning rate itself as it trains, and multiplies it by this curve."
HELD = "schedule_free holds the rate and averages the weights instead of letting it fall."


def line(parts: tuple[str, ...], full: float, ratio: float) -> str:
    """Which weights a curve is about, and its full height."""
    named = [PARTS[part] for part in parts]
    told = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    if ratio != 1:
        told += f", weights that start at zero (LoRA+ × {ratio:g})"
    return f"{told}: {show_rate(full * ratio)}"


def title(steps: int, lines: list[tuple[str, float, float, float]]) -> str:
    """The curves in words: name, first rate, highest rate, last rate."""
    told = "; ".join(
        f"{name}; it starts at {show_rate(first)}, is at most {show_rate(most)} and ends at "
        f"{show_rate(last)}"
        for name, first, most, last in lines
    )
    return f"{HEADING} of {steps} steps. {told}."


def show_rate(rate: float) -> str:
    """A learning rate as people write it: 2e-4, 0.05, 1."""
    if rate == 0 or rate >= 0.01:
        return f"{rate:.3g}"
    digits, _, power = f"{rate:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def long_warmup(warmup: int, steps: int) -> str:
    """A warm-up that eats the run."""
    return (
        f"The warm-up of {warmup} steps is as long as the run of {steps}: the schedule is never "
        "reached. Lower warmup_steps."
    )


def other_rates(factors: list[float]) -> str:
    """Layers that learn at a rate of their own."""
    shown = ", ".join(f"{factor:g}" for factor in dict.fromkeys(factors))
    return f"For the layers that adapter.blocks names these are multiplied by {shown}."


def no_rates(problem: str) -> str:
    """Settings of which no curve can be drawn."""
    return f"No curve of the learning rate yet. {problem}"
