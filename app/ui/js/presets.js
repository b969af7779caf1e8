// How a preset is named by the rows that it is composed of (`trainer/config/presets.py`).

const STARTER = 'starter';
const BALANCED = 'balanced';

let chosen = false;

export const haveRowsBeenChosen = () => chosen;

// Returns the name of the preset that is composed of these rows.
export function namePreset({kind, goal, memory, care}) {
  if (kind === STARTER) return `${STARTER}-${goal === 'style' ? 'style' : 'character'}`;
  return [kind, goal, `${memory}gb`, ...(care === BALANCED ? [] : [care])].join('-');
}

// Chooses the preset of the rows that a person has chosen.
function choosePreset({rows}) {
  chosen = true;
  return {preset: namePreset(rows)};
}

export const functions = {choosePreset};
