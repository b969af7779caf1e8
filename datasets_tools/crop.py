"""Cutting an image to its bucket."""

from PIL import Image

from datasets_tools.buckets import Placement


def fit_image(image: Image.Image, placement: Placement) -> Image.Image:
    """Return the image resized (Lanczos) and cut to exactly the size of its bucket."""
    size = (placement.bucket.width, placement.bucket.height)
    # The cut is made in the source: a strip of 16 x 1,000,000 pixels would not fit into memory
    # once it is enlarged to the height of a bucket.
    box = [0.0, 0.0, 0.0, 0.0]
    for axis in (0, 1):
        factor = image.size[axis] / placement.resized[axis]
        box[axis] = placement.crop[axis] * factor
        box[axis + 2] = min((placement.crop[axis] + size[axis]) * factor, image.size[axis])
    return image.resize(size, Image.Resampling.LANCZOS, box=(box[0], box[1], box[2], box[3]))
