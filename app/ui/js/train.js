// What the browser decides about the settings of a run (`app/train`); the names are used by
// `wire_in_browser`.

import {set, takeEvent} from './state.js';

let named;
let namedAfter = '';
let noted = {}; // the note about the last press, and the run's state when it came

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

// A note about a press goes when the run's state is another one than when it came.
function endNote({message}) {
  const shown = document.querySelector('#train-progress [data-state]');
  const state = shown ? `${shown.dataset.run} ${shown.dataset.state}` : '';
  if (message !== noted.message) noted = {message, state};
  if (!message || noted.state === state || message.includes('role="alert"')) return {};
  return {message: ''};
}

// Shares the values that fragments depend on.
function shareSettings({name, exposure, rates, checks, start_from: startFrom}) {
  named ??= name;
  set({
    run_name: name,
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

export const functions = {nameRun, shareSettings, applyMemoryChange, endNote};
