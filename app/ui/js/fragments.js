// Fragments: parts of the page that show the state of folders (`app/ui/fragments.py`).
//
// Once a second one request asks for the versions of all fragments that can be seen; a fragment
// whose version changed is fetched and put into the page. After a click it is asked at once.

import {get, onChange} from './state.js';
import {morph} from './morph.js';
import {addKeys, markPressed} from './grid.js';

const EVERY_MILLISECONDS = 1000;
const AFTER_A_CLICK = [120, 500];

const fragments = new Set();
const json = {};
let lastQuery = '';
let lastTag = '';
let looking = null;
let again = false;

// Returns what a view that is data instead of HTML told last.
export const dataOf = (view) => json[view];

// Takes a component in: its fragment is kept up to date, presses in it raise events.
export function mountFragment(host, trigger) {
  const fragment = {host, trigger, version: '', address: ''};
  for (const old of fragments) if (old.host === host || !old.host.isConnected) fragments.delete(old);
  fragments.add(fragment);
  const {grid, selects} = rootOf(fragment).dataset;
  addKeys(host, {
    grid,
    selects,
    press: (cell) => trigger('select', {key: cell.dataset.key, ...valuesOf(fragment)}),
  });
  lookSoon();
}

function rootOf(fragment) {
  return fragment.host.querySelector('[data-view]');
}

function namesOf(fragment) {
  return (rootOf(fragment).dataset.names || '').split(' ').filter(Boolean);
}

// The values that what is shown was fetched with: a press is about what the person saw.
function valuesOf(fragment) {
  return fragment.values || Object.fromEntries(namesOf(fragment).map((name) => [name, get(name)]));
}

function isVisible(fragment) {
  const root = rootOf(fragment);
  if (!fragment.host.isConnected || !root) return false;
  if ('json' in root.dataset) return true;
  // An empty fragment's own block is hidden, so its surroundings are asked.
  const block = fragment.host.closest('.block');
  return ((block && block.parentElement) || fragment.host).checkVisibility();
}

function addressOf(fragment) {
  const [first, ...others] = namesOf(fragment);
  const query = new URLSearchParams();
  if (first) query.set('first', first);
  for (const name of others) query.set(name, get(name));
  const item = encodeURIComponent((first && get(first)) || '-');
  const end = query.size ? `?${query}` : '';
  return `/view/${rootOf(fragment).dataset.view}/${item}${end}`;
}

async function load(fragment, address) {
  const names = namesOf(fragment);
  const values = Object.fromEntries(names.map((name) => [name, get(name)]));
  const headers = fragment.address === address ? {'if-none-match': fragment.version} : {};
  const answer = await fetch(address, {headers, cache: 'no-store'});
  if (!fragment.host.isConnected || addressOf(fragment) !== address) return; // another one is due
  if (answer.status === 304) return;
  const text = await answer.text();
  if (addressOf(fragment) !== address) return;
  fragment.address = address;
  fragment.values = values;
  fragment.version = answer.headers.get('etag') || 'none';
  if (!answer.ok) return;
  show(fragment, text);
}

function show(fragment, text) {
  const root = rootOf(fragment);
  if ('json' in root.dataset) {
    json[root.dataset.view] = JSON.parse(text);
  } else {
    morph(root, text);
    if (root.dataset.selects) markPressed(root, get(root.dataset.selects));
    const titled = root.querySelector('[data-title]');
    if (titled) document.title = titled.dataset.title;
  }
  root.dataset.ready = '';
  fragment.trigger('tick', {});
}

async function look() {
  const shown = [...fragments].filter(isVisible);
  if (!shown.length) return;
  const addresses = shown.map(addressOf);
  const query = addresses.map((one) => `of=${encodeURIComponent(one)}`).join('&');
  const headers = query === lastQuery ? {'if-none-match': lastTag} : {};
  const answer = await fetch(`/versions?${query}`, {headers, cache: 'no-store'});
  if (answer.status === 304 || !answer.ok) return;
  const versions = await answer.json();
  await Promise.all(shown.map((fragment, place) => {
    const address = addresses[place];
    const known = fragment.address === address && fragment.version === versions[place];
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
    if (root && root.dataset.selects) markPressed(root, get(root.dataset.selects));
  }
  lookSoon();
});
setInterval(() => { if (!document.hidden) lookSoon(); }, EVERY_MILLISECONDS);
document.addEventListener('visibilitychange', () => { if (!document.hidden) lookSoon(); });
document.addEventListener('click', () => {
  for (const milliseconds of AFTER_A_CLICK) setTimeout(lookSoon, milliseconds);
});
