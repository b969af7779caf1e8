// Fragments: parts of the page that show the state of folders (`app/ui/fragments.py`).
//
// Once a second one request asks what changed of all fragments that can be seen, and what did is put
// into the page. A fragment that is new, or shows something else, is fetched by itself. After a click
// it is asked at once.

import {checkAnswer, noteAnswer, noteSilence} from './connection.js';
import {get, onChange} from './state.js';
import {followLogs} from './logs.js';
import {morph} from './morph.js';
import {addKeys, setPressed} from './grid.js';

const EVERY_MILLISECONDS = 1000;
const AFTER_A_CLICK = [120, 500];

const fragments = new Set();
const json = {};
let looking = null;
let again = false;

// Returns the newest data of a view that is data instead of HTML.
export const dataOf = (view) => json[view];

const listeners = [];

// Calls a function with the view's name after a new version of it was put into the page.
export const onShown = (listener) => { listeners.push(listener); };

// Raises the fragments' `tick` once more: what depends on the view's data shall look at it again.
export function repeatTick(view) {
  for (const fragment of fragments) {
    const root = fragment.host.isConnected && rootOf(fragment);
    if (root && root.dataset.view === view) fragment.trigger('tick', {});
  }
}

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
  const answer = checkAnswer(await fetch(`.${address}`, {cache: 'no-store'}));
  const html = answer.ok ? await answer.text() : null;
  take(fragment, address, {version: answer.headers.get('etag') || '', html, values});
}

// Takes in what has come for an address, unless another one is due by now.
function take(fragment, address, {version, html, values}) {
  if (!fragment.host.isConnected || !rootOf(fragment) || addressOf(fragment) !== address) return;
  Object.assign(fragment, {address, version, values: values || fragment.values});
  rootOf(fragment).dataset.ready = '';
  if (html !== null) show(fragment, html);
}

function show(fragment, text) {
  const root = rootOf(fragment);
  if ('json' in root.dataset) {
    json[root.dataset.view] = JSON.parse(text);
  } else {
    morph(root, text);
    followLogs(root);
    if (root.dataset.selects) setPressed(root, get(root.dataset.selects));
    const titled = root.querySelector('[data-title]');
    if (titled) document.title = titled.dataset.title;
  }
  for (const listener of listeners) listener(root.dataset.view);
  fragment.trigger('tick', {});
}

const isStill = (fragment) => 'still' in rootOf(fragment).dataset;

async function look() {
  const visible = [...fragments].filter(isVisible).map((one) => [one, addressOf(one)]);
  const known = visible.filter(([fragment, address]) => isLoaded(fragment, address));
  const others = visible.filter((one) => !known.includes(one));
  const polled = known.filter(([fragment]) => !isStill(fragment));
  await Promise.all([askChanges(polled), ...others.map(([one, address]) => load(one, address))]);
}

// Asks for all that changed in one request.
async function askChanges(polled) {
  if (!polled.length) return;
  const query = polled.map(([, address]) => `of=${encodeURIComponent(address)}`).join('&');
  const headers = {'if-none-match': polled.map(([fragment]) => fragment.version).join('.')};
  const answer = checkAnswer(await fetch(`./changes?${query}`, {headers, cache: 'no-store'}));
  if (!answer.ok) return; // 304 above all
  const changes = await answer.json();
  polled.forEach(([fragment, address], place) => {
    if (changes[place]) take(fragment, address, changes[place]);
  });
}

// Looks now; while a look is under way, once more after it.
export function lookSoon() {
  if (looking) {
    again = true;
    return looking;
  }
  looking = look()
    .then(noteAnswer, noteSilence) // the next look may find the server again
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
