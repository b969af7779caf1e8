// Whether the server answers. What is shown stays, marked with the time for which it was true.

const AWAY = new Set([502, 503, 504]); // how a proxy answers for a server that is gone

let title = '';

const isLost = () => 'lost' in document.documentElement.dataset;

// Throws where an answer is a proxy's, about a server that gave none.
export function checkAnswer(answer) {
  if (AWAY.has(answer.status)) throw new TypeError(`HTTP ${answer.status}`);
  return answer;
}

// The server has answered.
export function noteAnswer() {
  if (!isLost()) return;
  delete document.documentElement.dataset.lost;
  if (document.title.startsWith('⚠')) document.title = title;
}

// The server has not answered.
export function noteSilence() {
  if (isLost()) return;
  document.documentElement.dataset.lost = '';
  for (const time of document.querySelectorAll('#connection time')) {
    time.textContent = new Date().toLocaleTimeString();
  }
  title = document.title;
  document.title = `⚠ ${title}`;
}
