// What the browser decides about the settings of a run (`app/train`); the names are used by
// `wire_in_browser`.

import {dataOf, lookSoon, onShown} from './fragments.js';
import {get, set, takeEvent} from './state.js';
import {pressButton, waitFor} from './tabs.js';

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

// Which half of the tab is shown: a run that is worked on, or has ended since the page showed it.
const MODE = 'lorasmith-train';

const isBusy = (state) => ['starting', 'running', 'paused'].includes(state);

function showMode(mode) {
  document.documentElement.dataset.train = mode;
  try {
    sessionStorage.setItem(MODE, mode);
  } catch { /* then a reload shows the settings */ }
  lookSoon();
}

function readMode() {
  try {
    return sessionStorage.getItem(MODE) || 'settings';
  } catch {
    return 'settings';
  }
}

let shownState = '';
// Whether somebody is at the settings of another run, which a run that begins must not hide.
let atSettings = false;

onShown((view) => {
  if (view !== 'status') return;
  const bar = document.querySelector('#run-bar [data-state]');
  const state = bar ? `${bar.dataset.run} ${bar.dataset.state}` : '';
  if (state === shownState) return;
  const isFirst = !shownState;
  shownState = state;
  if (bar && isBusy(bar.dataset.state) && !atSettings) showMode('run');
  else if (isFirst) showMode(bar && bar.dataset.state !== 'none' ? readMode() : 'settings');
});

// Shows the settings of another run instead of the run that is shown.
export function showSettings() {
  atSettings = true;
  showMode('settings');
}

document.addEventListener('click', ({target}) => {
  if (target.closest('#train-another, #train-queue')) showSettings();
  if (target.closest('#train-start')) atSettings = false;
  if (target.closest('#run-bar [data-run]')) {
    atSettings = false;
    showMode('run');
    pressButton('#tab-train-button');
  }
});

// Puts the shown run's sample prompts into their box.
function showPrompts() {
  const data = dataOf('run-prompts');
  return data ? {prompts: data.prompts.join('\n'), message: ''} : {};
}

// The same where they come after the box was opened, unless somebody has begun to type.
function showFirstPrompts({prompts}) {
  const data = dataOf('run-prompts');
  return data && !prompts ? {prompts: data.prompts.join('\n')} : {};
}

// Goes where the buttons of a finished run lead.
function leaveTrain() {
  const press = takeEvent('train-finish');
  if (!press || !['try', 'share'].includes(press.key)) return {};
  const tab = press.key === 'try' ? 'preview' : 'library';
  set({tab, ...(tab === 'library' && {open: press.run || get('run')})});
  if (tab === 'preview') generateWhenReady();
  return {tabs: {__type__: 'update', selected: tab}};
}

const hasValue = (selector) => Boolean(document.querySelector(selector)?.value);

// Generates with the newest adapter, as soon as the Preview tab has chosen it and a prompt.
async function generateWhenReady() {
  await waitFor(() => hasValue('#preview-adapter input') && hasValue('#preview-prompt textarea'));
  pressButton('#preview-generate');
}

// Shares the values that fragments depend on.
function shareSettings({name, exposure, rates, checks, learned, start_from: startFrom}) {
  named ??= name;
  set({
    run_name: name,
    exposure: JSON.stringify(exposure),
    rates: JSON.stringify(rates),
    checks: JSON.stringify(checks),
    learned: JSON.stringify(learned),
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

export const functions = {nameRun, shareSettings, applyMemoryChange, endNote, leaveTrain, showPrompts,
  showFirstPrompts};
