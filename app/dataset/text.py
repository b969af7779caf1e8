"""What the Dataset tab says."""

DATASET_EMPTY = "No images yet. Add 10 to 20 pictures that show what is to be learned."
NOT_AN_UPLOAD = "A file was refused because it was not uploaded through this page."
IMAGE_GONE = "This image is not in the dataset any more. Choose another one."
TRASH_EMPTY = "There is no removed image to bring back."
NO_IMAGE_SELECTED = "Choose an image to see it large and to edit its caption."
TRIGGER_NOTE = (
    "The trainer puts the trigger first in every caption by itself. Captions then only need to "
    "say what else is in the picture."
)
SEVERITIES = {"error": "Must be mended", "warning": "Worth a look"}


def caption_saved(name: str) -> str:
    """A caption was written."""
    return f"Saved: {name}"


def caption_lost(message: str, caption: str) -> str:
    """A caption could not be saved, and the box shows another one by now."""
    return f"{message} Your text was: {caption}"


def caption_conflict(name: str, caption: str) -> str:
    """A caption changed under the editor."""
    return (
        f"Not saved: the caption of {name} was changed elsewhere in the meantime. Choose the "
        f"image again to see the newer caption. Your text was: {caption}"
    )


def image_too_large(name: str, limit: int) -> str:
    """An upload that is far too large for a picture."""
    return f"{name} was not added: a picture may have at most {limit // 1024**2} MB here."


def too_many_images(name: str, limit: int) -> str:
    """The dataset is full by count."""
    return f"{name} was not added: a dataset holds at most {limit} images here."


def dataset_too_large(name: str, limit: int) -> str:
    """The dataset is full by size."""
    return f"{name} was not added: a dataset holds at most {limit // 1024**3} GB here."


def trigger_too_long(limit: int) -> str:
    """A trigger that is a novel."""
    return f"The trigger word was not kept: it is longer than {limit} signs."


def imported(added: int, known: int) -> str:
    """What an upload came to."""
    parts = [f"{added} {'image' if added == 1 else 'images'} added."]
    if known:
        parts.append(f"{known} {'was' if known == 1 else 'were'} in the dataset already.")
    return " ".join(parts)


def refused(count: int) -> str:
    """How many uploads were refused."""
    return f"{count} {'file was' if count == 1 else 'files were'} not added:"


def image_removed(name: str) -> str:
    """An image went to the trash."""
    return f"{name} was removed. Undo brings it back."


def image_restored(name: str) -> str:
    """An image came back."""
    return f"{name} is back."


def dataset_made(name: str) -> str:
    """A dataset was created."""
    return f"The dataset “{name}” was made. Add images to it."


def image_facts(name: str, width: int, height: int) -> str:
    """The line under the large image."""
    return f"{name} · {width} × {height} pixels"


def check_summary(images: int, errors: int, warnings: int) -> str:
    """The first line of the check card."""
    if errors:
        return f"Not ready: {errors} to mend, {warnings} worth a look, {images} usable images"
    if warnings:
        return f"Can be trained: {images} images, {warnings} worth a look"
    return f"Good: {images} images, nothing to mend"


NEW_NAME = "New dataset"
NEW_NAME_EXAMPLE = "for example my-cat"
CREATE = "Make it"
CHOOSE = "Dataset"
UPLOAD = "Add images: PNG, JPEG, WebP or BMP"
TRIGGER = "Trigger word"
TRIGGER_SAVED = "The trigger word is kept."
CAPTION = "Caption"
CAPTION_INFO = "What the picture shows. It is saved when you leave the box or press Shift+Enter."
TRAIN = "Train with these"
TRAIN_INFO = "Starts at once, with the settings as they stand on the Train tab."
REMOVE = "Remove image"
UNDO = "Undo remove"
CHECK_HEADING = "Dataset check"
GRID_LABEL = "Images of the dataset; arrow keys move"
NO_CAPTION = "no caption"


def more_findings(count: int) -> str:
    """The rest of a long list of findings."""
    return f"{count} more"
