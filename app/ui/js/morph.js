// Changes an element's content to new HTML and touches only what differs, so that images are not
// loaded again, and focus, scroll positions and what is folded open stay.

// Puts the HTML into the element.
export function morph(element, html) {
  const template = document.createElement('template');
  template.innerHTML = html;
  morphChildren(element, template.content);
}

const keyOf = (node) => (node.nodeType === 1 ? node.dataset.key || node.id : '');

function isSame(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName
    && keyOf(old) === keyOf(fresh);
}

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
  let place = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const key = keyOf(next);
    let match = key ? keyed.get(key) : place;
    if (match && !isSame(match, next)) match = null;
    if (!match) {
      old.insertBefore(next, place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else old.insertBefore(match, place);
    morphNode(match, next);
  }
  while (place) {
    const after = place.nextSibling;
    place.remove();
    place = after;
  }
}

function morphNode(old, fresh) {
  // What a person has checked is not in the attributes.
  if (old.nodeName === 'INPUT') old.checked = fresh.hasAttribute('checked');
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== 1) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const {name} of [...old.attributes]) {
    // Which element is pressed and which one the tab key stops at is the browser's own business.
    const own = name === 'aria-pressed' || name === 'tabindex' || name === 'open';
    if (!own && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const {name, value} of fresh.attributes) {
    if (name === 'tabindex' && old.hasAttribute(name)) continue;
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, fresh);
}
