// What fills the form of the settings: a preset, a file, or what somebody had entered before.
//
// What a person has entered stays when a preset is chosen. The form stays in the browser, for each
// workspace, and put back after a reload or a restart; what was replaced can be had back.

import {dataOf, makeAddress} from './fragments.js';
import {keepSettings} from './models.js';
import {takeEvent} from './state.js';
import {request as ask} from './tabs.js';

const OPENED = 'opened'; // the preset's name while the form shows the settings of a file
const START_FROM = 'adapter.start_from';
const NAME = 'name';
// The page sets these by itself, after the base model.
const BY_BASE_MODEL = new Set(['base_model.family', 'base_model.prediction']);
const CHOICES = ['preset', 'dataset', 'base_model'];
// The line that is shown after the form was filled in some way.
const LINES = {preset: 'kept', restore: 'restored', opened: 'replaced', plain: 'replaced'};
const MOST_SHOWN = 4;

let request = null;
let filledPreset = null; // the preset whose values the form has
let filledRows = null; // its rows
let base = null; // the values that the form was filled with
let edited = new Set(); // the settings that a person has entered since
let note; // about the preset
let before = null; // the form as it was before it was filled last
let stored = null; // the form of an earlier visit

// A box that is empty holds null before it is rendered and "" afterwards.
const isSame = (one, other) => (one ?? '') === (other ?? '');

const lists = () => dataOf('choices') || {};
const place = () => `lorasmith-form-${lists().workspace ?? ''}`;

// Keeps the form for the next visit. A browser may refuse to keep anything.
function store({preset, rows, base_model: baseModel, values}) {
  const form = {preset, rows, base_model: baseModel, values, note, edited: [...edited]};
  try {
    localStorage.setItem(place(), JSON.stringify(form));
  } catch { /* then it is not there after a reload */ }
}

function readStored() {
  try {
    const form = JSON.parse(localStorage.getItem(place()));
    return form && form.values && Array.isArray(form.edited) ? form : null;
  } catch {
    return null;
  }
}

// Has the form of the last visit put back when the Train tab is built.
export function offerForm() {
  stored = readStored();
  if (!stored) return;
  const models = (lists().lists?.base_model || {choices: []}).choices;
  if (!models.some((one) => one[1] === stored.base_model)) delete stored.base_model;
  ask('train-start-box', {key: 'restore'});
}

// Shows one of the lines about where the values come from, with some of them; none for "".
function showLine(name, paths, values) {
  for (const line of document.querySelectorAll('#train-form-note [data-line]')) {
    line.dataset.shown = String(line.dataset.line === name);
    const shown = paths.slice(0, MOST_SHOWN).map((path) => `${path} = ${values[path] ?? ''}`);
    if (paths.length > MOST_SHOWN) shown.push('…');
    for (const list of line.querySelectorAll('b')) list.textContent = shown.join(', ');
  }
}

// Asks for the values of what was chosen to fill the form.
async function askForm(now) {
  const press = takeEvent('train-start-box');
  if (!press && [OPENED, filledPreset].includes(now.preset)) {
    if (now.preset === filledPreset) request = null; // another one was chosen and left again
    return;
  }
  const mine = {was: now, answer: null, kind: press ? press.key ?? 'opened' : 'preset'};
  request = mine;
  if (mine.kind === 'anew') mine.answer = {values: {[START_FROM]: ''}};
  else if (mine.kind === 'restore') mine.answer = stored;
  else if (mine.kind === 'undo') mine.answer = before;
  else {
    const address = mine.kind === 'opened'
      ? makeAddress('opened-file', {file: press.file, kind: press.kind})
      : makeAddress('preset', {preset: now.preset});
    const answer = await fetch(`.${address}`, {cache: 'no-store'});
    if (answer.ok) mine.answer = await answer.json();
  }
}

// Whether a way of filling the form leaves a setting as it is.
function leaves(kind, path) {
  if (kind === 'preset') return edited.has(path);
  const isElsewhere = BY_BASE_MODEL.has(path) || path === NAME;
  return kind === 'restore' && isElsewhere && !stored.edited.includes(path);
}

// Fills the form with the answer. A box keeps what was typed or chosen in it since.
function fillForm(now) {
  if (!request || !request.answer) return {}; // something else has been chosen since
  const {was, answer, kind} = request;
  request = null;
  const changes = 'note' in answer ? {note: answer.note} : {};
  const given = Object.entries(answer.values || {});
  const untouched = given.filter(([path]) => isSame(now.values[path], was.values[path]));
  changes.values = Object.fromEntries(untouched.filter(([path]) => !leaves(kind, path)));
  if (answer.rows) {
    const rows = Object.entries(answer.rows);
    const same = rows.filter(([name]) => isSame(now.rows[name], was.rows[name]));
    changes.rows = Object.fromEntries(same);
  }
  for (const name of CHOICES) {
    if (answer[name] && isSame(now[name], was[name])) changes[name] = answer[name];
  }
  if (kind === 'opened' && changes.base_model && changes.base_model !== now.base_model) {
    keepSettings(changes.base_model);
  }
  if ('values' in answer && kind !== 'anew') noteFilled(kind, now, changes, answer);
  return changes;
}

// Notes what the form holds from here on, and shows what stayed and what can be had back.
function noteFilled(kind, now, changes, answer) {
  const then = {...now, ...changes, values: {...now.values, ...changes.values}};
  // The lists name what was chosen just now, the values are still those of the choice before.
  const chosen = {preset: filledPreset ?? now.preset, rows: filledRows ?? now.rows};
  const earlier = {...now, ...chosen, note, edited: [...edited]};
  if (kind === 'undo' || kind === 'restore') edited = new Set(answer.edited);
  else if (kind !== 'preset') edited = new Set();
  base = {...now.values, ...answer.values};
  if (kind === 'undo' || kind === 'restore') for (const path of edited) base[path] = null;
  const own = [...edited].filter((path) => path in answer.values
    && (kind === 'restore' || !isSame(answer.values[path], then.values[path])));
  const needsOwn = kind === 'preset' || kind === 'restore';
  showLine(needsOwn && !own.length ? '' : LINES[kind], own, then.values);
  before = kind === 'undo' ? null : earlier;
  filledPreset = then.preset;
  filledRows = {...now.rows, ...changes.rows};
  note = changes.note ?? note;
  store(then);
}

// A person has entered or chosen something, or the page was loaded.
function keepForm(now) {
  if (base === null) {
    [base, filledPreset, filledRows] = [now.values, now.preset, now.rows];
    return;
  }
  for (const [path, value] of Object.entries(now.values)) {
    if (isSame(value, base[path])) edited.delete(path);
    else if (!BY_BASE_MODEL.has(path) && !(path === NAME && value === now.dataset)) {
      edited.add(path);
    }
  }
  store(now);
}

document.addEventListener('click', ({target}) => {
  const button = target.closest('#train-form-note [data-form]');
  if (button) ask('train-start-box', {key: button.dataset.form});
});

export const functions = {askForm, fillForm, keepForm: (now) => { keepForm(now); return {}; }};
