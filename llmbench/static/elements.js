// What every screen begins with: elements, characters that a reader would not see, questions to Python. Python puts it in front of a screen's own script.
// Names and texts come from data: they enter the page as text nodes, never as HTML.

const SVG = 'http://www.w3.org/2000/svg';
const fill = (el, props, kids) => {
  for (const [k, v] of Object.entries(props || {})) {
    if (k.startsWith('on')) el.addEventListener(k.slice(2), v);
    else if (k === 'value') el.value = v;
    else if (v === true) el.setAttribute(k, '');
    else if (v !== false && v != null) el.setAttribute(k, v);
  }
  el.append(...kids.filter(k => k != null && k !== false));
  return el;
};
const h = (tag, props, ...kids) => fill(document.createElement(tag), props, kids);
const s = (tag, props, ...kids) => fill(document.createElementNS(SVG, tag), props, kids);
const put = (el, text) => { const t = el.firstChild; if (t && t.nodeType === 3) { if (t.data !== text) t.data = text; } else if (t || text !== '') el.textContent = text; };
const clamp = (x, lo, hi) => Math.min(Math.max(x, lo), hi);
const whole = n => Math.round(n).toLocaleString('en-US');
// Control characters, marks of direction, characters without a width.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
const seen = t => String(t).replace(HIDDEN, c => { const n = c.charCodeAt(0); return n < 32 && n !== 13 ? String.fromCharCode(0x2400 + n) : n === 13 ? '' : `⟦${n.toString(16).toUpperCase().padStart(4, '0')}⟧`; });

// A notebook has commands for keys (d d deletes a cell): those that are typed in a screen stay there.
const ownKeys = root => { root.dataset.lmSuppressShortcuts = 'true'; root.addEventListener('keydown', e => e.stopPropagation()); return root; };

// A canvas keeps the colours that it was drawn with: `draw` is called after the theme of JupyterLab, of the documentation or of the system has changed. What comes back ends it.
function onTheme(draw) {
  const later = () => requestAnimationFrame(draw), seen = new MutationObserver(later), dark = matchMedia('(prefers-color-scheme: dark)');
  seen.observe(document.body, {attributeFilter: ['data-jp-theme-light']});
  seen.observe(document.documentElement, {attributeFilter: ['data-theme']});
  dark.addEventListener('change', later);
  return () => { seen.disconnect(); dark.removeEventListener('change', later); };
}

// A question goes as a message, its answer comes back under the same number.
function kernel(model) {
  const waiting = new Map(), mine = Math.random(); // a widget that is shown twice asks twice
  let last = 0;
  const heard = m => { const w = waiting.get(m.id); if (!w) return; waiting.delete(m.id); m.error ? w.no(new Error(m.error)) : w.yes(m.value); };
  model.on('msg:custom', heard);
  return {live: true, ask: (what, args) => new Promise((yes, no) => { const id = `${mine} ${++last}`; waiting.set(id, {yes, no}); model.send({id, what, ...args}); }), close: () => model.off('msg:custom', heard)};
}

// A model without a kernel: what anywidget's model offers, on a plain object.
function pageModel(traits) {
  const heard = {};
  return {
    page: true, get: k => traits[k], set(k, v) { traits[k] = v; (heard[`change:${k}`] || []).forEach(f => f()); },
    on(e, f) { (heard[e] = heard[e] || []).push(f); }, off(e, f) { heard[e] = (heard[e] || []).filter(g => g !== f); }, save_changes() {}, send() {},
  };
}

