"""The little JavaScript there is: moving through grids by keyboard, the title, the address.

None of it builds HTML. Text goes where `textContent` or an attribute takes it as text.
"""

# A grid of buttons with data-key. One of them is a tab stop; arrows move to the nearest one in
# that direction as it lies on the screen, so it works for any number of columns.
_MOVE = """
const cells = () => [...element.querySelectorAll('[data-key]')];
const focusOn = (cell) => {
  cells().forEach((one) => { one.tabIndex = one === cell ? 0 : -1; });
  cell.focus();
};
const middle = (cell) => {
  const box = cell.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
};
const AHEAD = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1]};
const next = (from, key) => {
  const all = cells();
  if (key === 'Home') return all[0];
  if (key === 'End') return all[all.length - 1];
  const [dx, dy] = AHEAD[key];
  const [x, y] = middle(from);
  let best = null, bestCost = Infinity;
  for (const one of all) {
    const [ox, oy] = middle(one);
    const along = (ox - x) * dx + (oy - y) * dy;
    const aside = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
    if (one !== from && along > 4 && along + 8 * aside < bestCost) {
      best = one; bestCost = along + 8 * aside;
    }
  }
  if (best === null && dx) best = all[all.indexOf(from) + dx] || null;
  return best;
};
const moves = (key) => key in AHEAD || key === 'Home' || key === 'End';
"""

# Choosing an example or a run: a click or an arrow tells the server which one, by its key.
SELECT_IN_GRID = (
    _MOVE
    + """
const choose = (cell) => {
  cells().forEach((one) => one.setAttribute('aria-pressed', String(one === cell)));
  focusOn(cell);
  trigger('select', {key: cell.dataset.key});
};
element.addEventListener('click', (event) => {
  const cell = event.target.closest('[data-key]');
  if (cell) choose(cell);
});
element.addEventListener('keydown', (event) => {
  const cell = event.target.closest('[data-key]');
  if (!cell || !moves(event.key)) return;
  event.preventDefault();
  const to = next(cell, event.key);
  if (to) choose(to);
});
"""
)

# Looking at samples: Enter or a click enlarges, arrows move, also while one is enlarged.
ENLARGE_IN_GRID = (
    _MOVE
    + """
const dialog = document.createElement('dialog');
dialog.className = 'enlarged';
const picture = document.createElement('img');
const words = document.createElement('p');
dialog.append(picture, words);
document.body.append(dialog);
let current = null;
const show = (cell) => {
  current = cell;
  const small = cell.querySelector('img');
  picture.src = small.src;
  picture.alt = small.alt;
  words.textContent = small.alt;
  if (!dialog.open) dialog.showModal();
};
element.addEventListener('click', (event) => {
  const cell = event.target.closest('[data-key]');
  if (cell) { focusOn(cell); show(cell); }
});
element.addEventListener('keydown', (event) => {
  const cell = event.target.closest('[data-key]');
  if (!cell || !moves(event.key)) return;
  event.preventDefault();
  const to = next(cell, event.key);
  if (to) focusOn(to);
});
dialog.addEventListener('click', () => dialog.close());
dialog.addEventListener('close', () => { if (current && current.isConnected) focusOn(current); });
dialog.addEventListener('keydown', (event) => {
  if (!moves(event.key)) return;
  event.preventDefault();
  const to = current && next(current, event.key);
  if (to) show(to);
});
"""
)

# Buttons inside a part of the page: a press tells the server which one, by its key.
PRESS = """
element.addEventListener('click', (event) => {
  const pressed = event.target.closest('[data-key]');
  if (pressed) trigger('select', {key: pressed.dataset.key});
});
"""

# The run bar carries the page's title.
FOLLOW_TITLE = """
const retitle = () => {
  const bar = element.querySelector('[data-title]');
  if (bar) document.title = bar.dataset.title;
};
retitle();
watch('value', retitle);
"""

# Hides the settings, and the sections, that a search does not match. It looks at what the page
# already shows, so there is nothing to ask the server.
FILTER_SETTINGS = """(wanted) => {
  const words = (wanted || '').toLowerCase().split(/\\s+/).filter(Boolean);
  document.querySelectorAll('.setting-section').forEach((section) => {
    let shown = 0;
    section.querySelectorAll('.setting').forEach((setting) => {
      const text = (setting.id + ' ' + setting.textContent).toLowerCase();
      const match = words.every((word) => text.includes(word));
      setting.style.display = match ? '' : 'none';
      shown += match;
    });
    section.style.display = shown ? '' : 'none';
  });
}"""

# By its state and not by its button, which is elsewhere where the screen is narrow.
SELECT_TRAIN_TAB = "() => ({__type__: 'update', selected: 'train'})"

CLOSE_LID = "() => ({__type__: 'update', open: false})"

# Another text each time, so that the box that takes it changes.
STIR = """() => {
  window.lorasmithStirred = (window.lorasmithStirred || 0) + 1;
  return String(window.lorasmithStirred);
}"""

# One press goes to the Train tab and starts there, so that what is started is seen, and why not.
# A tab is built when it is first opened, so its button may take a moment to come.
START_ON_TRAIN_TAB = """() => {
  document.querySelector('#tab-train-button').click();
  const press = () => {
    const start = document.querySelector('#train-start');
    if (start) start.click();
    else setTimeout(press, 100);
  };
  press();
}"""

# While the page is being built, Gradio reports the first tab and the first values as chosen. They
# must not replace what the address asks for, so nothing is remembered before this has run.
ADDRESS_WAS_READ = "() => { window.lorasmithOpened = true; }"


def read_address(name: str) -> str:
    """Returns a function that gives what the page's address keeps under a word of its query."""
    return f"() => new URL(window.location).searchParams.get('{name}') || ''"


def read_pressed(grid: str) -> str:
    """Returns a function that gives the key of the cell that is chosen in a grid."""
    return f"""() => {{
  const cell = document.querySelector('#{grid} [aria-pressed=true]');
  return cell ? cell.dataset.key : '';
}}"""


def remember_in_address(name: str, value: str | None = None) -> str:
    """Returns a function that keeps a choice in the page's address, where a reload finds it.

    Args:
        name: The word in the query string.
        value: What to keep; None takes the function's argument.
    """
    source = f"'{value}'" if value is not None else "given"
    return f"""(given) => {{
  if (!window.lorasmithOpened) return;
  const address = new URL(window.location);
  const value = {source};
  if (value) address.searchParams.set('{name}', value);
  else address.searchParams.delete('{name}');
  window.history.replaceState(null, '', address);
}}"""
