// Fragments: parts of the page that show the state of folders (`app/ui/fragments.py`).
//
// Once a second one request asks for the versions of all fragments that can be seen; a fragment
// whose version changed is fetched and put into the page. After a click it is asked at once.

import {get, onChange} from './state.js';
import {morph} from './morph.js';
import {addKeys, setPressed} from './grid.js';

const EVERY_MILLISECONDS = 1000;
const AFTER_A_CLICK = [120, 500];

const fragments = new Set();
const json = {};
let lastQuery = '';
let lastTag = '';
let looking = null;
let again = false;

// Returns the newest data of a view that is data instead of HTML.
export const dataOf = (view) => json[view];

const listeners = [];

// Calls a function with the view's name after a new version of it was put into the page.
export const onShown = (listener) => { listeners.push(listener); };

// Takes a component in: its fragment is kept up to date, presses in it raise events.
export function mountFragment(host, trigger) {
  const fragment = {host, trigger, version: '', address: ''};
  for (const old of fragments) if (old.host === host || !old.host.isConnected) fragments.delete(old);
  fragments.add(fragment);
  const {grid, selects} = rootOf(fragment).dataset;
  addKeys(host, {
    grid,
    selects,
    press: (cell) => trigger('select', {...cell.dataset, ...valuesOf(fragment)}),
  });
  lookSoon();
}

function rootOf(fragment) {
  return fragment.host.querySelector('[data-view]');
}

// The values that a fragment depends on: the page's by their names, and those of its own.
function readValues(fragment) {
  const {names, values} = rootOf(fragment).dataset;
  const named = (names || '').split(' ').filter(Boolean).map((name) => [name, get(name)]);
  return {...Object.fromEntries(named), ...JSON.parse(values || '{}')};
}

// The values that what is shown was fetched with: a press is about what the person saw.
const valuesOf = (fragment) => fragment.values || readValues(fragment);

function isVisible(fragment) {
  const root = rootOf(fragment);
  if (!fragment.host.isConnected || !root) return false;
  if ('json' in root.dataset) return true;
  // An empty fragment's own block is hidden, so its surroundings are asked.
  const block = fragment.host.closest('.block');
  return ((block && block.parentElement) || fragment.host).checkVisibility();
}

const addressOf = (fragment) => makeAddress(rootOf(fragment).dataset.view, readValues(fragment));

// Returns the address of a view: its first value is in the path, the others in the query.
export function makeAddress(view, values) {
  const [first, ...others] = Object.entries(values);
  const query = new URLSearchParams();
  if (first) query.set('first', first[0]);
  for (const [name, value] of others) query.set(name, value);
  const item = encodeURIComponent((first && first[1]) || '-');
  const end = query.size ? `?${query}` : '';
  return `/view/${view}/${item}${end}`;
}

// Whether a fragment still has what it was loaded with. Gradio empties its element when an answer of
// the server puts another value into the component.
function isLoaded(fragment, address) {
  return fragment.address === address && 'ready' in rootOf(fragment).dataset;
}

async function load(fragment, address) {
  const values = readValues(fragment);
  const headers = isLoaded(fragment, address) ? {'if-none-match': fragment.version} : {};
  const answer = await fetch(address, {headers, cache: 'no-store'});
  const isDue = () => fragment.host.isConnected && rootOf(fragment)
    && addressOf(fragment) === address; // else another one is
  if (!isDue() || answer.status === 304) return;
  const text = await answer.text();
  if (!isDue()) return;
  fragment.address = address;
  fragment.values = values;
  fragment.version = answer.headers.get('etag') || '';
  rootOf(fragment).dataset.ready = '';
  if (answer.ok) show(fragment, text);
}

function show(fragment, text) {
  const root = rootOf(fragment);
  if ('json' in root.dataset) {
    json[root.dataset.view] = JSON.parse(text);
  } else {
    morph(root, text);
    if (root.dataset.selects) setPressed(root, get(root.dataset.selects));
    const titled = root.querySelector('[data-title]');
    if (titled) document.title = titled.dataset.title;
  }
  for (const listener of listeners) listener(root.dataset.view);
  fragment.trigger('tick', {});
}

const isStill = (fragment) => 'still' in rootOf(fragment).dataset;

async function look() {
  const visible = [...fragments].filter(isVisible);
  await Promise.all(visible.filter(isStill).map((fragment) => {
    const address = addressOf(fragment);
    return isLoaded(fragment, address) ? null : load(fragment, address);
  }));
  const shown = visible.filter((fragment) => !isStill(fragment));
  if (!shown.length) return;
  const addresses = shown.map(addressOf);
  const query = addresses.map((one) => `of=${encodeURIComponent(one)}`).join('&');
  const loaded = shown.every((fragment, place) => isLoaded(fragment, addresses[place]));
  const headers = loaded && query === lastQuery ? {'if-none-match': lastTag} : {};
  const answer = await fetch(`/versions?${query}`, {headers, cache: 'no-store'});
  if (answer.status === 304 || !answer.ok) return;
  const versions = await answer.json();
  await Promise.all(shown.map((fragment, place) => {
    const address = addresses[place];
    const known = isLoaded(fragment, address) && fragment.version === versions[place];
    return known ? null : load(fragment, address);
  }));
  [lastQuery, lastTag] = [query, answer.headers.get('etag')];
}

// Looks now; while a look is under way, once more after it.
export function lookSoon() {
  if (looking) {
    again = true;
    return looking;
  }
  looking = look()
    .catch(() => { /* the server is away; the next look may find it */ })
    .finally(() => {
      looking = null;
      if (again) {
        again = false;
        lookSoon();
      }
    });
  return looking;
}

onChange(() => {
  for (const fragment of fragments) {
    const root = rootOf(fragment);
    if (root && root.dataset.selects) setPressed(root, get(root.dataset.selects));
  }
  lookSoon();
});
setInterval(() => { if (!document.hidden) lookSoon(); }, EVERY_MILLISECONDS);
document.addEventListener('visibilitychange', () => { if (!document.hidden) lookSoon(); });
document.addEventListener('click', () => {
  for (const milliseconds of AFTER_A_CLICK) setTimeout(lookSoon, milliseconds);
});
