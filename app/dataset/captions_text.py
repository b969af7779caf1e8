"""What the Dataset tab says about suggested captions and about changing all of them."""

from collections.abc import Sequence

CAPTIONER = "Captioner"
EXISTING = "Suggestions go"
EXISTING_CHOICES = {
    "keep": "Only to images without a caption",
    "append": "Behind what is there",
    "replace": "In place of what is there",
}
SUGGEST = "Suggest captions"
CANCEL = "Cancel"
STARTING = "Starting the captioner…"
HERE = "It is on this computer."
NOT_ON_OFFER = "Choose a captioner from the list."
NO_SUCH_PLACE = "Choose from the list what happens to the captions that are there."
NO_IMAGES = "There are no images to caption yet. Add some first."
ALL_CAPTIONED = (
    "Every image has a caption already. To have new ones suggested, choose "
    f"“{EXISTING_CHOICES['append']}” or “{EXISTING_CHOICES['replace']}”."
)
STILL_SUGGESTING = (
    "Captions are being suggested for this dataset. Wait for the end, or cancel that on the "
    "Dataset tab first."
)

ALL_CAPTIONS = "All captions: find and replace, tags"
OLD, NEW = "Find", "Replace by"
OLD_INFO = "Whole words, in any case"
NEW_INFO = "Nothing here takes the words out"
REPLACE = "Replace in all"
TAG = "Tag"
TAG_INFO = "What stands between two commas; several with commas"
ADD_LAST, ADD_FIRST, REMOVE = "Add last", "Add first", "Remove"
NOTHING_TO_UNDO = "Nothing to take back"
NO_SUCH_CHANGE = "There is no change of many captions to take back."
TAGS_LABEL = "Tags; choosing one puts it into the box “Tag”"
NO_TAGS = "There are no captions yet, so there are no tags."
_NAMES_SHOWN = 8


def suggest_after_download(size: str) -> str:
    """The button while the captioner's model is elsewhere."""
    return f"Download {size}, then suggest"


def downloaded_first(model: str, size: str, licence: str) -> str:
    """Where a captioner's model comes from."""
    return (
        f"Its model {model} ({size}, licence {licence}) is fetched from the Hugging Face hub once; "
        "this uses the network."
    )


def bare_images(bare: int, images: int) -> str:
    """How many captions are missing."""
    if not bare:
        return f"All {images} images have a caption." if images > 1 else "The image has a caption."
    return f"{bare} of {images} images {'has' if bare == 1 else 'have'} no caption."


def downloading(title: str, done: str, total: str, percent: int) -> str:
    """A captioner's model that is on its way."""
    return f"Downloading {title}: {done} of {total} ({percent} %)"


def loading(title: str) -> str:
    """A captioner that is being loaded."""
    return f"Loading {title}…"


def captioning(done: int, total: int, image: str) -> str:
    """A captioner at work."""
    return f"{done} of {total} images looked at, the last one {image}"


def suggested(written: int, unsure: int, kept: int, failed: int) -> str:
    """What a captioner did."""
    parts = [f"{written} {'caption' if written == 1 else 'captions'} suggested"]
    if unsure:
        parts.append(f"{unsure} {'image' if unsure == 1 else 'images'} not recognised")
    if kept:
        parts.append(f"{kept} left as before")
    if failed:
        parts.append(f"{failed} failed")
    return f"{', '.join(parts)}."


def suggesting_stopped(written: int) -> str:
    """A captioner that was cancelled."""
    return f"Cancelled. {_captions(written)} suggested by then."


def suggesting_failed(message: str, written: int) -> str:
    """A captioner that did not come to its end."""
    told = f"The captions were not all suggested: {message}"
    return f"{told} {_captions(written)} suggested before that." if written else told


def could_not_tell(names: Sequence[str]) -> str:
    """The images that a captioner had no words for."""
    return f"Not recognised: {_list(names)}"


def changed(what: str, count: int) -> str:
    """What a change of all captions did."""
    if not count:
        return f"{what}: that changes no caption, so nothing was written."
    return f"{what}: {_captions(count)} changed."


def take_back(what: str) -> str:
    """The button that takes back the last change of many captions."""
    shown = what if len(what) <= 60 else f"{what[:59]}…"
    return f"Take back: {shown}"


def taken_back(what: str, restored: int, kept: Sequence[str]) -> str:
    """What taking back did."""
    told = f"Taken back: {what}. {_captions(restored)} put back."
    return f"{told} Changed or removed since, and left alone: {_list(kept)}." if kept else told


def tag_count(tags: int, captions: int) -> str:
    """The line above the tags."""
    return (
        f"{tags} different {'tag' if tags == 1 else 'tags'} in {captions} "
        f"{'caption' if captions == 1 else 'captions'}"
    )


def more_tags(count: int) -> str:
    """Tags that are not shown."""
    return f"and {count} rarer {'one' if count == 1 else 'ones'}"


def _captions(count: int) -> str:
    return f"{count} {'caption was' if count == 1 else 'captions were'}"


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
