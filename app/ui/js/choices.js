// The lists of what may be chosen on the page: datasets, runs, base models, files.
//
// They are one fragment that is data instead of HTML. Whether a value changes with its list is
// decided here, in the moment in which the list arrives: an answer may come late.

import {offerForm} from './form.js';
import {dataOf, repeatTick} from './fragments.js';
import {onReturn, readAddress, set, startKeepingAddress} from './state.js';

let previous = {};
let returned = null; // the address's values after the browser went back or forward

const listsIt = (list, value) => Boolean(list) && list.choices.some((one) => one[1] === value);

// Returns updates for the lists that changed. A value stays unless there is none yet, or it was
// listed and is not any more. The first time, the address names what is chosen.
export function applyChoices(now) {
  const {lists = {}, tabs = []} = dataOf('choices') || {};
  const first = !Object.keys(previous).length;
  const updates = {};
  for (const [name, list] of Object.entries(lists)) {
    const before = previous[name];
    const value = now[name] ?? '';
    const gone = value && !listsIt(list, value) && listsIt(before, value);
    const update = {__type__: 'update', choices: list.choices};
    if (!value || gone) {
      const named = first ? readAddress(name) : '';
      update.value = listsIt(list, named) ? named : list.first;
    }
    const same = JSON.stringify(before) === JSON.stringify(list);
    if (!same || ('value' in update && (update.value || '') !== value)) updates[name] = update;
  }
  if (returned) {
    const {tab, open} = returned;
    returned = null;
    set({tab, open});
    if (tabs.includes(tab)) updates.tabs = {__type__: 'update', selected: tab};
  }
  previous = lists;
  if (first) {
    const tab = readAddress('tab');
    if (tabs.includes(tab)) updates.tabs = {__type__: 'update', selected: tab};
    const chosen = Object.entries(lists).map(([name]) => [name, updates[name]?.value ?? now[name]]);
    const shown = tabs.includes(tab) ? tab : tabs[0];
    set({...Object.fromEntries(chosen), open: readAddress('open'), tab: shown});
    startKeepingAddress();
    offerForm();
  }
  return updates;
}

onReturn((address) => {
  returned = address;
  repeatTick('choices');
});

// A choice was made, by a person or by an answer of the server.
export function reportChoices(now) {
  if (Object.keys(previous).length) set(now);
}
