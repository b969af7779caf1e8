"""The backgrounds that captions can name."""

# Red, green and blue, 0 .. 255.
COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "red": (214, 40, 40),
    "orange": (245, 135, 31),
    "yellow": (250, 212, 50),
    "green": (60, 160, 70),
    "blue": (40, 105, 215),
    "purple": (125, 60, 175),
    "pink": (245, 150, 190),
    "gray": (130, 130, 130),
    "black": (15, 15, 15),
}
