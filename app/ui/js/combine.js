// What the workbench does in the browser; the names are used by `wire_in_browser`.
//
// What is shown of a task, and what a list that arrives does to what was chosen, is decided here,
// in the moment in which it arrives: an answer may come late.

import {dataOf} from './fragments.js';
import {set} from './state.js';

let previous = null; // the data that were applied last
let sent = {}; // the updates that were sent last, by the place they went to

const lists = (data, id) => Boolean(data) && data.files.some((one) => one[1] === id);
const isEqual = (one, other) => JSON.stringify(one ?? '') === JSON.stringify(other ?? '');

// Whether nobody has typed or chosen anything yet.
function isFresh(now, fresh) {
  return Object.entries(fresh).every(([name, value]) => (
    value && typeof value === 'object'
      ? Object.keys(value).every((path) => isEqual(now[name][path], value[path]))
      : isEqual(now[name], value)));
}

// Puts values of groups and of single fields over others.
function merge(now, changes) {
  const next = {...now};
  for (const [name, value] of Object.entries(changes)) {
    next[name] = value && typeof value === 'object' ? {...now[name], ...value} : value;
  }
  return next;
}

// What is not there any more is taken out of the choice; what is there stays the person's choice.
function dropMissing(now, data) {
  const files = {};
  for (const [number, id] of Object.entries(now.files)) {
    const gone = id && !lists(data, id) && (!previous || lists(previous, id));
    files[number] = gone ? '' : id;
  }
  const gone = (name) => name && !data.models.includes(name);
  return merge(now, {
    files,
    base_model: gone(now.base_model) ? '' : now.base_model,
    tuned_model: gone(now.tuned_model) ? null : now.tuned_model,
  });
}

// Offers the first files of a workspace; where there were none before, no choice is undone by it.
function offerFiles(now, data) {
  const known = previous ? previous.files.length : Boolean(data.last);
  if (known || Object.values(now.files).some(Boolean)) return now;
  const numbers = Object.keys(now.files).slice(0, 2);
  const offers = numbers.map((number, place) => [number, data.files[place]?.[1] ?? '']);
  return merge(now, {files: Object.fromEntries(offers)});
}

// A task that needs a base model begins with the first one.
function chooseBase(now, data) {
  const {required} = data.tasks[now.task].base;
  if (!required || now.base_model || !data.models.length) return now;
  return {...now, base_model: data.models[0]};
}

const tried = (data) => data.last && !data.saved && JSON.stringify([data.last, data.suggestion]);

// After something was tried its prompt and name are suggested, over nothing that somebody typed.
function takeSuggestions(now, data) {
  if (!previous || !tried(data) || tried(data) === tried(previous)) return now;
  const used = ['', previous.suggestion, previous.saved];
  used.push((previous.saved || '').replace(/\.safetensors$/, ''));
  const own = !used.includes((now.name || '').trim());
  return {
    ...now,
    prompt: (now.prompt || '').trim() ? now.prompt : data.last.prompt,
    name: own ? now.name : data.suggestion,
  };
}

function show(id, shown) {
  document.getElementById(id)?.setAttribute('data-shown', String(Boolean(shown)));
}

// How many rows of files to show: those that are filled, and one more to fill.
function countRows([least, most], files) {
  const filled = Object.values(files).reduce((last, id, place) => (id ? place + 1 : last), 0);
  return Math.min(most, Math.max(least, filled + 1));
}

// Shows the fields of the chosen task, and of those the ones that the others' values make use of.
function arrange(now, data) {
  const task = data.tasks[now.task];
  for (const [name, {conditions}] of Object.entries(data.tasks)) {
    show(`workbench-${name}`, name === now.task);
    for (const [path, used] of Object.entries(conditions)) {
      const fits = ([other, values]) => values.includes(now.settings[`${name}.${other}`]);
      const id = `workbench-${name}-${path.replaceAll('_', '-')}`;
      show(id, Object.entries(used).every(fits));
    }
  }
  const count = countRows(task.files, now.files);
  Object.keys(now.files).forEach((number, place) => {
    show(`workbench-row-${number}`, place < count);
    show(`workbench-weight-${number}`, task.weighted);
  });
  show('workbench-tuned-model', task.tuned);
  show('workbench-strength', data.weighted);
}

// Returns updates of lists and explanations.
function describe(now, data) {
  const {info, base} = data.tasks[now.task];
  const named = data.models.map((name) => [name, name]);
  const files = {choices: [[data.none, ''], ...data.files]};
  return {
    task: {info},
    settings: {'merge.method': {info: data.methods[now.settings['merge.method']] ?? ''}},
    files: Object.fromEntries(Object.keys(now.files).map((number) => [number, files])),
    base_model: {label: base.label, info: base.info, choices: [[base.none, ''], ...named]},
    tuned_model: {choices: named},
  };
}

// Returns an update where the page does not have it yet, or the value changes.
function makeUpdate(place, update, before, after) {
  const text = JSON.stringify(update ?? null);
  const fresh = update && sent[place] !== text;
  sent[place] = text;
  if (!fresh && isEqual(before, after)) return undefined;
  const value = isEqual(before, after) ? {} : {value: after};
  return {__type__: 'update', ...(fresh ? update : {}), ...value};
}

// Returns the updates that the page does not have yet, and the values that are to change.
function collect(now, next, described) {
  const updates = {};
  for (const [name, value] of Object.entries(now)) {
    if (value && typeof value === 'object') {
      updates[name] = {};
      for (const path of Object.keys(value)) {
        const update = described[name]?.[path];
        updates[name][path] = makeUpdate(`${name}.${path}`, update, value[path], next[name][path]);
      }
    } else {
      updates[name] = makeUpdate(name, described[name], value, next[name]);
    }
  }
  return updates;
}

// Shares with the fragments what the page holds: the settings of the chosen task alone.
function share(now) {
  const own = Object.entries(now.settings).filter(([path]) => path.startsWith(`${now.task}.`));
  const {task, files, weights, base_model, tuned_model} = now;
  const settings = Object.fromEntries(own);
  set({recipe: JSON.stringify({task, settings, files, weights, base_model, tuned_model})});
}

// The lists have arrived, or a field has changed.
function arrangeWorkbench(now) {
  const data = dataOf('workbench');
  if (!data || !data.tasks[now.task]) return {};
  if (!previous) sent = {};
  let next = now;
  if (data !== previous) {
    if (!previous && data.last && isFresh(now, data.fresh)) next = merge(next, data.last);
    next = dropMissing(next, data);
    next = offerFiles(next, data);
    next = takeSuggestions(next, data);
    previous = data;
  }
  next = chooseBase(next, data);
  arrange(next, data);
  share(next);
  return collect(now, next, describe(next, data));
}

export const functions = {arrangeWorkbench};
