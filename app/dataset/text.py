"""The sentences of the Dataset tab: about images first, then about captions as a whole."""

from collections.abc import Sequence

DATASET_EMPTY = "No images yet. Add 10 to 20 images that show what is to be learned."
NOT_AN_UPLOAD = "A file was refused because it was not uploaded through this page."
IMAGE_GONE = "This image is not in the dataset any more. Choose another one."
SAVED = "Saved:"
TRASH_EMPTY = "There is no removed image to bring back."
NO_IMAGE_SELECTED = "Choose an image to see it large and to edit its caption."
TRIGGER_NOTE = (
    "The trainer puts the trigger first in every caption by itself. Captions then only need to "
    "name what else is in the image."
)
SEVERITIES = {"error": "Must be fixed", "warning": "Worth a look", "note": "Note"}


def caption_conflict(name: str) -> str:
    return f"Not saved: the caption of {name} was changed elsewhere in the meantime."


def image_too_large(name: str, limit: int) -> str:
    return f"{name} was not added: an image may have at most {limit // 1024**2} MB here."


def too_many_images(name: str, limit: int) -> str:
    return f"{name} was not added: a dataset holds at most {limit} images here."


def dataset_too_large(name: str, limit: int) -> str:
    return f"{name} was not added: a dataset holds at most {limit // 1024**3} GB here."


def trigger_too_long(limit: int) -> str:
    return f"The trigger word was not kept: it is longer than {limit} signs."


def imported(added: int, known: int, captions: int, masks: int) -> str:
    along = [
        f"{count} {name if count == 1 else f'{name}s'}"
        for count, name in ((captions, "caption"), (masks, "mask"))
        if count
    ]
    images = f"{added} {'image' if added == 1 else 'images'}"
    parts = [f"{' and '.join(along)} added."] if along and not added else []
    if added or not along:
        parts = [f"{images} added{' with ' if along else ''}{' and '.join(along)}."]
    if known:
        parts.append(f"{known} {'was' if known == 1 else 'were'} in the dataset already.")
    return " ".join(parts)


def refused(count: int) -> str:
    return f"{count} {'file was' if count == 1 else 'files were'} not added:"


def image_removed(name: str) -> str:
    return f"{name} was removed. Undo brings it back."


def image_restored(name: str) -> str:
    return f"{name} is back."


def dataset_made(name: str) -> str:
    return f"The dataset “{name}” was made. Add images to it."


def image_facts(name: str, width: int, height: int) -> str:
    return f"{name} · {width} × {height} pixels"


def check_summary(images: int, errors: int, warnings: int, notes: int) -> str:
    if errors:
        return f"Not ready: {errors} to fix, {warnings} worth a look, {images} usable images"
    and_notes = f", {notes} {'note' if notes == 1 else 'notes'}" if notes else ""
    if warnings:
        return f"Can be trained: {images} images, {warnings} worth a look{and_notes}"
    return f"Good: {images} images, nothing to fix{and_notes}"


FINDING_GONE = "That was fixed or has changed meanwhile. Look at the check again."
NO_FIX = "There is no fix to undo."


def looking(done: int, total: int) -> str:
    return f"Looking at the images: {done} of {total}"


def count_images(count: int) -> str:
    return f"{count} {'image' if count == 1 else 'images'}"


def show_images(count: int) -> str:
    return "Show it" if count == 1 else f"Show {count}"


def cut_off(percent: int, size: tuple[int, int], scale: float) -> str:
    shown = f"Trained at {size[0]} × {size[1]}"
    enlarged = f", enlarged {scale:.1f} times" if scale > 1.05 else ""
    if not percent:
        return f"{shown}{enlarged}; nothing is cut off."
    return f"{shown}{enlarged}; {percent} % is cut off, shown darker."


NEW_NAME = "New dataset"
NEW_NAME_EXAMPLE = "for example my-cat"
CREATE = "Make it"
CHOOSE = "Dataset"
UPLOAD = "Add images, folders or a zip; captions and masks beside them come along"
TRIGGER = "Trigger word"
TRIGGER_SAVED = "The trigger word is kept."
TRIGGER_CONFLICT = "Not saved: the trigger word was changed elsewhere in the meantime."
CAPTION = "Caption"
CAPTION_INFO = (
    "What the image shows. It is saved when you leave the box or press Shift+Enter or Ctrl+S."
)
TRAIN = "Train with these"
TRAIN_INFO = "Starts at once, with the settings as they stand on the Train tab."
REMOVE = "Remove image"
UNDO = "Undo remove"
CHECK_HEADING = "Dataset check"
GRID_LABEL = "Images of the dataset; arrow keys move"
NO_CAPTION = "no caption"
FOLDERS = "Folders and repeats"
FOLDERS_INFO = (
    "How often each image of a folder is shown in an epoch. The number is the first part of the "
    "folder's name, as in kohya's layout."
)
NOT_SAVED_YET = (
    "Not saved yet: the server does not answer. The text is kept in this window, also when the "
    "page is reloaded, and is sent again."
)
NEWER_TEXT = "The newer text:"
YOUR_TEXT = "Your text:"
USE_NEWER = "Use the newer text"
KEEP_MINE = "Keep my text"
DISMISS = "Dismiss"


