// What the Library part of the page does in the browser; the names are used by `wire_in_browser`.

import {get, set, takeEvent} from './state.js';
import {request} from './tabs.js';
import {showSettings} from './train.js';

let shown = {}; // what was opened, and its file, when the page last showed it

// The file that the page shows: the one whose buttons can be pressed.
const findFile = () => document.querySelector('#library-opened [data-file]')?.dataset.file ?? '';

// A run or a file was opened, or its facts have changed. What is about another file is closed.
function showOpened() {
  const now = {open: get('open'), file: findFile()};
  const [other, otherFile] = [now.open !== shown.open, now.file !== shown.file];
  shown = now;
  const visible = Boolean(now.file);
  return {
    message: other ? '' : undefined,
    about: other || otherFile ? {__type__: 'update', visible, open: false} : undefined,
    share: otherFile ? {__type__: 'update', visible} : undefined,
  };
}

// The accordion was opened: the server is asked to look into the file.
function lookIntoFile() {
  if (findFile()) request('library-about', {open: get('open'), library_file: findFile()});
}

// Has the Train tab take over the file's settings, or go on from it.
function openOnTrain() {
  const press = takeEvent('library-opened');
  if (!press || !['continue', 'settings'].includes(press.key)) return {};
  set({tab: 'train'});
  showSettings();
  request('train-start-box', {kind: press.key, file: press.file});
  return {tabs: {__type__: 'update', selected: 'train'}};
}

// A page that is not served from this computer has no clipboard but the old command.
document.addEventListener('click', ({target}) => {
  if (!target.closest('.copy')) return;
  const box = target.closest('.copied').querySelector('input');
  if (navigator.clipboard) {
    navigator.clipboard.writeText(box.value);
  } else {
    box.select();
    document.execCommand('copy');
  }
});

export const functions = {lookIntoFile, openOnTrain, showOpened};
