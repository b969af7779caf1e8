"""Smitty, part by part, as SVG around the origin, with y pointing down.

A `Pose` has what differs from image to image; everything else is the same in all of them.
"""

from dataclasses import dataclass

from scenes import INK, OUTLINE

TEAL, CREAM, ORANGE, BROWN = "#22b3ab", "#fff1d6", "#f58220", "#8a4b2a"
YELLOW, PINK, RED, TEAR = "#ffd23f", "#ff9aa2", "#c8323c", "#3fa9f5"
LINE = f'fill="none" {OUTLINE}'

BODY = "M0,-54C38,-54 58,-22 58,14C58,50 34,66 0,66C-34,66 -58,50 -58,14C-58,-22 -38,-54 0,-54Z"
BODY_CLIP = f'<clipPath id="body"><path d="{BODY}"/></clipPath>'


@dataclass(frozen=True)
class Pose:
    """One image: who does what, and where.

    Arm angles are in degrees: 0 hangs down, 90 points outwards, 180 points up.
    """

    name: str
    caption: str
    background: str
    face: str = "smile"
    view: str = "front"  # a key of VIEWS
    legs: str = "stand"  # a key of LEGS
    arms: tuple[float, float] = (30.0, 30.0)  # left and right in the image
    prop: str = ""  # a key of scenes.PROPS; held in the right hand unless it stands alone
    at: tuple[float, float] = (128.0, 146.0)
    turn: float = 0.0  # degrees, clockwise
    scale: float = 1.0


def draw_spark(x: float, y: float, radius: float) -> str:
    """A four-pointed star: the antenna's spark and the badge on the apron."""
    r, q = radius, radius * 0.3
    points = [(0, -r), (q, -q), (r, 0), (q, q), (0, r), (-q, q), (-r, 0), (-q, -q)]
    joined = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in points)
    return f'<polygon points="{joined}" fill="{YELLOW}" {OUTLINE}/>'


def draw_tail() -> str:
    """The fox tail with its cream tip, to the left of the body."""
    tail = "M-40,48C-78,64 -104,40 -96,4C-84,10 -66,18 -50,14Z"
    tip = "M-99,26C-100,19 -99,12 -96,4C-89,8 -82,11 -74,13.5C-80,20 -90,25 -99,26Z"
    return f'<path d="{tail}" fill="{TEAL}" {OUTLINE}/><path d="{tip}" fill="{CREAM}" {OUTLINE}/>'


def draw_ears_and_antenna() -> str:
    """Pointed ears with orange insides, and the spark on its stem between them."""
    ear = (
        f'<path d="M-50,-14L-54,-70L-12,-46Z" fill="{TEAL}" {OUTLINE}/>'
        f'<path d="M-45,-34L-46,-56L-29,-46Z" fill="{ORANGE}"/>'
    )
    stem = f'<path d="M0,-52V-76" {LINE}/>'
    return ear + f'<g transform="scale(-1,1)">{ear}</g>' + stem + draw_spark(0, -84, 20)


def draw_apron(shift: float = 0.0) -> str:
    """The orange apron with its spark badge, cut to the body's shape."""
    bib = f"M{shift - 34},26H{shift + 34}L{shift + 58},72H{shift - 58}Z"
    straps = f"M{shift - 34},26L{shift - 64},4M{shift + 34},26L{shift + 64},4"
    return (
        '<g clip-path="url(#body)">'
        f'<path d="{straps}" fill="none" stroke="{ORANGE}" stroke-width="8"/>'
        f'<path d="{bib}" fill="{ORANGE}" {OUTLINE}/></g>' + draw_spark(shift, 47, 14)
    )


def draw_eyes(face: str) -> str:
    """Both eyes, and the brows and tears that belong to the expression."""

    def round_eye(x: float, size: float = 1.0) -> str:
        return (
            f'<ellipse cx="{x}" cy="-12" rx="{7.5 * size}" ry="{10 * size}" fill="{INK}"/>'
            f'<circle cx="{x + 2.5}" cy="-16" r="3" fill="#fff"/>'
        )

    both = round_eye(-18) + round_eye(18)
    tear = f'<path d="M26,-2C18,10 19,18 26,18C33,18 34,10 26,-2Z" fill="{TEAR}"/>'
    return {
        "smile": both,
        "laugh": f'<path d="M-27,-8Q-18,-22 -9,-8M9,-8Q18,-22 27,-8" {LINE}/>',
        "asleep": f'<path d="M-27,-12Q-18,-2 -9,-12M9,-12Q18,-2 27,-12" {LINE}/>',
        "wink": round_eye(-18) + f'<path d="M9,-10Q18,-20 27,-10" {LINE}/>',
        "surprised": round_eye(-18, 1.2) + round_eye(18, 1.2),
        "sad": both + f'<path d="M-28,-22L-13,-28M28,-22L13,-28" {LINE}/>' + tear,
        "angry": both + f'<path d="M-28,-29L-12,-21M28,-29L12,-21" {LINE}/>',
    }[face]