def show_more_often(folder: str, repeats: int) -> str:
    return f"Show the images of {folder} {repeats} times in an epoch"


def more_findings(count: int) -> str:
    return f"{count} more"


CAPTIONER = "Captioner"
EXISTING = "Suggestions go"
EXISTING_CHOICES = {
    "keep": "Only to images without a caption",
    "append": "Behind what is there",
    "replace": "Instead of what is there",
}
SUGGEST = "Suggest captions"
CANCEL = "Cancel"
LOADING = "Loading"
STARTING = "Starting the captioner…"
HERE = "It is on this computer."
NOT_ON_OFFER = "Choose a captioner from the list."
NO_SUCH_CHOICE = "Choose from the list what happens to the captions that are there."
NO_IMAGES = "There are no images to caption yet. Add some first."
ALL_CAPTIONED = (
    "Every image has a caption already. To have new ones suggested, choose "
    f"“{EXISTING_CHOICES['append']}” or “{EXISTING_CHOICES['replace']}”."
)
ALL_CAPTIONS = "All captions: find and replace, tags"
OLD, NEW = "Find", "Replace by"
OLD_INFO = "Whole words, in any case"
NEW_INFO = "Nothing here takes the words out"
REPLACE = "Replace in all"
TAG = "Tag"
TAG_INFO = "What stands between two commas; several with commas"
ADD_LAST, ADD_FIRST, REMOVE_TAG = "Add last", "Add first", "Remove"
CLEAN = "Clean"
CLEAN_INFO = (
    "Takes prompt syntax out of all captions: weights as in (word:1.3), wildcards, choices as in "
    "{red|blue} (the first one stays), <lora:…>. Training reads such signs as letters."
)
NOTHING_TO_UNDO = "Nothing to undo"
NO_SUCH_CHANGE = "There is no change of many captions to undo."
TAGS_LABEL = "Tags; choosing one puts it into the box “Tag”"
NO_TAGS = "There are no captions yet, so there are no tags."
_NAMES_SHOWN = 8


def suggest_after_download(size: str) -> str:
    return f"Download {size}, then suggest"


def downloaded_first(model: str, size: str, licence: str) -> str:
    return (
        f"Its model {model} ({size}, licence {licence}) is fetched from the Hugging Face hub once; "
        "this uses the network."
    )


def missing_captions(bare: int, images: int) -> str:
    if not bare:
        return f"All {images} images have a caption." if images > 1 else "The image has a caption."
    return f"{bare} of {images} images {'has' if bare == 1 else 'have'} no caption."


def downloading(title: str, done: str, total: str, percent: int) -> str:
    return f"Downloading {title}: {done} of {total} ({percent} %)"


def captioning(done: int, total: int, image: str) -> str:
    return f"{done} of {total} images looked at, the last one {image}"


def suggested(written: int, unsure: int, unchanged: int, failed: int) -> str:
    parts = [f"{written} {'caption' if written == 1 else 'captions'} suggested"]
    if unsure:
        parts.append(f"{unsure} {'image' if unsure == 1 else 'images'} not recognised")
    if unchanged:
        parts.append(f"{unchanged} left as before")
    if failed:
        parts.append(f"{failed} failed")
    return f"{', '.join(parts)}."


def suggesting_stopped(written: int) -> str:
    return f"Cancelled. {_captions(written)} suggested by then."


def suggesting_failed(message: str, written: int) -> str:
    message = f"The captions were not all suggested: {message}"
    return f"{message} {_captions(written)} suggested before that." if written else message


def not_recognised(names: Sequence[str]) -> str:
    return f"Not recognised: {_list(names)}"


def changed(what: str, count: int) -> str:
    if not count:
        return f"{what}: that changes no caption, so nothing was written."
    return f"{what}: {_captions(count)} changed."


def undo_change(what: str) -> str:
    shown = what if len(what) <= 60 else f"{what[:59]}…"
    return f"Undo: {shown}"


def undone(what: str, restored: int, unchanged: Sequence[str]) -> str:
    message = f"Undone: {what}. {_captions(restored)} put back."
    if unchanged:
        message += f" Changed or removed since, and left alone: {_list(unchanged)}."
    return message


def tag_count(tags: int, captions: int) -> str:
    return (
        f"{tags} different {'tag' if tags == 1 else 'tags'} in {captions} "
        f"{'caption' if captions == 1 else 'captions'}"
    )


def more_tags(count: int) -> str:
    return f"and {count} rarer {'one' if count == 1 else 'ones'}"


def _captions(count: int) -> str:
    return f"{count} {'caption was' if count == 1 else 'captions were'}"


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
