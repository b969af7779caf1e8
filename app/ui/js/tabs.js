// The tabs: which one is open, and doing something on another one.

import {set} from './state.js';

const mounted = new Map();

// Remembers how an event is raised on a component, by the component's id.
export function rememberTrigger(host, trigger) {
  const component = host.parentElement.closest('[id]');
  if (component) mounted.set(component.id, {host, trigger});
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
export async function request(componentId, data) {
  const {trigger} = await waitFor(() => {
    const result = mounted.get(componentId);
    return result && result.host.isConnected ? result : null;
  });
  trigger('select', data);
}

// Presses a button of another tab.
export async function pressButton(selector) {
  (await waitFor(() => document.querySelector(selector))).click();
}
