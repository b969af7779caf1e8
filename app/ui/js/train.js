// What the Train part of the page does in the browser; the names are used by `wire_in_browser`.

export const functions = {};
