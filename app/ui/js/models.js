// What the browser decides about base models (`app/models`); the names are used by
// `wire_in_browser`.

import {dataOf} from './fragments.js';
import {haveRowsBeenChosen, namePreset} from './presets.js';
import {takeEvent} from './state.js';

const listOf = () => (dataOf('choices') || {}).lists?.base_model || {choices: [], answers: {}};

// What was answered in this window, also before the lists have it.
const answers = {};
let opened = '';
let suggestedFor = '';
let presetBefore = '';
let measuredOf = '';
let arrived = '';

// The next choice of this base model brings settings of its own, such as those of a file.
export const keepSettings = (name) => { opened = name; };

// The settings about a base model belong to the one that was chosen before.
function chooseBaseModel({base_model: name, path, preset}) {
  const added = document.querySelector('#base-model-note [data-added]');
  const changes = added && added.dataset.added === path ? {path: ''} : {};
  const own = name && name === opened;
  opened = '';
  suggestedFor = '';
  presetBefore = preset;
  if (!name || own) return changes;
  const prediction = answers[name] || (listOf().answers || {})[name] || 'auto';
  return {...changes, family: 'auto', prediction};
}

// Of presets the one that fits is chosen, once for each chosen base model, unless a person has chosen
// one since. Goal, memory and care that a person has chosen stay.
function suggestPreset({base_model: name, preset, rows}) {
  const card = document.querySelector('#base-model-card [data-state=known]');
  if (!card || card.dataset.name !== name || suggestedFor === name) return {};
  suggestedFor = name;
  const {fitting, suggested, kind} = card.dataset;
  const taken = preset !== presetBefore || JSON.parse(fitting).includes(preset);
  if (taken || !suggested) return {};
  return {preset: haveRowsBeenChosen() ? namePreset({...rows, kind}) : suggested};
}

// What was measured becomes the setting, once, unless a person has answered.
function useMeasured({base_model: name, prediction}) {
  const card = document.querySelector('#base-model-card [data-state=known]');
  const {measured = '', name: shown} = card ? card.dataset : {};
  if (!measured || shown !== name || measuredOf === `${name} ${measured}`) return {};
  measuredOf = `${name} ${measured}`;
  return prediction === 'auto' ? {prediction: measured} : {};
}

function answerBaseModel({base_model: name}) {
  const press = takeEvent('base-model-question') || {};
  answers[press.base_model] = press.key;
  return press.base_model === name ? {prediction: press.key} : {};
}

// What a download of this window has brought is chosen, once.
function chooseDownloaded() {
  const done = document.querySelector('#base-model-progress [data-state=done]');
  const own = done && JSON.parse(done.closest('[data-view]').dataset.values || '{}').job;
  if (!own || done.dataset.job !== own || !done.dataset.name) return {};
  if (done.dataset.started === arrived) return {};
  arrived = done.dataset.started;
  const {name} = done.dataset;
  const listed = listOf().choices.filter((one) => one[1] !== name);
  return {base_model: {__type__: 'update', choices: [...listed, [name, name]], value: name}};
}

export const functions = {
  chooseBaseModel, suggestPreset, useMeasured, answerBaseModel, chooseDownloaded,
};
