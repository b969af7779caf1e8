// The caption editor: the large image, the box for its caption, the box for the trigger word.
//
// A box holds the text of one address at a time, and nothing but this module writes into it. It is
// locked until the text of the image that was chosen last has come. What is typed becomes a draft
// (`drafts.js`) of the address that the box was read from; it is sent when the box is left.

import {
  countAnswers, dropDraft, findDraft, keepDraft, listDrafts, noteText, onAnswer, retryDraft,
  sendDraft, sendDrafts,
} from './drafts.js';
import {showCut} from './findings.js';
import {onShown} from './fragments.js';
import {get, onChange, set} from './state.js';

const RETRY_MILLISECONDS = 1000;

const boxes = {};
let keys = []; // of the images in the grid
let noted = ''; // the dataset that the notes are about
let restoring = null; // what was chosen, and which images there were, when one was brought back

const captionAddress = (dataset, image) => (
  dataset && image ? `/captions/${encodeURIComponent(dataset)}/${encodeURIComponent(image)}` : '');
const triggerAddress = (dataset) => (dataset ? `/trigger/${encodeURIComponent(dataset)}` : '');

function element(tag, content, attributes = {}) {
  const made = document.createElement(tag);
  made.append(...[content].flat());
  Object.assign(made, attributes);
  return made;
}

// --- A box: `address` is what it shall show, `read` what it shows.

function mountBox(name, host, show) {
  const root = host.querySelector(`[data-${name}]`);
  const input = root.querySelector('textarea, input');
  const note = root.querySelector('[id$=-note]');
  const box = {root, input, note, show, prefix: `/${name}/`, address: null, read: null, line: null};
  boxes[name] = box;
  input.addEventListener('input', () => { if (box.read) noteText(box.read, input.value); });
  input.addEventListener('blur', () => leave(box));
  input.addEventListener('keydown', (event) => {
    const enter = event.key === 'Enter' && (event.shiftKey || event.ctrlKey || input.matches('input'));
    const save = event.key.toLowerCase() === 's' && (event.ctrlKey || event.metaKey);
    if (!enter && !save) return;
    event.preventDefault();
    leave(box);
  });
  showNote(box);
}

// Takes in the component with the large image and the box for its caption.
export function mountCaption(host) {
  mountBox('captions', host, showImage);
  noticeImages();
}

// Takes in the component with the box for the trigger word.
export function mountTrigger(host) {
  mountBox('trigger', host, () => {});
  aim(boxes.trigger, triggerAddress(get('dataset')));
}

function leave(box) {
  if (box && box.read) sendDraft(box.read.address);
}

// Has a box show the text of another address; "" is none, null is one that is not known yet.
function aim(box, address) {
  if (!box || box.address === address) return;
  leave(box);
  box.address = address;
  box.input.readOnly = true;
  if (address) read(box);
  else if (address === '') fill(box, null);
}

// Reads what a locked box waits for, or what is newer than it shows, unless something was typed.
function refresh(box) {
  if (!box || !box.address) return;
  if (box.input.readOnly || !box.read) read(box);
  else if (!findDraft(box.address)) read(box, box.read.revision);
}

async function read(box, revision = '') {
  if (box.reading) box.reading.abort();
  const reading = new AbortController();
  box.reading = reading;
  const {address} = box;
  const before = countAnswers(address);
  const answer = await fetchText(address, revision, reading.signal);
  if (box.reading !== reading || box.address !== address) return;
  box.reading = null;
  if (answer.status === 304 && countAnswers(address) === before) return;
  if (answer.status === 404) return; // the grid will show which images there are
  if (answer.status !== 200 || countAnswers(address) !== before) {
    const wait = answer.status === 200 || answer.status === 304 ? 0 : RETRY_MILLISECONDS;
    setTimeout(() => { if (box.address === address && !box.reading) refresh(box); }, wait);
    return;
  }
  fill(box, {...answer.data, address});
}

async function fetchText(address, revision, signal) {
  const headers = revision ? {'if-none-match': `"${revision}"`} : {};
  try {
    const answer = await fetch(`.${address}`, {headers, cache: 'no-store', signal});
    return {status: answer.status, data: answer.status === 200 ? await answer.json() : null};
  } catch {
    return {status: 0};
  }
}

// Puts what was read into a box; a draft of the same address comes before it.
function fill(box, data) {
  box.read = data;
  const draft = data && findDraft(data.address);
  const text = draft ? draft.text : (data && data.text) || '';
  if (box.input.value !== text) box.input.value = text;
  box.input.disabled = !data;
  box.input.readOnly = Boolean(data) && data.address !== box.address;
  box.show(data);
  showNote(box);
}

function showImage(data) {
  const place = boxes.captions.root.querySelector('#dataset-image');
  if (!data) {
    place.replaceChildren(element('p', boxes.captions.root.dataset.noImage, {className: 'quiet'}));
    return;
  }
  const now = place.querySelector('img');
  if (now && now.getAttribute('src') === data.image) return;
  const image = element('img', [], {src: data.image, alt: data.name, className: 'large'});
  place.replaceChildren(
    element('div', [image, element('div', [], {className: 'cut'})], {className: 'framed'}),
    element('p', data.facts, {className: 'quiet'}),
  );
  showCut();
}

