// The entry: what Gradio's components and events call (`app/ui/fragments.py`, `app/ui/wire.py`).

import {applyChoices, reportChoices} from './choices.js';
import {functions as combine} from './combine.js';
import {functions as dataset} from './dataset.js';
import {mountFragment} from './fragments.js';
import {functions as library} from './library.js';
import {functions as preview} from './preview.js';
import {noteTab, rememberTrigger} from './tabs.js';
import {functions as train} from './train.js';

const functions = {
  applyChoices, reportChoices, ...dataset, ...train, ...preview, ...library, ...combine,
};

// Takes in a component that was put into the page.
export function mount(element, trigger) {
  rememberTrigger(element, trigger);
  if (element.querySelector('[data-view]')) mountFragment(element, trigger);
}

// Runs a function of the page for an event: values by name in, values of the outputs out; what is
// undefined stays as it is.
export async function call([name, inputs, outputs], given) {
  const values = Object.fromEntries(inputs.map((one, place) => [one, given[place]]));
  const changes = (await functions[name](values)) || {};
  return outputs.map((one) => changes[one]);
}

document.addEventListener('click', () => setTimeout(noteTab, 0));
document.addEventListener('keyup', () => setTimeout(noteTab, 0));
