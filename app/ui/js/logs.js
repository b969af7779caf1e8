// Boxes with the last lines of a log: what matters is at their end.

const atEnd = new WeakMap();

const isAtEnd = (log) => log.scrollTop + log.clientHeight >= log.scrollHeight - 4;

// Shows the end of each log in an element, unless somebody has scrolled away from it.
export function followLogs(root) {
  for (const log of root.querySelectorAll('.log')) {
    if (!atEnd.has(log)) {
      atEnd.set(log, true);
      log.addEventListener('scroll', () => { atEnd.set(log, isAtEnd(log)); });
    }
    if (atEnd.get(log)) log.scrollTop = log.scrollHeight;
  }
}