def draw_mouth(face: str) -> str:
    """The mouth below the nose."""
    smile = f'<path d="M-9,6Q0,15 9,6" {LINE}/>'
    return {
        "smile": smile,
        "wink": smile,
        "laugh": f'<path d="M-11,5H11Q9,19 0,19Q-9,19 -11,5Z" fill="{RED}" {OUTLINE}/>',
        "asleep": f'<path d="M-5,9H5" {LINE}/>',
        "surprised": f'<ellipse cx="0" cy="14" rx="6" ry="7" fill="{RED}" {OUTLINE}/>',
        "sad": f'<path d="M-9,14Q0,5 9,14" {LINE}/>',
        "angry": f'<path d="M-8,12H8" {LINE}/>',
    }[face]


def draw_face(face: str) -> str:
    """The cream face plate with everything on it."""
    return (
        f'<ellipse cx="0" cy="-8" rx="44" ry="31" fill="{CREAM}" {OUTLINE}/>'
        f'<circle cx="-31" cy="4" r="7" fill="{PINK}"/><circle cx="31" cy="4" r="7" fill="{PINK}"/>'
        + draw_eyes(face)
        + draw_mouth(face)
        + f'<path d="M-6,-6H6L0,2Z" fill="{INK}"/>'
    )


def draw_arm(angle: float, *, right: bool) -> str:
    """A short arm with a brown glove, turned about its shoulder."""
    x, turn = (50, -angle) if right else (-50, angle)
    return (
        f'<g transform="translate({x},20) rotate({turn})">'
        f'<path d="M0,0V20" stroke="{INK}" stroke-width="22" stroke-linecap="round"/>'
        f'<path d="M0,0V20" stroke="{TEAL}" stroke-width="13" stroke-linecap="round"/>'
        f'<circle cx="0" cy="28" r="11" fill="{BROWN}" {OUTLINE}/></g>'
    )


def draw_boot(x: float, y: float, turn: float = 0.0) -> str:
    """One brown boot."""
    at = f"translate({x},{y}) rotate({turn})"
    return f'<ellipse transform="{at}" rx="20" ry="12" fill="{BROWN}" {OUTLINE}/>'


LEGS = {
    "stand": draw_boot(-24, 68) + draw_boot(24, 68),
    "jump": draw_boot(-32, 68, -40) + draw_boot(32, 68, 40),
    "sit": draw_boot(-38, 64, 70) + draw_boot(38, 64, -70),
    "walk": draw_boot(-38, 60, 50) + draw_boot(34, 68, -14),
}


def draw_front(pose: Pose) -> str:
    """Smitty seen from the front; a sitting Smitty has the boots before the body."""
    body = f'<path d="{BODY}" fill="{TEAL}" {OUTLINE}/>' + draw_apron() + draw_face(pose.face)
    legs = LEGS[pose.legs]
    arms = draw_arm(pose.arms[0], right=False) + draw_arm(pose.arms[1], right=True)
    behind, before = ("", legs) if pose.legs == "sit" else (legs, "")
    return draw_tail() + draw_ears_and_antenna() + behind + body + before + arms


def draw_side(pose: Pose) -> str:
    """Smitty turned to the right: face and apron move along, one arm is in sight."""
    face = (
        f'<g clip-path="url(#body)"><g transform="translate(24,0)">{draw_face(pose.face)}</g></g>'
    )
    body = f'<path d="{BODY}" fill="{TEAL}" {OUTLINE}/>' + draw_apron(26) + face
    edge = f'<path d="{BODY}" {LINE}/>'
    arm = f'<g transform="translate(-56,4)">{draw_arm(pose.arms[1], right=True)}</g>'
    return draw_tail() + draw_ears_and_antenna() + LEGS[pose.legs] + body + edge + arm


def draw_back(pose: Pose) -> str:
    """Smitty from behind: no face, the apron's strings, the tail in front."""
    strings = (
        f'<path d="M-42,-22L40,52M42,-22L-40,52" stroke="{ORANGE}" stroke-width="10"/>'
        f'<circle cx="0" cy="15" r="9" fill="{ORANGE}" {OUTLINE}/>'
    )
    arms = draw_arm(pose.arms[0], right=False) + draw_arm(pose.arms[1], right=True)
    body = f'<path d="{BODY}" fill="{TEAL}" {OUTLINE}/>' + strings
    tail = f'<g transform="translate(34,14)">{draw_tail()}</g>'
    return draw_ears_and_antenna() + LEGS[pose.legs] + arms + body + tail


VIEWS = {"front": draw_front, "side": draw_side, "back": draw_back}


def draw_figure(pose: Pose) -> str:
    """Smitty in that pose, at the right position of the canvas."""
    place = f"translate({pose.at[0]},{pose.at[1]}) rotate({pose.turn}) scale({pose.scale})"
    return f'{BODY_CLIP}<g transform="{place}">{VIEWS[pose.view](pose)}</g>'