// --- Notes: what became of a text, and the texts that a person has to decide about.

function makeNote(message, kind) {
  const note = element('p', message, {className: `note note-${kind}`});
  note.setAttribute('role', kind === 'error' ? 'alert' : 'status');
  return note;
}

function makeText(label, text) {
  return [element('p', label, {className: 'quiet'}), element('p', text, {className: 'other-text'})];
}

function makeDecision(box, draft) {
  const words = box.root.dataset;
  const button = (label, act) => element('button', label, {
    type: 'button', className: 'button button-small', onclick: act,
  });
  const shown = box.read && box.read.address === draft.address;
  const parts = [makeNote(draft.message, 'error')];
  if (draft.newer) parts.push(...makeText(words.newer, draft.newer.text));
  if (!shown || draft.state === 'gone') parts.push(...makeText(words.mine, draft.text));
  const buttons = draft.newer
    ? [button(words.useNewer, () => useNewer(box, draft)), button(words.keepMine, () => {
      keepDraft(draft.address);
      showNote(box);
    })]
    : [button(words.dismiss, () => { dropDraft(draft.address); showNote(box); })];
  return element('div', [...parts, element('div', buttons, {className: 'buttons'})], {
    className: 'decision',
  });
}

function useNewer(box, draft) {
  const {address, newer} = draft;
  dropDraft(address);
  box.line = null;
  if (box.read && box.read.address === address) fill(box, {...box.read, ...newer});
  else showNote(box);
}

function showNote(box) {
  const drafts = listDrafts().filter(({address}) => address.startsWith(box.prefix));
  const open = drafts.filter(({state}) => state === 'conflict' || state === 'gone');
  const line = drafts.some(({state}) => state === 'waiting')
    ? {message: box.root.dataset.waiting, kind: 'warning'} : box.line;
  const parts = line && line.message ? [makeNote(line.message, line.kind)] : [];
  const nodes = [...parts, ...open.map((draft) => makeDecision(box, draft))];
  const next = element('div', nodes);
  // What stands there already is not read out again.
  if (next.innerHTML !== box.note.innerHTML) box.note.replaceChildren(...next.childNodes);
}

onAnswer(({draft, state, text, answer}) => {
  const box = Object.values(boxes).find(({prefix}) => draft.address.startsWith(prefix));
  if (!box) return;
  if (state === 'saved') {
    if (answer.message) box.line = {message: answer.message, kind: 'good'};
    else if (box.line && box.line.kind !== 'good') box.line = null;
    if (box.read && box.read.address === draft.address) {
      box.read = {...box.read, text, revision: answer.revision};
    }
  } else if (state === 'refused') {
    box.line = {message: draft.message, kind: 'error'};
  } else {
    box.line = null;
  }
  showNote(box);
});

// --- What is chosen.

// The grid shows a new version: the image that is chosen may be gone, or one may have come back.
export function noticeImages() {
  const shown = document.querySelector('#dataset-grid [data-of]');
  if (!shown || shown.dataset.of !== get('dataset')) return;
  const next = [...shown.querySelectorAll('[data-key]')].map((tile) => tile.dataset.key);
  const image = get('image');
  let chosen = image;
  if (!next.includes(image)) {
    const place = Math.max(keys.indexOf(image), 0);
    chosen = next[Math.min(place, next.length - 1)] || '';
  }
  if (restoring) {
    const back = next.find((key) => !restoring.keys.includes(key));
    if (back && restoring.image === image) chosen = back;
    if (back) restoring = null;
  }
  keys = next;
  for (const key of keys) retryDraft(captionAddress(get('dataset'), key));
  set({image: chosen});
  const address = captionAddress(get('dataset'), chosen);
  if (boxes.captions && boxes.captions.address === address) refresh(boxes.captions);
  else aim(boxes.captions, address);
  refresh(boxes.trigger);
}

onShown((view) => { if (view === 'dataset-grid') noticeImages(); });

onChange((names) => {
  if (names.includes('dataset')) {
    keys = [];
    restoring = null;
    aim(boxes.captions, null);
    aim(boxes.trigger, triggerAddress(get('dataset')));
    // A draft may have been saved before the page's first dataset was known.
    if (noted) for (const box of Object.values(boxes)) box.line = null;
    noted = get('dataset');
    Object.values(boxes).forEach(showNote);
  } else if (names.includes('image')) {
    aim(boxes.captions, captionAddress(get('dataset'), get('image')));
  }
});

document.addEventListener('click', ({target}) => {
  if (target.closest('#dataset-undo')) restoring = {image: get('image'), keys};
  else if (target.closest('#dataset-grid [data-key]')) restoring = null;
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) sendDrafts({leaving: true});
});
window.addEventListener('pagehide', () => sendDrafts({leaving: true}));
