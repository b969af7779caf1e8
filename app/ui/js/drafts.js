// Drafts: texts that were typed and that the server does not have yet.
//
// A draft belongs to the address that its text was read from. It is sent there and nowhere else,
// with the revision that it was made from. It is kept in this window until the server has it: also
// while the server does not answer, and over a reload.

const STORE = 'lorasmith-draft:';
const RETRY_MILLISECONDS = 2000;

const drafts = new Map();
const listeners = [];
const counts = new Map(); // answers to saving, by address

export const findDraft = (address) => drafts.get(address);
export const listDrafts = () => [...drafts.values()];

// Calls a function with each answer of the server to a draft: {draft, state, text, answer}.
export const onAnswer = (listener) => { listeners.push(listener); };

// How often the server has answered that a text of an address was saved, or why not. What was read
// before such an answer came may be older than what was saved.
export const countAnswers = (address) => counts.get(address) || 0;

function store(draft) {
  const {address, text, revision, name} = draft;
  try {
    sessionStorage.setItem(STORE + address, JSON.stringify({text, revision, name}));
  } catch { /* no space, or not allowed: the draft is kept as long as the page is */ }
}

export function dropDraft(address) {
  drafts.delete(address);
  try {
    sessionStorage.removeItem(STORE + address);
  } catch { /* as above */ }
}

// Notes what is in the box of an address; `read` is what was read from there.
export function noteText(read, text) {
  const {address, revision, name} = read;
  const draft = drafts.get(address) || {address, revision, name, state: 'typed'};
  if (text === read.text && !draft.sending && !draft.newer) {
    dropDraft(address);
    return;
  }
  draft.text = text;
  if (draft.state === 'refused') draft.state = 'typed';
  drafts.set(address, draft);
  store(draft);
}

// Sends the draft of an address; what is typed while it is on its way goes after it.
export async function sendDraft(address, {leaving = false} = {}) {
  const draft = drafts.get(address);
  if (!draft || !['typed', 'waiting'].includes(draft.state)) return;
  if (draft.sending) {
    draft.again = draft.text !== draft.sending.text;
    if (!leaving || !draft.again) return;
  }
  const sent = {text: draft.text};
  draft.sending = sent;
  const result = await put(draft, leaving);
  if (draft.sending !== sent || drafts.get(address) !== draft) return;
  draft.sending = null;
  finish(draft, sent.text, result);
  if (draft.again) {
    draft.again = false;
    sendDraft(address);
  }
}

async function put({address, text, revision}, leaving) {
  const request = {
    method: 'PUT',
    headers: {'content-type': 'application/json', 'if-match': `"${revision}"`},
    body: JSON.stringify({text}),
    keepalive: leaving, // the browser finishes it when the page is gone
  };
  try {
    const answer = await fetch(`.${address}`, request);
    const isText = (answer.headers.get('content-type') || '').startsWith('application/json');
    return {status: answer.status, answer: isText ? await answer.json() : {}};
  } catch {
    return {status: 0, answer: {}};
  }
}

const STATES = {200: 'saved', 412: 'conflict', 404: 'gone', 413: 'refused', 422: 'refused'};

function finish(draft, text, {status, answer}) {
  const state = STATES[status] || 'waiting';
  const {address} = draft;
  if (state !== 'waiting') counts.set(address, countAnswers(address) + 1);
  draft.state = state === 'saved' ? 'typed' : state;
  draft.message = answer.message || '';
  if (state === 'saved') {
    draft.revision = answer.revision;
    if (draft.text === text) dropDraft(address);
    else store(draft);
  } else if (state === 'conflict') {
    draft.newer = {text: answer.text, revision: answer.revision};
  }
  for (const listener of listeners) listener({draft, state, text, answer});
}

// After a conflict: the draft's text replaces the newer one.
export function keepDraft(address) {
  const draft = drafts.get(address);
  draft.revision = draft.newer.revision;
  draft.newer = null;
  draft.state = 'typed';
  store(draft);
  return sendDraft(address);
}

// Sends a draft whose image was gone and is back.
export function retryDraft(address) {
  const draft = drafts.get(address);
  if (!draft || draft.state !== 'gone') return;
  draft.state = 'waiting';
  sendDraft(address);
}

// Sends all drafts, for example because the page is about to be left.
export function sendDrafts(options) {
  for (const {address} of listDrafts()) sendDraft(address, options);
}

function restore() {
  try {
    for (const key of Object.keys(sessionStorage)) {
      if (!key.startsWith(STORE)) continue;
      const address = key.slice(STORE.length);
      drafts.set(address, {...JSON.parse(sessionStorage[key]), address, state: 'waiting'});
    }
  } catch { /* nothing can be read */ }
}

restore();
setInterval(() => {
  for (const {address, state} of listDrafts()) if (state === 'waiting') sendDraft(address);
}, RETRY_MILLISECONDS);
