"""What stands around Smitty: backgrounds and props, as SVG on a canvas of 256 by 256."""

INK = "#16324f"
OUTLINE = f'stroke="{INK}" stroke-width="5" stroke-linejoin="round" stroke-linecap="round"'


def fill_canvas(colour: str) -> str:
    """A plain background."""
    return f'<rect width="256" height="256" fill="{colour}"/>'


def draw_cloud(x: float, y: float, scale: float = 1.0) -> str:
    """A white cloud of three puffs."""
    puffs = (
        '<circle cx="-22" cy="0" r="14"/><circle cx="0" cy="-9" r="20"/><circle cx="24" r="15"/>'
    )
    bar = '<rect x="-34" y="-2" width="72" height="16" rx="8"/>'
    return f'<g transform="translate({x},{y}) scale({scale})" fill="#fff">{puffs}{bar}</g>'


def draw_star(x: float, y: float, radius: float) -> str:
    """A small round star of the night sky."""
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="#fff6c8"/>'


def draw_blossom(x: float, y: float, colour: str) -> str:
    """A meadow flower: four petals about a yellow heart."""
    petals = "".join(
        f'<circle cx="{x + dx}" cy="{y + dy}" r="5"/>'
        for dx, dy in [(5, 0), (-5, 0), (0, 5), (0, -5)]
    )
    return f'<g fill="{colour}">{petals}</g><circle cx="{x}" cy="{y}" r="4" fill="#ffd23f"/>'


def draw_raindrop(x: float, y: float) -> str:
    """A slanted raindrop."""
    return f'<path d="M{x},{y}l-7,20" stroke="#4c8fc7" stroke-width="5" stroke-linecap="round"/>'


SKY = fill_canvas("#8fd3ff") + draw_cloud(46, 44, 1.1) + draw_cloud(216, 84) + draw_cloud(38, 212)

MEADOW = (
    fill_canvas("#bfe8ff")
    + draw_cloud(48, 40, 0.9)
    + '<path d="M0,176Q64,150 128,172T256,166V256H0Z" fill="#7ccb5a"/>'
    + draw_blossom(26, 208, "#ff7aa8")
    + draw_blossom(230, 196, "#fff")
    + draw_blossom(208, 238, "#ff7aa8")
    + draw_blossom(56, 240, "#fff")
)

NIGHT = (
    fill_canvas("#4a62b8")
    + "".join(
        draw_star(x, y, r)
        for x, y, r in [
            (30, 84, 4),
            (70, 30, 5),
            (98, 56, 3),
            (160, 52, 4),
            (244, 150, 4),
            (18, 140, 3),
        ]
    )
    + '<path d="M216,20A30,30 0 1 0 234,64A26,26 0 0 1 216,20Z" fill="#ffe9a3"/>'
    + '<path d="M0,204Q128,176 256,204V256H0Z" fill="#2f6b52"/>'
)

RAIN = fill_canvas("#b8c4cf") + "".join(
    draw_raindrop(x, y)
    for x, y in [
        (30, 20),
        (74, 50),
        (118, 10),
        (190, 26),
        (234, 60),
        (24, 96),
        (226, 130),
        (22, 176),
        (240, 200),
    ]
)

WORKSHOP = (
    fill_canvas("#c99a6b")
    + '<path d="M0,44H256M0,92H256M0,140H256" stroke="#b5835a" stroke-width="4"/>'
    + '<rect y="190" width="256" height="66" fill="#7d5a44"/>'
)

BACKGROUNDS = {
    "white": fill_canvas("#ffffff"),
    "blue": fill_canvas("#5aa9e6"),
    "yellow": fill_canvas("#ffd84d"),
    "pink": fill_canvas("#ffb3c7"),
    "green": fill_canvas("#8bcf6b"),
    "sky": SKY,
    "meadow": MEADOW,
    "night": NIGHT,
    "rain": RAIN,
    "workshop": WORKSHOP,
}

HAMMER = (
    f'<path d="M0,20V-34" stroke="{INK}" stroke-width="15" stroke-linecap="round"/>'
    '<path d="M0,20V-34" stroke="#c98b4b" stroke-width="7" stroke-linecap="round"/>'
    f'<rect x="-25" y="-54" width="50" height="26" rx="5" fill="#8d99a6" {OUTLINE}/>'
)

ANVIL = (
    f'<path d="M-38,-22H34Q46,-22 46,-10H22Q12,-10 12,4L26,24H-26L-12,4Q-12,-6 -38,-10Z"'
    f' fill="#5f6b7a" {OUTLINE}/>'
)

BALLOON = (
    f'<path d="M0,0Q8,-24 4,-48" fill="none" {OUTLINE}/>'
    f'<ellipse cx="2" cy="-80" rx="28" ry="34" fill="#e63946" {OUTLINE}/>'
    '<ellipse cx="-8" cy="-92" rx="6" ry="10" fill="#ff8f96"/>'
)

FLOWER = (
    f'<path d="M0,16V-22" stroke="#2f8f4e" stroke-width="7" stroke-linecap="round"/>'
    f'<g fill="#e63946" {OUTLINE}><circle cx="-12" cy="-34" r="10"/>'
    '<circle cx="12" cy="-34" r="10"/><circle cy="-46" r="10"/><circle cy="-24" r="10"/></g>'
    '<circle cx="0" cy="-35" r="9" fill="#ffd23f"/>'
)

ZZZ = (
    '<g fill="none" stroke="#fff" stroke-width="5" stroke-linejoin="round" stroke-linecap="round">'
    '<path d="M196,126h18l-18,18h18"/><path d="M220,98h14l-14,14h14"/></g>'
)


def place(drawing: str, x: float, y: float, turn: float = 0.0) -> str:
    """A prop, moved and turned."""
    return f'<g transform="translate({x},{y}) rotate({turn})">{drawing}</g>'


PROPS = {
    "": "",
    "hammer": place(HAMMER, 190, 146, 20),
    "hammer and anvil": place(ANVIL, 202, 204) + place(HAMMER, 166, 136, 45),
    "balloon": place(BALLOON, 157, 146, 12),
    "flower": place(FLOWER, 196, 150, 15),
    "zzz": ZZZ,
}


def draw_background(name: str) -> str:
    """The background of that name."""
    return BACKGROUNDS[name]


def draw_prop(name: str) -> str:
    """The prop of that name, drawn over the figure."""
    return PROPS[name]
