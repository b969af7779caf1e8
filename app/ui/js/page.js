// The entry: what Gradio's components and events call as `lorasmith`, which is there before Gradio
// is (`app/ui/wire.py`, `app/web/routes.py`).

import {mountCaption, mountTrigger} from './captions.js';
import {applyChoices, reportChoices} from './choices.js';
import {functions as combine} from './combine.js';
import {functions as dataset} from './dataset.js';
import './folders.js';
import {functions as form} from './form.js';
import {mountFragment} from './fragments.js';
import {functions as library} from './library.js';
import {functions as models} from './models.js';
import {functions as preview} from './preview.js';
import {functions as presets} from './presets.js';
import {functions as queue} from './queue.js';
import {keepEvent} from './state.js';
import {noteTab, rememberTrigger} from './tabs.js';
import {functions as train} from './train.js';

export const functions = {
  applyChoices, reportChoices, ...dataset, ...form, ...train, ...presets, ...models, ...preview, ...library,
  ...combine, ...queue,
};

// Takes in a component that was put into the page. A function of the
// page gets values of components and nothing about the event, so its data are kept (`takeEvent`).
export function mount(element, trigger) {
  const component = element.parentElement.closest('[id]'); // Gradio's inner element has an id, too
  const raise = (event, data) => {
    if (component && event === 'select') keepEvent(component.id, data);
    trigger(event, data);
  };
  rememberTrigger(element, raise);
  if (element.querySelector('[data-view]')) mountFragment(element, raise);
  if (element.querySelector('[data-captions]')) mountCaption(element);
  if (element.querySelector('[data-trigger]')) mountTrigger(element);
}

// Runs a function of the page for an event: values by name in, values of the outputs out; what is
// undefined stays as it is. A name in a group is a pair: the group's name and its own.
// A function that needs no answer of the server is answered at once, not with a promise: somebody
// may type between the reading of a value and the writing of the next one.
export function call([name, inputs, outputs], given) {
  const values = {};
  inputs.forEach((one, place) => {
    const [group, path] = [one].flat();
    if (path === undefined) values[group] = given[place];
    else (values[group] ??= {})[path] = given[place];
  });
  const list = (changes = {}) => outputs.map((one) => {
    const [group, path] = [one].flat();
    return path === undefined ? changes[group] : (changes[group] || {})[path];
  });
  const changes = functions[name](values);
  return changes instanceof Promise ? changes.then(list) : list(changes);
}

window.lorasmith = {mount, call};

document.addEventListener('click', () => setTimeout(noteTab, 0));
document.addEventListener('keyup', () => setTimeout(noteTab, 0));
