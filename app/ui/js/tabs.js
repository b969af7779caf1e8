// The tabs: which one is open, and doing something on another one.

import {set} from './state.js';

const mounted = new Map();
const waiting = new Map(); // what becomes of a component that is not built yet, by its id

// Remembers how an event is raised on a component, by the component's id.
export function rememberTrigger(host, trigger) {
  const component = host.parentElement.closest('[id]');
  if (!component) return;
  mounted.set(component.id, {host, trigger});
  const raise = waiting.get(component.id);
  if (raise) setTimeout(() => raise(trigger), 50); // its events are wired a moment later
  waiting.delete(component.id);
}

// Notes the tab that is open. A tab's button is elsewhere where the screen is narrow.
export function noteTab() {
  const tab = document.querySelector('[role=tab][aria-selected=true]');
  const name = tab && tab.id.match(/^tab-(\w+)-button$/);
  if (name) set({tab: name[1]});
}

// Returns what is looked for, waiting until its tab has been built: that happens when it is first
// opened.
export async function waitFor(find) {
  for (;;) {
    const result = find();
    if (result) return result;
    await new Promise((done) => { setTimeout(done, 50); });
  }
}

// Raises `select` on a component of another tab.
export function request(componentId, data) {
  const known = mounted.get(componentId);
  const raise = (trigger) => trigger('select', data);
  if (known && known.host.isConnected) raise(known.trigger);
  else waiting.set(componentId, raise);
}

// Presses a button of another tab.
export async function pressButton(selector) {
  (await waitFor(() => document.querySelector(selector))).click();
}
