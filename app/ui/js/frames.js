// Slows down animation loops that never end. The page's own loading sign leaves one behind (Gradio
// 6.31): it takes a twentieth of a core, frame after frame, while nothing on the page moves.
//
// A classic script that is run before all others: they remember `requestAnimationFrame`, and Gradio's
// takes the server's word for the page's address, which a proxy may have changed. The browser knows it.

{
  let config;
  Object.defineProperty(window, 'gradio_config', {
    configurable: true,
    get: () => config,
    set: (given) => {
      config = given;
      if (config) config.root = `${location.origin}${location.pathname}`.replace(/\/+$/, '');
    },
  });
}

{
  const MANY_FRAMES = 300; // five seconds without a key or a press
  const MILLISECONDS = 1000;
  const request = window.requestAnimationFrame.bind(window);
  const cancel = window.cancelAnimationFrame.bind(window);
  const counts = new Map();

  window.requestAnimationFrame = (callback) => {
    const source = String(callback);
    const count = (counts.get(source) || 0) + 1;
    counts.set(source, count);
    const isShown = document.querySelector('[data-testid=status-tracker]:not(.hide)');
    if (count < MANY_FRAMES || isShown) return request(callback);
    return -setTimeout(() => request(callback), MILLISECONDS);
  };
  window.cancelAnimationFrame = (id) => {
    if (id < 0) clearTimeout(-id);
    else cancel(id);
  };
  for (const event of ['pointerdown', 'keydown']) {
    window.addEventListener(event, () => counts.clear(), {capture: true, passive: true});
  }
}
