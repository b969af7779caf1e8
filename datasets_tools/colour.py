"""From whatever a file holds to 8-bit sRGB on white, which is all that training sees."""

from io import BytesIO

from PIL import Image, ImageCms

from datasets_tools.decode import DAMAGE


def to_rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit sRGB on white from any mode that our formats decode to."""
    if image.mode.startswith("I"):  # 16 bits of grey: 0..65535 to 0..255, rounded
        scaled = image.convert("I").convert("F").point(lambda value: value * (1 / 257) + 0.5)
        return scaled.convert("L").convert("RGB")
    has_alpha = image.has_transparency_data
    if image.mode not in ("RGB", "RGBA", "L", "CMYK") or (has_alpha and image.mode != "RGBA"):
        image = image.convert("RGBA" if has_alpha else "RGB")
    image = _to_srgb(image)
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _to_srgb(image: Image.Image) -> Image.Image:
    """Apply an embedded colour profile; a profile that makes no sense is ignored."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode=mode) or image
    except (ImageCms.PyCMSError, ImportError, *DAMAGE):
        return image
