// What the Preview part of the page does in the browser; the names are used by `wire_in_browser`.
//
// The adapters are a fixed number of rows, each with an adapter and a weight. A row is shown while
// it holds an adapter, and the first one always.

import {dataOf} from './fragments.js';
import {set} from './state.js';
import {waitFor} from './tabs.js';

const BOXES = {
  prompt: '#preview-prompt textarea',
  negative: '#preview-negative textarea',
  seed: '#preview-seed input',
  steps: '#preview-steps input[type=number]',
  guidance: '#preview-guidance input[type=number]',
};

let previous = null; // the data that were applied last

const listsIt = (data, id) => Boolean(data) && data.adapters.some((one) => one[1] === id);
const firstOf = (data) => (data && data.adapters.length ? data.adapters[0][1] : null);

// The run that an adapter comes from; for a file from elsewhere, the file.
const runOf = (id) => (id.startsWith('file:') ? id : id.split('/')[0]);

const readRows = ({adapters, weights}) => Object.keys(adapters).map((number) => ({
  number,
  adapter: adapters[number] || null,
  weight: weights[number],
}));

const isShown = (row, place) => !place || Boolean(row.adapter);

// Shows the rows that hold something, and returns whether one more can be added.
function arrange(rows) {
  rows.forEach((row, place) => {
    const element = document.getElementById(`preview-row-${row.number}`);
    if (element) element.classList.toggle('shown', isShown(row, place));
  });
  const canAdd = Boolean(previous?.adapters.length) && rows.filter(isShown).length < rows.length;
  return {__type__: 'update', interactive: canAdd};
}

// Returns updates from the rows that are to those that shall be.
function change(rows, next, choices) {
  const updates = {add: arrange(next), adapters: {}, weights: {}};
  next.forEach(({number, adapter, weight}, place) => {
    const update = {__type__: 'update', ...(choices && {choices})};
    if (adapter !== rows[place].adapter) update.value = adapter;
    if (choices || 'value' in update) updates.adapters[number] = update;
    if (weight !== rows[place].weight) updates.weights[number] = weight;
  });
  set({adapters: JSON.stringify(next.map((row) => row.adapter).filter(Boolean))});
  return updates;
}

const fill = (rows, pairs) => rows.map(({number}, place) => {
  const [adapter, weight] = pairs[place] || [null, 1];
  return {number, adapter, weight};
});

// The first time, the page shows what was generated last, but for what somebody chose already.
function restore(rows, data) {
  if (rows.some((row) => row.adapter)) return rows;
  const last = data.last?.adapters.length ? data.last.adapters : [[firstOf(data), 1]];
  return fill(rows, last);
}

// A row whose adapter is gone shows the newest one. A first row that shows the newest checkpoint of
// a run goes on to the run's next one and to its finished file, until somebody generates with it.
function follow(rows, data) {
  const first = firstOf(data);
  const used = new Set((data.last?.adapters || []).map(([id]) => id));
  return rows.map((row, place) => {
    if (!isShown(row, place)) return row;
    const gone = !listsIt(data, row.adapter) && (!row.adapter || listsIt(previous, row.adapter));
    const newer = !place && first && row.adapter && row.adapter === firstOf(previous)
      && !used.has(row.adapter) && runOf(row.adapter) === runOf(first);
    return gone || newer ? {...row, adapter: first} : row;
  });
}

// Somebody who has put the cursor into a box is about to type.
const isBusy = (box) => box === document.activeElement;

// Types into a box as a person would. Gradio would put an update into it a moment later, over what
// somebody has typed since.
function type(box, value) {
  box.value = value;
  box.dispatchEvent(new Event('input', {bubbles: true}));
}

// Boxes that are as the page was built show what was generated last.
async function restoreBoxes(data) {
  for (const [name, selector] of Object.entries(BOXES)) {
    const box = await waitFor(() => document.querySelector(selector));
    if (!isBusy(box) && box.value === String(data.fresh[name])) type(box, data.last[name]);
  }
}

// The list of adapters has come, or another one: values are looked at in this moment.
function applyAdapters(now) {
  const data = dataOf('preview');
  if (!data) return {};
  const rows = readRows(now);
  const opening = !previous;
  const next = opening ? restore(rows, data) : follow(rows, data);
  const same = JSON.stringify(previous?.adapters) === JSON.stringify(data.adapters);
  previous = data;
  const updates = change(rows, next, same ? null : data.adapters);
  if (opening && data.last) restoreBoxes(data);
  return updates;
}

// An adapter was chosen, by a person or by an answer of the server.
function reportAdapters(now) {
  if (!previous) return {};
  const rows = readRows(now);
  return change(rows, rows, null);
}

// Shows one row more, with an adapter that the others do not have.
function addRow(now) {
  const rows = readRows(now);
  const free = rows.findIndex((row, place) => !isShown(row, place));
  if (free < 0 || !previous) return {};
  const used = new Set(rows.map((row) => row.adapter));
  const unused = previous.adapters.find(([, id]) => !used.has(id));
  const adapter = unused ? unused[1] : firstOf(previous);
  const next = rows.map((row, place) => (place === free ? {...row, adapter, weight: 1} : row));
  return change(rows, next, null);
}

// Takes a row away; those below move up.
function removeRow(number, now) {
  const rows = readRows(now);
  const left = rows.filter((row, place) => isShown(row, place) && row.number !== number);
  if (!left.length) return {};
  return change(rows, fill(rows, left.map((row) => [row.adapter, row.weight])), null);
}

// What is suggested for the first adapter is taken where the prompt is empty in this moment.
function applySuggestion() {
  const note = document.querySelector('#preview-adapter-note [data-suggestion]');
  const prompt = document.querySelector(BOXES.prompt);
  if (!note || !prompt || isBusy(prompt) || prompt.value.trim()) return;
  for (const [name, value] of Object.entries(JSON.parse(note.dataset.suggestion))) {
    type(document.querySelector(BOXES[name]), value);
  }
}

// Two images on each other: the range input over them is the divider. Its place is kept outside of
// what a new version of the fragment replaces.
document.addEventListener('input', ({target}) => {
  if (!target.matches('.compare input')) return;
  target.closest('.fragment').style.setProperty('--split', target.value / 100);
});
document.addEventListener('click', ({target}) => {
  if (!target.closest('.compare-fullscreen')) return;
  const images = target.closest('.compare');
  if (document.fullscreenElement) document.exitFullscreen();
  else images.requestFullscreen();
});

export const functions = {
  addRow,
  applyAdapters,
  applySuggestion,
  reportAdapters,
  removeRow1: (now) => removeRow('1', now),
  removeRow2: (now) => removeRow('2', now),
  removeRow3: (now) => removeRow('3', now),
  removeRow4: (now) => removeRow('4', now),
};
