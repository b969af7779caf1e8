"""Text files that people wrote, in whatever encoding their editor chose."""

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like the one of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode_text(data: bytes) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    The mark stays as the text's first character, so that a file in UTF-8 can be restored. UTF-16
    without a mark is recognised by every other byte being zero, as with Latin letters. Older
    encodings look like each other, so they are refused and not guessed.

    Raises:
        UnicodeDecodeError: It is none of these.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    if b"\0" not in data:
        return data.decode()
    for encoding, zeros in (("utf-16-le", data[1::2]), ("utf-16-be", data[::2])):
        if len(data) % 2 == 0 and zeros.count(0) * 2 > len(zeros):
            return data.decode(encoding)
    raise UnicodeDecodeError("utf-8", data, data.index(0), data.index(0) + 1, "it is not text")
