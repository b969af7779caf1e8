// What the browser decides about the queue (`app/queue`); the names are used by `wire_in_browser`.

import {set, takeEvent} from './state.js';
import {waitFor} from './tabs.js';

// Returns the rows of the queue, once their tab is shown.
function findShown() {
  const queue = document.querySelector('#queue .queue');
  return queue?.checkVisibility() ? queue : null;
}

async function scrollToQueue() {
  const queue = await waitFor(findShown);
  queue.scrollIntoView({block: 'center'});
}

// The number of runs that wait was pressed, in the status bar.
function openQueue() {
  const press = takeEvent('queue-count');
  if (!press || press.key !== 'queue') return {};
  set({tab: 'train'});
  scrollToQueue();
  return {tabs: {__type__: 'update', selected: 'train'}};
}

// The time of a run is read in the moment of the press, in the time zone of the person: the box is
// no component, and a new version of the rows leaves what was typed.
document.addEventListener('click', ({target}) => {
  const button = target.closest('#queue [data-key="at"]');
  if (!button) return;
  const {value} = button.parentElement.querySelector('input');
  button.dataset.at = value ? new Date(value).getTime() / 1000 : '';
}, true);

export const functions = {openQueue};
