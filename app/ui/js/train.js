// What the browser decides about the settings of a run (`app/train`); the names are used by
// `wire_in_browser`.

import {makeAddress} from './fragments.js';
import {keepSettings} from './models.js';
import {set, takeEvent} from './state.js';

const OPENED = 'opened'; // the preset's name while the form shows the settings of a file
const START_FROM = 'adapter.start_from';

let request = null;
let named;
let namedAfter = '';

// A box that is empty holds null before it is rendered and "" afterwards.
const isSame = (one, other) => (one ?? '') === (other ?? '');

// Asks for the values of what was chosen to fill the form: a file of the Library, or a preset.
async function askForm(now) {
  const press = takeEvent('train-start-box');
  if (!press && now.preset === OPENED) return;
  const mine = {was: now, answer: null};
  request = mine;
  if (press && press.key === 'anew') {
    mine.answer = {values: {[START_FROM]: ''}};
    return;
  }
  const address = press
    ? makeAddress('opened-file', {file: press.file, kind: press.kind})
    : makeAddress('preset', {preset: now.preset});
  const answer = await fetch(`.${address}`, {cache: 'no-store'});
  if (answer.ok) mine.answer = await answer.json();
}

// Fills the form with the answer. A box keeps what was typed or chosen in it since.
function fillForm(now) {
  if (!request || !request.answer) return {}; // something else has been chosen since
  const {was, answer} = request;
  request = null;
  const changes = 'note' in answer ? {note: answer.note} : {};
  const values = Object.entries(answer.values || {});
  const untouched = values.filter(([path]) => isSame(now.values[path], was.values[path]));
  changes.values = Object.fromEntries(untouched);
  if (answer.rows) {
    const rows = Object.entries(answer.rows);
    const same = rows.filter(([name]) => isSame(now.rows[name], was.rows[name]));
    changes.rows = Object.fromEntries(same);
  }
  for (const name of ['preset', 'dataset', 'base_model']) {
    if (answer[name] && isSame(now[name], was[name])) changes[name] = answer[name];
  }
  if (changes.base_model && changes.base_model !== now.base_model) {
    keepSettings(changes.base_model);
  }
  return changes;
}

// Names a run after its dataset, unless somebody has given it a name of their own. What the box
// held when the page was built is nobody's own; an empty box waits for the next dataset. While
// somebody is in the box nothing is put into it.
function nameRun({dataset, name}) {
  named ??= name;
  if (document.activeElement?.closest('#setting-name')) return {};
  const next = dataset || name;
  const again = next === namedAfter;
  namedAfter = next;
  if (name !== named && (name || again)) return {};
  named = next;
  return {name: next};
}

// Shares the values that fragments depend on.
function shareSettings({name, exposure, rates, checks, start_from: startFrom}) {
  named ??= name;
  set({
    exposure: JSON.stringify(exposure),
    rates: JSON.stringify(rates),
    checks: JSON.stringify(checks),
    start_from: startFrom,
  });
}

// Puts the settings that would save memory into the form.
function applyMemoryChange() {
  const press = takeEvent('train-memory');
  return {values: JSON.parse(press.settings), message: press.message};
}

// Hides the settings, and the sections, that a search does not match. It looks at what the page
// already shows, so there is nothing to ask the server.
function filterSettings(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll('.setting-section')) {
    let shown = 0;
    for (const setting of section.querySelectorAll('.setting')) {
      const content = `${setting.id} ${setting.textContent}`.toLowerCase();
      const matches = words.every((word) => content.includes(word));
      setting.style.display = matches ? '' : 'none';
      shown += matches;
    }
    section.style.display = shown ? '' : 'none';
  }
}

document.addEventListener('input', ({target}) => {
  if (target.closest('#train-search')) filterSettings(target.value);
});

export const functions = {askForm, fillForm, nameRun, shareSettings, applyMemoryChange};
