// The dataset check in the browser: which images a finding is about, and what training cuts off.

import {onShown} from './fragments.js';
import {onChange} from './state.js';

let flagged = []; // keys of the images of the finding that was pressed last

function flagTiles() {
  const tiles = [...document.querySelectorAll('#dataset-grid [data-key]')];
  for (const tile of tiles) tile.classList.toggle('flagged', flagged.includes(tile.dataset.key));
  return tiles.find((tile) => tile.classList.contains('flagged'));
}

// Darkens the part of the large image that training does not see.
export function showCut() {
  const shade = document.querySelector('#dataset-image .cut');
  if (!shade) return;
  const line = document.querySelector('#dataset-cut [data-cut]');
  shade.hidden = !line;
  if (!line) return;
  const [left, top, right, bottom] = line.dataset.cut.split(' ').map(Number);
  Object.assign(shade.style, {
    left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`,
  });
}

onShown((view) => {
  if (view === 'dataset-grid') flagTiles();
  if (view === 'image-cut') showCut();
});

onChange((names) => {
  if (!names.includes('dataset')) return;
  flagged = [];
  flagTiles();
});

document.addEventListener('click', ({target}) => {
  const button = target.closest('#dataset-check [data-key]');
  if (!button) return;
  if (button.dataset.press) document.querySelector(button.dataset.press)?.click();
  if (!button.dataset.images) return;
  flagged = button.dataset.images.split(' ');
  const first = flagTiles();
  if (first) first.scrollIntoView({block: 'nearest'});
});
