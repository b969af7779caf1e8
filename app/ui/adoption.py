"""What the browser makes of the server's answers for boxes that people type and choose in.

An answer may come late: after somebody has typed, chosen something else, or pressed a tile. So the
server offers and these functions decide, in the moment in which the offer arrives. They are given
the values of boxes and return values for boxes; `undefined` leaves a box as it is.
"""

_LOCKED = """
  const caption = document.querySelector('#dataset-caption textarea');
  const trigger = document.querySelector('#dataset-trigger textarea, #dataset-trigger input');
  const lock = (box, locked) => { if (box) box.readOnly = locked; };
"""

# A tile was pressed: the server is asked for its image, and the caption box is locked until that
# one is there. The count tells two presses on one tile apart.
ASK_FOR_TILE = """() => {
  window.lorasmithAsked = (window.lorasmithAsked || 0) + 1;
  document.querySelector('#dataset-caption textarea').readOnly = true;
  const tile = document.querySelector('#dataset-grid [aria-pressed=true]');
  return `${tile ? tile.dataset.key : ''}#${window.lorasmithAsked}`;
}"""

# Another dataset was chosen, or an image removed: what is typed now would be for what is leaving.
LOCK_BOXES = (
    """() => {"""
    + _LOCKED
    + """
  lock(caption, true);
  lock(trigger, true);
}"""
)

# What the server offers for the caption box. It is declined if another dataset has been chosen
# since, or if someone has typed into the box and it is for the same image. Where it is for another
# image, what was typed goes to the server as the caption of the image that it was typed for. The
# boxes are unlocked when they show what was asked for last. The picture is HTML of the server's.
ADOPT_OFFER = (
    """(offered, wanted, bound, typed, dataset) => {"""
    + _LOCKED
    + """
  const offer = JSON.parse(offered || '{}');
  const now = JSON.parse(bound || '{}');
  const next = offer.edition;
  const opened = next && next.dataset !== (now.dataset || '');
  const moved = next && (opened || next.key !== now.key);
  const unsaved = now.key && typed !== now.caption;
  const here = next && next.dataset === (dataset || '');
  const taken = here && (moved || !unsaved || typed === next.caption);
  const away = ((taken ? next : now).dataset || '') !== (dataset || '');
  lock(caption, away || (offer.wanted || '') !== (wanted || ''));
  lock(trigger, away);
  if (!taken) return [];
  const set = (value, interactive) => ({__type__: 'update', value, interactive});
  return [
    set(next.caption, Boolean(next.key)),
    JSON.stringify(next),
    offer.picture,
    opened ? set(offer.trigger, Boolean(next.dataset)) : undefined,
    opened ? '' : undefined,
    moved && unsaved ? JSON.stringify({bound, caption: typed}) : undefined,
  ];
}"""
)

# A saved caption's new revision belongs to the edition that was saved. If another one has come into
# the box meanwhile, that stays. What was typed and left before the answer came is saved next.
ADOPT_SAVED = """(saved, bound, typed) => {
  const [done, now] = [saved, bound].map((edition) => JSON.parse(edition || '{}'));
  if (!done.key || done.serial !== now.serial) return [];
  const box = document.querySelector('#dataset-caption textarea');
  const left = box !== document.activeElement && typed !== done.caption;
  return [saved, left ? JSON.stringify({bound: saved, caption: typed}) : undefined];
}"""

# What the server suggests for an empty prompt is taken only where it is still empty: the answer
# may come after somebody has begun to write one.
ADOPT_SUGGESTION = """(suggested, prompt, steps, guidance) => {
  const next = JSON.parse(suggested || '{}');
  const taken = !next.prompt || (prompt || '').trim();
  return taken ? [prompt, steps, guidance] : [next.prompt, next.steps, next.guidance];
}"""

# What the server found for some boxes is taken where a box still holds what it held when the server
# was asked: somebody may have chosen or typed something since. `undefined` leaves a box as it is.
# A box that is empty holds null before it is drawn and "" afterwards.
ADOPT_IF_UNTOUCHED = """(answer, ...now) => {
  const {was, found} = JSON.parse(answer || '{"was": [], "found": []}');
  const same = (place) => (now[place] ?? '') === (was[place] ?? '');
  return found.map((value, place) => same(place) ? value : undefined);
}"""

# A run is named after its dataset, unless somebody has given it a name of their own. What the box
# held when the page was built is nobody's own; an empty box waits for the next dataset.
ADOPT_NAME = """(answer, name) => {
  const {was, found} = JSON.parse(answer || '{}');
  window.lorasmithNamed ??= was;
  const again = found === window.lorasmithFound;
  window.lorasmithFound = found;
  if (name !== window.lorasmithNamed && (name || again)) return undefined;
  window.lorasmithNamed = found;
  return found;
}"""
