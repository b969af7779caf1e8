// What the Dataset part of the page does in the browser; the names are used by `wire_in_browser`.

import {set, takeEvent} from './state.js';
import {pressButton} from './tabs.js';
import {showSettings} from './train.js';

// The box for captioners is empty until the server has named the one to begin with.
function beginWithCaptioner({captioner}) {
  const first = document.querySelector('#captions-about [data-captioner]');
  return captioner || !first ? {} : {captioner: first.dataset.captioner};
}

// A tag that was pressed among the counts is put into the box.
const takeTag = () => ({tag: takeEvent('captions-tags')?.key});

// One press goes to the Train tab and starts there, so that what is started is seen, and why not.
function startTraining() {
  showSettings();
  pressButton('#train-start');
  return {tabs: {__type__: 'update', selected: 'train'}};
}

export const functions = {
  beginWithCaptioner,
  shareCaptioner: ({captioner}) => set({captioner}),
  startTraining,
  takeTag,
};
