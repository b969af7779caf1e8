"""What is said about names, folders and processes."""

DATASET_NAME_RULE = (
    "A dataset's name is made of letters, digits, dots, dashes and underscores, starts with a "
    "letter or digit and has at most 64 signs. Choose another name."
)
NO_BASE_MODEL = (
    "There is no base model yet. Put a Stable Diffusion model (a .safetensors file or a diffusers "
    "folder) into the workspace's models folder, or add one on the Train tab."
)
NO_DATASET = "There is no dataset yet. Add images on the Dataset tab first."


def _show(value: object) -> str:
    shown = str(value)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


def no_such_dataset(name: object) -> str:
    """A dataset that is not in the listing."""
    return f"There is no dataset “{_show(name)}”. Choose one from the list, or make a new one."


def dataset_exists(name: str) -> str:
    """A new dataset with an old name."""
    return f"There is already a dataset “{name}”. Choose it from the list or take another name."


def no_such_run(run_id: object) -> str:
    """A run that is not in the listing."""
    return f"There is no run “{_show(run_id)}”. It may have been moved; choose another one."


def no_such_base_model(name: object) -> str:
    """A base model that is not in the listing."""
    return f"There is no base model “{_show(name)}”. Choose one from the list."


def cannot_write(reason: str) -> str:
    """The disk says no."""
    return f"The workspace cannot be written: {reason}. Check its rights and the free space."


def cannot_spawn(reason: str) -> str:
    """A process cannot be started."""
    return f"The worker process could not be started: {reason}."
