// Elements with `data-key` in a fragment: they are pressed, and in a grid the arrow keys move.

import {set} from './state.js';

const AHEAD = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1]};

const isMove = (key) => key in AHEAD || key === 'Home' || key === 'End';

function middleOf(cell) {
  const box = cell.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
}

// Returns the nearest cell in the direction of a key, as they lie on the screen: it works for any
// number of columns.
function findNext(cells, from, key) {
  if (key === 'Home') return cells[0];
  if (key === 'End') return cells[cells.length - 1];
  const [dx, dy] = AHEAD[key];
  const [x, y] = middleOf(from);
  let best = null;
  let bestCost = Infinity;
  for (const one of cells) {
    const [ox, oy] = middleOf(one);
    const along = (ox - x) * dx + (oy - y) * dy;
    const aside = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
    if (one !== from && along > 4 && along + 8 * aside < bestCost) {
      best = one;
      bestCost = along + 8 * aside;
    }
  }
  if (best === null && dx) best = cells[cells.indexOf(from) + dx] || null;
  return best;
}

const cellsOf = (host) => [...host.querySelectorAll('[data-key]')];

function focusOn(host, cell) {
  for (const one of cellsOf(host)) one.tabIndex = one === cell ? 0 : -1;
  cell.focus();
}

// Marks the cell of a key as the pressed one; the tab key stops there, or at the first cell.
export function setPressed(host, key) {
  const cells = cellsOf(host);
  const pressed = cells.find((cell) => cell.dataset.key === key);
  for (const cell of cells) {
    cell.setAttribute('aria-pressed', String(cell === pressed));
    cell.tabIndex = cell === (pressed || cells[0]) ? 0 : -1;
  }
}

// Listens for presses and keys.
//
// options.grid     "choose": moving presses; "enlarge": pressing shows the cell's image large, of a
//                  cell that has one.
// options.selects  the name in the page's state that a press sets; without it `press` is called.
//                  A cell's own `data-selects` comes before it.
// options.press    what a press does.
export function addKeys(host, {grid, selects, press}) {
  const viewer = grid === 'enlarge' ? makeViewer(host) : null;
  const activate = (cell) => {
    if (grid) focusOn(host, cell);
    const name = cell.dataset.selects || selects;
    if (viewer && cell.querySelector('img')) viewer(cell);
    else if (name) set({[name]: cell.dataset.key});
    else press(cell);
  };
  host.addEventListener('click', (event) => {
    const cell = event.target.closest('[data-key]');
    if (cell && !cell.disabled) activate(cell);
  });
  if (!grid) return;
  host.addEventListener('keydown', (event) => {
    const cell = event.target.closest('[data-key]');
    if (!cell || !isMove(event.key)) return;
    event.preventDefault();
    const next = findNext(cellsOf(host), cell, event.key);
    if (!next) return;
    if (grid === 'choose') activate(next);
    else focusOn(host, next);
  });
}

// Makes a dialog that shows a cell's image large; arrow keys move there, too.
function makeViewer(host) {
  const dialog = document.createElement('dialog');
  dialog.className = 'enlarged';
  const image = document.createElement('img');
  const caption = document.createElement('p');
  dialog.append(image, caption);
  document.body.append(dialog);
  let current = null;
  const show = (cell) => {
    current = cell;
    const small = cell.querySelector('img');
    image.src = small.src;
    image.alt = small.alt;
    caption.textContent = small.alt;
    if (!dialog.open) dialog.showModal();
  };
  dialog.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => {
    if (current && current.isConnected) focusOn(host, current);
  });
  dialog.addEventListener('keydown', (event) => {
    if (!isMove(event.key)) return;
    event.preventDefault();
    const shown = cellsOf(host).filter((cell) => cell.querySelector('img'));
    const next = current && findNext(shown, current, event.key);
    if (next) show(next);
  });
  return show;
}
