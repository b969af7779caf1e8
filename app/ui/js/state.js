// What is chosen on the page: dataset, run, base model, tab … Plain texts by name.
//
// The choices themselves are Gradio's dropdowns, which report here when they change; fragments and
// the caption editor read from here. Some names are kept in the page's address, so that a reload
// shows the same.

const IN_ADDRESS = new Set(['tab', 'dataset', 'run', 'open']);

// A change of these is a step in the browser's history.
const IN_HISTORY = new Set(['tab']);

const values = {};
const listeners = [];
let opened = false;

// Returns a value, "" where there is none.
export const get = (name) => values[name] ?? '';

// Returns a value of the address that the page was opened with.
const first = new URL(window.location).searchParams;
export const readAddress = (name) => first.get(name) ?? '';

// Sets some values; what listens is called once, with the names that changed.
export function set(changes) {
  const changed = [];
  for (const [name, given] of Object.entries(changes)) {
    const value = given === null || given === undefined ? '' : String(given);
    if (values[name] === value) continue;
    values[name] = value;
    changed.push(name);
  }
  if (!changed.length) return;
  if (opened) keepInAddress(changed);
  for (const listener of listeners) listener(changed);
}

export const onChange = (listener) => { listeners.push(listener); };

const events = new Map();

// Keeps what the last press on a component was about, by the component's id.
export const keepEvent = (component, data) => { events.set(component, data); };

// Returns what the last press on a component was about, once.
export function takeEvent(component) {
  const data = events.get(component);
  events.delete(component);
  return data;
}

// Before the address has been read, the first values that Gradio reports must not replace it.
export function startKeepingAddress() {
  opened = true;
  keepInAddress(Object.keys(values), true);
}

// Calls a function with the address's values after the browser went back or forward.
export function onReturn(listener) {
  window.addEventListener('popstate', () => {
    const address = new URL(window.location).searchParams;
    listener(Object.fromEntries([...IN_ADDRESS].map((name) => [name, address.get(name) ?? ''])));
  });
}

function keepInAddress(names, isFirst = false) {
  const address = new URL(window.location);
  for (const name of names) {
    if (!IN_ADDRESS.has(name)) continue;
    if (values[name]) address.searchParams.set(name, values[name]);
    else address.searchParams.delete(name);
  }
  if (address.href === window.location.href) return;
  const isStep = !isFirst && names.some((name) => IN_HISTORY.has(name));
  if (isStep) window.history.pushState(null, '', address);
  else window.history.replaceState(null, '', address);
}
