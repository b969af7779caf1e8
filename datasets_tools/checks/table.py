"""The table of all checks, in the order in which their findings are shown."""

from datasets_tools.checks import captions, pixels, sets
from datasets_tools.checks.subject import Check

CHECKS: tuple[Check, ...] = (*pixels.CHECKS, *sets.CHECKS, *captions.CHECKS)

# Findings of the scan, before any check: what their severity and their remedy are.
SCAN_TITLES = {
    "no_images": "No images",
    "no_usable_images": "No usable images",
    "unreadable_image": "Unreadable",
    "unreadable_caption": "Unreadable caption",
    "ignored_subfolder": "Sub-folder",
    "shared_caption": "Shared caption",
}
SCAN_REMEDIES = {"unreadable_image": "remove"}


def find_check(code: str) -> Check | None:
    """Returns the check of a code; None where there is none."""
    return next((check for check in CHECKS if check.code == code), None)
