// The dashboard, behind elements.js. In a notebook it asks Python, in a saved page it answers itself from what the page holds.
// Names, fields, prompts and answers come from data: they enter the page as text nodes or are drawn as text on a canvas, never as HTML.
//
//   1 elements     3 the table of runs     5 curves               7 recipes, tasks, samples
//   2 answers      4 charts                6 scatter, parallel    8 the widget

// ---- 1 elements

const number = (x, digits = 4) => {
  if (x == null || Number.isNaN(x)) return '–';
  if (typeof x !== 'number') return String(x);
  if (Number.isInteger(x) && Math.abs(x) < 1e6) return whole(x);
  const a = Math.abs(x);
  if (a >= 1e4) { const e = clamp(Math.floor(Math.log10(a) / 3), 0, 6); return +(x / 1e3 ** e).toPrecision(digits) + ['', ' k', ' M', ' G', ' T', ' P', ' E'][e]; }
  return a >= 1e-4 ? String(+x.toPrecision(digits)) : x.toExponential(2);
};
const value = x => x == null ? '–' : typeof x === 'number' ? number(x) : seen(x);
const button = (label, onclick, props) => h('button', {type: 'button', onclick, ...props}, label);
const choice = (label, options, now, onchange) => h('label', {class: 'pick'}, h('span', {}, label), h('select', {class: 'field', 'aria-label': label, onchange: e => onchange(e.target.value)}, ...options.map(([v, t]) => h('option', {value: v, selected: v === now}, t))));
const toggle = (label, now, onchange, title) => h('button', {type: 'button', 'aria-pressed': String(!!now), title: title || label, 'aria-label': title && title.includes(label) ? title : null, onclick: e => { const on = e.currentTarget.getAttribute('aria-pressed') !== 'true'; e.currentTarget.setAttribute('aria-pressed', String(on)); onchange(on); }}, label);
const duration = t => t == null ? '–' : t < 90 ? `${number(t, 2)} s` : t < 5400 ? `${Math.round(t / 60)} min` : `${(t / 3600).toFixed(1)} h`;
const near = (given, names) => {                               // the nearest name, if there is one
  const far = (a, b) => { let row = [...Array(b.length + 1).keys()]; for (let i = 1; i <= a.length; i++) { let left = i; const next = [i]; for (let j = 1; j <= b.length; j++) { left = Math.min(row[j] + 1, left + 1, row[j - 1] + (a[i - 1] !== b[j - 1])); next.push(left); } row = next; } return row[b.length]; };
  const best = names.map(n => [far(given.toLowerCase(), n.toLowerCase()), n]).sort((a, b) => a[0] - b[0])[0];
  return best && best[0] <= Math.max(2, given.length / 3) ? best[1] : null;
};

// ---- 2 answers: from Python, or from what the page holds

function holder(spec) {
  const d = spec.data || {curves: {}, tasks: [], samples: [], environments: {}};
  const mine = (rows, runs) => rows.filter(r => runs.includes(r.run));
  const answers = {curves: ({runs}) => runs.map(r => d.curves[r]).filter(Boolean), tasks: ({runs}) => ({rows: mine(d.tasks, runs), trouble: d.trouble || []}), samples: ({runs}) => mine(d.samples, runs),
    environment: ({runs}) => Object.fromEntries(runs.map(r => [r, d.environments[r] == null ? null : d.kinds_of_environment[d.environments[r]]])), refresh: () => ({changed: {}, gone: []})};
  return {live: false, ask: async (what, args) => answers[what](args || {}), close() {}};
}
const floats = (text, Kind) => { if (text == null) return null; const raw = atob(text), bytes = new Uint8Array(raw.length); for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i); return new Kind(bytes.buffer); };
// A run's curves as they come -> key -> {x: {axis: [...]}, mean, lo, hi}
function decoded(c) {
  const keys = new Map();
  for (const g of c.series) {
    const x = Object.fromEntries(Object.entries(g.x).map(([k, v]) => [k, floats(v, Float64Array)])), n = g.n;
    const [mean, lo, hi] = [g.mean, g.lo, g.hi].map(v => floats(v, Float32Array));
    g.keys.forEach((k, j) => { const part = v => v && v.subarray(j * n, (j + 1) * n); keys.set(k, {x, mean: part(mean), lo: part(lo) || part(mean), hi: part(hi) || part(mean), lines: g.lines}); });
  }
  return {keys, texts: c.texts || [], damaged: c.damaged || 0};
}

// ---- 3 the table of runs: columns, a filter, an order

function table(spec) {
  const t = {names: spec.columns, rows: [], at: new Map()};
  const learn = () => {
    t.at = new Map(t.rows.map((r, i) => [r.folder, i]));
    t.names = [...new Set([...spec.columns, ...t.names])];
    t.numeric = new Set(t.names.filter(n => { let any = false; for (const r of t.rows) { const v = r[n]; if (v == null) continue; if (typeof v !== 'number') return false; any = true; } return any; }));
  };
  t.rows = spec.runs.map(values => Object.fromEntries(spec.columns.map((n, j) => [n, values[j]])));
  t.change = (changed, gone) => {
    for (const [f, r] of Object.entries(changed)) { for (const n of Object.keys(r)) if (!t.names.includes(n)) t.names.push(n); t.at.has(f) ? t.rows[t.at.get(f)] = r : t.rows.push(r); }
    if (gone.length) t.rows = t.rows.filter(r => !gone.includes(r.folder));
    learn();
  };
  learn();
  return t;
}
const TERM = /("[^"]+"|[^\s<>=!~"]+)\s*(<=|>=|!=|=|<|>|~)\s*("[^"]*"|[^\s,]+)/g;
// `size>=2 status=done "last valid_loss"<3` -> a test of rows; an unknown field or text that is no condition is an error in words
function condition(text, names) {
  const bare = q => q.replace(/^"|"$/g, ''), tests = [];
  const rest = text.replace(TERM, (_, f, op, v) => {
    const field = bare(f), want = bare(v), n = Number(want);
    if (!names.includes(field)) { const like = near(field, names); throw new Error(`no field called “${field}”.${like ? ` Did you mean “${like}”?` : ''}`); }
    const number = want !== '' && !Number.isNaN(n);
    if ('<>'.includes(op[0]) && !number) throw new Error(`${field}${op}${want}: “${want}” is no number`);
    tests.push(r => {
      const x = r[field];
      if (op === '~') return x != null && String(x).toLowerCase().includes(want.toLowerCase());
      if (op === '=') return number && typeof x === 'number' ? x === n : String(x) === want;
      if (op === '!=') return number && typeof x === 'number' ? x !== n : String(x) !== want;
      if (typeof x !== 'number') return false;
      return op === '<' ? x < n : op === '>' ? x > n : op === '<=' ? x <= n : x >= n;
    });
    return ' ';
  }).replace(/,|\band\b/g, ' ').trim();
  if (rest) throw new Error(`cannot read “${rest}”: write FIELD<VALUE, like size>=2 status=done lr<0.001 name~final`);
  return r => tests.every(f => f(r));
}

// ---- 4 charts: canvas, so that a thousand lines stay quick; every text on it is drawn as text

const css = (el, name) => getComputedStyle(el).getPropertyValue(name).trim();
function ticks(lo, hi, n, log) {
  if (!(hi > lo)) return [lo];
  if (log) {
    const a = Math.floor(Math.log10(lo)), b = Math.ceil(Math.log10(hi)), out = [];
    for (let e = a; e <= b; e++) for (const m of b - a <= 2 ? [1, 2, 5] : [1]) { const v = m * 10 ** e; if (v >= lo * .999 && v <= hi * 1.001) out.push(v); }
    if (out.length > 1) return out.filter((_, i) => i % Math.ceil(out.length / (n + 2)) === 0);
  }
  const raw = (hi - lo) / n, p = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].find(m => m * p >= raw * .75) * p, out = [];
  for (let v = Math.ceil(lo / step) * step; v <= hi + step * 1e-9; v += step) out.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return out;
}
const labels = values => { for (let d = 3; d < 9; d++) { const t = values.map(v => number(v, d)); if (new Set(t).size === t.length) return t; } return values.map(String); }; // as short as tells them apart
const scale = (lo, hi, a, b, log) => { const f = log ? Math.log : x => x, u = f(lo), v = f(hi); const to = x => a + (f(x) - u) / (v - u || 1) * (b - a); to.back = p => { const z = u + (p - a) / (b - a || 1) * (v - u); return log ? Math.exp(z) : z; }; to.lo = lo; to.hi = hi; return to; };
function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio; canvas.height = height * ratio;
  canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  const c = canvas.getContext('2d');
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = '11px system-ui,"Noto Sans","Noto Sans CJK SC",sans-serif';
  return c;
}
const shorten = (c, text, room) => { let t = seen(text); if (c.measureText(t).width <= room) return t; while (t.length > 1 && c.measureText(t + '…').width > room) t = t.slice(0, -1); return t + '…'; };
function frame(c, el, box, X, Y, {logx, logy, xname, yname}) {
  const dim = css(el, '--lb-dim'), line = css(el, '--lb-line');
  c.lineWidth = 1; c.strokeStyle = line; c.fillStyle = dim; c.textBaseline = 'middle'; c.textAlign = 'right';
  const up = ticks(Y.lo, Y.hi, Math.max(2, Math.round((box.y1 - box.y0) / 42)), logy), across = ticks(X.lo, X.hi, Math.max(2, Math.round((box.x1 - box.x0) / 90)), logx), named = labels(up), under = labels(across);
  up.forEach((v, i) => { const y = Math.round(Y(v)) + .5; if (y < box.y0 - 1 || y > box.y1 + 1) return; c.beginPath(); c.moveTo(box.x0, y); c.lineTo(box.x1, y); c.stroke(); c.fillText(named[i], box.x0 - 6, y); });
  c.textBaseline = 'top'; c.textAlign = 'center';
  across.forEach((v, i) => { const x = X(v), half = c.measureText(under[i]).width / 2; c.fillText(under[i], clamp(x, half, box.x1 + 8 - half), box.y1 + 6); c.beginPath(); c.moveTo(Math.round(x) + .5, box.y1); c.lineTo(Math.round(x) + .5, box.y1 + 4); c.stroke(); });
  c.textAlign = 'right';
  if (xname) c.fillText(shorten(c, xname, box.x1 - box.x0), box.x1, box.y1 + 20);
  if (yname) { c.textAlign = 'left'; c.fillText(shorten(c, yname, box.x1 - 4), 2, 1); }
}
// Buckets as a person sees them: one column of pixels holds the mean, the least and the greatest of all that falls into it.
function columns(curve, axis, X, box, smooth) {
  const xs = curve.x[axis], n = curve.mean.length, out = [];
  if (!xs) return out;
  let mean = curve.mean;
  if (smooth > 0 && n > 2) {                                   // a moving average over a share of what is shown
    const reach = smooth * (X.hi - X.lo) / 2, sum = new Float64Array(n + 1), had = new Float64Array(n + 1), out = new Float32Array(n);
    for (let i = 0; i < n; i++) { const ok = Number.isFinite(mean[i]); sum[i + 1] = sum[i] + (ok ? mean[i] : 0); had[i + 1] = had[i] + (ok ? 1 : 0); }
    for (let i = 0, a = 0, b = 0; i < n; i++) { while (xs[a] < xs[i] - reach) a++; while (b < n && xs[b] <= xs[i] + reach) b++; out[i] = (sum[b] - sum[a]) / (had[b] - had[a]); }
    mean = out;
  }
  let last = null;
  for (let i = 0; i < n; i++) {
    if (!Number.isFinite(mean[i])) continue;
    if ((xs[i] < X.lo && xs[i + 1] < X.lo) || (xs[i] > X.hi && xs[i - 1] > X.hi)) continue;
    const p = X(xs[i]), col = Math.round(p * 2);
    if (last && last.col === col) { last.sum += mean[i]; last.n++; last.lo = Math.min(last.lo, curve.lo[i]); last.hi = Math.max(last.hi, curve.hi[i]); }
    else out.push(last = {col, p, x: xs[i], sum: mean[i], n: 1, lo: curve.lo[i], hi: curve.hi[i]});
  }
  return out;
}

// ---- 5 curves

const AXES = [['tokens', 'tokens'], ['seconds', 'time (s)'], ['flops', 'FLOP'], ['step', 'steps']];
const DASH = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const rank = k => { const at = ['loss', 'valid_loss', 'eval_loss', 'norm', 'grad_norm', 'lr', 'learning_rate'].indexOf(k); return at >= 0 ? at : k.startsWith('loss/') ? 20 : k.startsWith('valid_loss') ? 30 : 40; };

const extents = new WeakMap(), none = {keys: new Map()};
const extent = xs => { let e = extents.get(xs); if (!e) { e = {lo: Infinity, above: Infinity, hi: -Infinity}; for (const x of xs) { e.lo = Math.min(e.lo, x); e.hi = Math.max(e.hi, x); if (x > 0) e.above = Math.min(e.above, x); } extents.set(xs, e); } return e; };

function curveChart(app, key, tall) {
  const canvas = h('canvas', {tabindex: '0', role: 'img'}), tip = h('div', {class: 'tip', hidden: true}), says = h('span', {class: 'dim'});
  const el = h('figure', {class: tall ? 'chart tall' : 'chart', 'data-key': key}, h('figcaption', {}, h('b', {dir: 'auto'}, seen(key)), says), h('div', {class: 'plot'}, canvas, tip));
  let X, Y, box, shown = [], drag = null;
  const draw = () => {
    const width = Math.max(160, el.clientWidth - 2), height = tall ? 300 : 170, c = fit(canvas, width, height), {axis, logx, logy, smooth, zoom} = app;
    box = {x0: 52, x1: width - 10, y0: 14, y1: height - (tall ? 36 : 24)};
    const lines = app.picks().map(run => ({run, curve: app.curveOf(run, key)})).filter(l => l.curve && l.curve.x[axis]);
    const without = app.picks().length - lines.length;
    let [a, b] = zoom || [Infinity, -Infinity];
    if (!zoom) for (const run of app.picks()) for (const {x} of (app.curves.get(run) || none).keys.values()) if (x[axis]) { const e = extent(x[axis]); a = Math.min(a, logx ? e.above : e.lo); b = Math.max(b, e.hi); } // the same for all quantities
    if (!(b > a)) { b = Number.isFinite(a) ? a + 1 : 1; a = Number.isFinite(a) ? a - (logx ? a / 2 : 1) : 0; }
    X = scale(logx ? Math.max(a, b * 1e-6, 1e-12) : a, b, box.x0, box.x1, logx);
    shown = lines.map(l => ({...l, raw: columns(l.curve, axis, X, box, 0), cols: columns(l.curve, axis, X, box, smooth)}));
    let lo = Infinity, hi = -Infinity;
    for (const {raw} of shown) for (const q of raw) { if (!(logy && q.lo <= 0)) lo = Math.min(lo, q.lo); hi = Math.max(hi, q.hi); }
    if (!(hi >= lo)) { lo = 0; hi = 1; }
    if (hi === lo) { const d = Math.abs(hi) * .05 || .5; hi += d; lo -= d; }
    const pad = logy && lo > 0 ? 0 : (hi - lo) * .04;
    Y = scale(lo - pad, hi + pad, box.y1, box.y0, logy && lo > 0);
    frame(c, el, box, X, Y, {logx, logy: logy && lo > 0, xname: tall ? AXES.find(x => x[0] === axis)[1] : ''});
    c.save(); c.beginPath(); c.rect(box.x0 - 4, box.y0 - 4, box.x1 - box.x0 + 8, box.y1 - box.y0 + 8); c.clip();
    const many = shown.length > 24;
    for (const {run, raw, cols} of shown) {
      const look = app.look(run);
      c.strokeStyle = c.fillStyle = look.color; c.setLineDash(look.dash);
      if (!many && raw.some(q => q.hi > q.lo)) { // from the least to the greatest
        c.globalAlpha = .16; c.beginPath();
        raw.forEach((q, i) => c[i ? 'lineTo' : 'moveTo'](q.p, Y(q.hi)));
        [...raw].reverse().forEach(q => c.lineTo(q.p, Y(q.lo)));
        c.closePath(); c.fill();
      }
      if (smooth > 0 && !many) { c.globalAlpha = .25; c.lineWidth = 1; path(c, raw, Y); }
      c.globalAlpha = many ? Math.max(.12, 12 / shown.length) : 1; c.lineWidth = many ? 1 : 1.6;
      path(c, cols, Y);
      if (cols.length === 1) { c.globalAlpha = 1; c.beginPath(); c.arc(cols[0].p, Y(cols[0].sum / cols[0].n), 3, 0, 7); c.fill(); }
    }
    c.restore(); c.globalAlpha = 1;
    const lines_ = shown.reduce((n, l) => n + l.curve.lines, 0), points = shown.reduce((n, l) => n + l.curve.mean.length, 0);
    put(says, [lines_ > points ? `${whole(lines_)} lines in ${whole(points)} buckets: mean, least to greatest` : '', without > 0 && tall ? `${without} without this` : ''].filter(Boolean).join(' · '));
    canvas.setAttribute('aria-label', `${key} over ${axis}: ` + shown.slice(0, 12).map(l => { const q = l.cols.at(-1); return `${app.nameOf(l.run)} ends at ${q ? number(q.sum / q.n) : '–'}`; }).join(', '));
  };
  const path = (c, cols, Y) => { c.beginPath(); cols.forEach((q, i) => c[i ? 'lineTo' : 'moveTo'](q.p, Y(q.sum / q.n))); c.stroke(); };
  const local = e => { const r = canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
  const point = e => {
    const [px, py] = local(e);
    if (drag != null) { tip.hidden = false; tip.replaceChildren(h('div', {}, `${number(X.back(Math.min(drag, px)))} to ${number(X.back(Math.max(drag, px)))}`)); place(px); return; }
    const found = shown.map(l => { let best = null; for (const q of l.cols) if (!best || Math.abs(q.p - px) < Math.abs(best.p - px)) best = q; return best && Math.abs(best.p - px) < 40 && {run: l.run, q: best, y: Y(best.sum / best.n)}; }).filter(Boolean);
    found.sort((a, b) => Math.abs(a.y - py) - Math.abs(b.y - py));
    const rows = found.slice(0, 10).sort((a, b) => a.y - b.y);
    tip.hidden = !rows.length;
    if (!rows.length) return;
    tip.replaceChildren(h('div', {class: 'dim'}, `${AXES.find(x => x[0] === app.axis)[1]} ${number(rows[0].q.x)}`),
      ...rows.map(r => h('div', {class: 'line'}, h('i', {class: 'dot', style: `background:${app.look(r.run).color}`}), h('span', {class: 'nm', dir: 'auto'}, seen(app.nameOf(r.run))), h('b', {}, number(r.q.sum / r.q.n)), r.q.hi > r.q.lo && h('span', {class: 'dim'}, `${number(r.q.lo)} to ${number(r.q.hi)}`))),
      found.length > 10 && h('div', {class: 'dim'}, `and ${found.length - 10} more`));
    place(px);
  };
  const place = px => { const w = tip.offsetWidth; tip.style.left = `${clamp(px + 14 + w > canvas.clientWidth ? px - w - 14 : px + 14, 0, Math.max(0, canvas.clientWidth - w))}px`; };
  canvas.addEventListener('pointermove', point);
  canvas.addEventListener('pointerleave', () => { if (drag == null) tip.hidden = true; });
  canvas.addEventListener('pointerdown', e => { if (e.button || e.pointerType === 'touch') return; drag = local(e)[0]; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener('pointerup', e => { if (drag == null) return; const [a, b] = [drag, local(e)[0]].sort((p, q) => p - q); drag = null; tip.hidden = true; if (b - a > 6) app.zoomTo([X.back(clamp(a, box.x0, box.x1)), X.back(clamp(b, box.x0, box.x1))]); });
  canvas.addEventListener('dblclick', () => app.zoomTo(null));
  canvas.addEventListener('keydown', e => { // + and - zoom, arrows move, Escape shows all
    const move = {'+': [.25, -.25], '=': [.25, -.25], '-': [-.5, .5], ArrowLeft: [-.2, -.2], ArrowRight: [.2, .2]}[e.key], u = v => app.logx ? Math.log(v) : v, back = v => app.logx ? Math.exp(v) : v;
    if (e.key === 'Escape') app.zoomTo(null);
    if (!move || !X) return;
    e.preventDefault();
    const [a, b] = [u(X.lo), u(X.hi)]; app.zoomTo(move.map((m, i) => back((i ? b : a) + m * (b - a))));
  });
  return {el, draw};
}

function curvesPanel(app) {
  const grid = h('div', {class: 'charts'}), which = h('details', {class: 'which'}), empty = h('p', {class: 'dim'}), texts = h('div', {class: 'events'});
  const controls = h('div', {class: 'line controls'});
  const el = h('div', {}, controls, empty, grid, texts);
  let charts = new Map(), chosen = null;
  const unzoom = button('whole range', () => app.zoomTo(null), {class: 'quiet', hidden: true});
  const axes = h('div', {class: 'seg', role: 'group', 'aria-label': 'horizontal axis'}, ...AXES.map(([k, label]) => button(label, () => { app.axis = k; app.zoom = null; mark(); draw(); }, {'data-axis': k})));
  const mark = () => { for (const b of axes.children) b.setAttribute('aria-pressed', String(b.dataset.axis === app.axis)); unzoom.hidden = !app.zoom; };
  const smooth = h('input', {type: 'range', min: 0, max: 100, value: 0, 'aria-label': 'smoothing', oninput: e => { app.smooth = (e.target.value / 100) ** 2 * .25; redraw(); }});
  controls.append(axes, h('div', {class: 'seg'}, toggle('log x', false, on => { app.logx = on; redraw(); }), toggle('log y', false, on => { app.logy = on; redraw(); })), h('label', {class: 'pick'}, h('span', {}, 'smooth'), smooth), unzoom, which);
  const keys = () => { const all = new Set(); for (const r of app.picks()) { const c = app.curves.get(r); if (c) for (const k of c.keys.keys()) all.add(k); } return [...all].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1)); };
  const standard = all => { const per = all.filter(k => k.startsWith('loss/')).slice(0, 8); return new Set(all.filter(k => rank(k) < 10 || k.startsWith('valid_loss')).slice(0, 8).concat(per, all.slice(0, 1))); };
  const redraw = () => { for (const c of charts.values()) c.draw(); };
  let listed = '';
  const draw = () => {
    const all = keys(), on = chosen || standard(all);
    mark();
    const loading = app.picks().filter(r => !app.curves.has(r)).length;
    put(empty, !app.picks().length ? 'Pick runs on the left to see their curves.' : loading ? `Reading ${whole(loading)} runs …` : !all.length ? 'The picked runs have logged nothing yet.' : '');
    empty.hidden = !empty.textContent;
    const now = JSON.stringify([all, [...on]]);
    if (now !== listed) {
      listed = now;
      which.replaceChildren(h('summary', {}, `quantities: ${all.filter(k => on.has(k)).length} of ${all.length}`), h('div', {class: 'menu'}, ...all.map(k => h('label', {}, h('input', {type: 'checkbox', checked: on.has(k), onchange: e => { chosen = new Set(on); e.target.checked ? chosen.add(k) : chosen.delete(k); which.open = true; draw(); }}), h('span', {dir: 'auto'}, seen(k))))));
      const want = all.filter(k => on.has(k)), old = charts;
      charts = new Map(want.map((k, i) => [k, old.has(k) && old.get(k).el.classList.contains('tall') === (i === 0) ? old.get(k) : curveChart(app, k, i === 0)]));
      grid.replaceChildren(...[...charts.values()].map(c => c.el));
    }
    redraw();
    const said = app.picks().slice(0, 40).flatMap(r => { const c = app.curves.get(r); return c ? [...c.texts.slice(0, 20).map(([step, k, t]) => [r, step, `${k}: ${t}`]), ...(c.damaged ? [[r, null, `${c.damaged} damaged lines of metrics.jsonl were left out`]] : [])] : []; });
    texts.replaceChildren(...(said.length ? [h('h4', {}, 'Events')] : []), ...said.slice(0, 60).map(([r, step, t]) => h('div', {class: 'line'}, h('i', {class: 'dot', style: `background:${app.look(r).color}`}), h('span', {class: 'dim'}, step == null ? '' : `step ${whole(step)}`), h('span', {dir: 'auto'}, seen(t)))));
  };
  return {el, draw, redraw};
}

// ---- 6 scatter and parallel coordinates, over all runs that pass the filter

const LOW = [68, 119, 170], MID = [204, 187, 68], HIGH = [238, 102, 119];
const ramp = t => { const [a, b, u] = t < .5 ? [LOW, MID, t * 2] : [MID, HIGH, t * 2 - 1]; return `rgb(${a.map((v, i) => Math.round(v + (b[i] - v) * u)).join(',')})`; };
function ranks(xs) { const order = xs.map((x, i) => [x, i]).sort((a, b) => a[0] - b[0]), out = []; for (let i = 0; i < order.length;) { let j = i; while (j < order.length && order[j][0] === order[i][0]) j++; for (let k = i; k < j; k++) out[order[k][1]] = (i + j - 1) / 2; i = j; } return out; }
function spearman(x, y) { const a = ranks(x), b = ranks(y), m = (x.length - 1) / 2; let ab = 0, aa = 0, bb = 0; for (let i = 0; i < a.length; i++) { ab += (a[i] - m) * (b[i] - m); aa += (a[i] - m) ** 2; bb += (b[i] - m) ** 2; } return ab / Math.sqrt(aa * bb); }
// A field as a place on an axis: numbers as they are, names in their order
function axisOf(rows, name, numeric, a, b, log) {
  if (numeric) {
    const v = rows.map(r => r[name]).filter(x => x != null && (!log || x > 0));
    let lo = Infinity, hi = -Infinity; for (const x of v) { lo = Math.min(lo, x); hi = Math.max(hi, x); }
    if (!(hi >= lo)) { lo = 0; hi = 1; } if (hi === lo) { const d = Math.abs(hi) * .05 || .5; hi += d; if (!log) lo -= d; else lo *= .9; }
    const pad = log ? 0 : (hi - lo) * .04, S = scale(lo - pad, hi + pad, a, b, log);
    return {S, log, at: r => r[name] == null || (log && r[name] <= 0) ? null : S(r[name]), names: null};
  }
  const names = [...new Set(rows.map(r => r[name]).filter(x => x != null).map(String))].sort().slice(0, 60), S = scale(-.5, Math.max(.5, names.length - .5), a, b);
  return {S, at: r => { const k = names.indexOf(String(r[name])); return r[name] == null || k < 0 ? null : S(k); }, names};
}

function scatterPanel(app) {
  const canvas = h('canvas', {role: 'img', tabindex: '0'}), tip = h('div', {class: 'tip', hidden: true}), says = h('p', {class: 'dim'}), controls = h('div', {class: 'line controls'});
  const el = h('div', {}, controls, says, h('div', {class: 'plot'}, canvas, tip));
  const s = {x: null, y: null, logx: false, logy: false};
  let points = [], listed = '';
  const fields = () => app.table.names.filter(n => !['folder', 'id', 'error'].includes(n));
  const choose = () => {
    const all = fields(), num = all.filter(n => app.table.numeric.has(n));
    if (!s.y || !all.includes(s.y)) s.y = num.includes('loss') ? 'loss' : num[0] || all[0];
    if (!s.x || !all.includes(s.x)) s.x = ['lr', 'size', 'tokens'].find(n => num.includes(n) && new Set(app.table.rows.map(r => r[n])).size > 1) || num.find(n => n !== s.y) || all[0];
    const now = JSON.stringify(all);
    if (now === listed) return;
    listed = now;
    const options = all.map(n => [n, seen(n)]);
    controls.replaceChildren(choice('across', options, s.x, v => { s.x = v; draw(); }), toggle('log', s.logx, on => { s.logx = on; draw(); }, 'log scale across'), choice('up', options, s.y, v => { s.y = v; draw(); }), toggle('log', s.logy, on => { s.logy = on; draw(); }, 'log scale up'));
  };
  const draw = () => {
    choose();
    const width = Math.max(220, el.clientWidth - 2), height = 420, c = fit(canvas, width, height), rows = app.passing(), box = {x0: 60, x1: width - 12, y0: 18, y1: height - 40}, num = n => app.table.numeric.has(n);
    const A = axisOf(rows, s.x, num(s.x), box.x0, box.x1, s.logx && num(s.x)), B = axisOf(rows, s.y, num(s.y), box.y1, box.y0, s.logy && num(s.y));
    const dim = css(el, '--lb-dim');
    frame(c, el, box, A.names ? scale(0, 0, box.x0, box.x1) : A.S, B.names ? scale(0, 0, box.y1, box.y0) : B.S, {logx: A.log, logy: B.log, xname: s.x, yname: s.y});
    c.fillStyle = dim;
    if (A.names || B.names) c.clearRect(0, A.names ? box.y1 + 1 : 0, A.names ? width : 0, 17);
    if (A.names) { c.textAlign = 'center'; c.textBaseline = 'top'; A.names.forEach((n, k) => { if (k % Math.ceil(A.names.length / 12) === 0) c.fillText(shorten(c, n, (box.x1 - box.x0) / Math.min(12, A.names.length)), A.S(k), box.y1 + 6); }); }
    if (B.names) { c.clearRect(0, 14, box.x0 - 2, box.y1); c.textAlign = 'right'; c.textBaseline = 'middle'; B.names.forEach((n, k) => { if (k % Math.ceil(B.names.length / 20) === 0) c.fillText(shorten(c, n, box.x0 - 8), box.x0 - 6, B.S(k)); }); }
    points = rows.map(r => ({r, x: A.at(r), y: B.at(r)})).filter(p => p.x != null && p.y != null);
    for (const p of points) { const on = app.picked.has(p.r.folder); c.globalAlpha = on ? 1 : .45; c.fillStyle = on || app.colour ? app.look(p.r.folder).color : css(el, '--lb-dim'); c.beginPath(); c.arc(p.x, p.y, on ? 5.5 : 3.5, 0, 7); c.fill(); if (on) { c.strokeStyle = css(el, '--lb-fg'); c.lineWidth = 1; c.stroke(); } }
    c.globalAlpha = 1;
    const both = rows.filter(r => typeof r[s.x] === 'number' && typeof r[s.y] === 'number'), rho = num(s.x) && num(s.y) && both.length > 2 ? spearman(both.map(r => r[s.x]), both.map(r => r[s.y])) : NaN;
    put(says, `${whole(points.length)} of ${whole(rows.length)} runs have both${Number.isFinite(rho) ? ` · rank correlation ${rho.toFixed(2)}` : ''} · a click picks a run`);
    canvas.setAttribute('aria-label', `${s.y} against ${s.x}: ${says.textContent}`);
  };
  const hit = e => { const r = canvas.getBoundingClientRect(), x = e.clientX - r.left, y = e.clientY - r.top; let best = null, d = 144; for (const p of points) { const q = (p.x - x) ** 2 + (p.y - y) ** 2; if (q < d) { d = q; best = p; } } return best; };
  canvas.addEventListener('pointermove', e => { const p = hit(e); tip.hidden = !p; canvas.style.cursor = p ? 'pointer' : ''; if (!p) return; tip.replaceChildren(h('b', {dir: 'auto'}, seen(p.r.name)), h('div', {dir: 'auto'}, `${seen(s.x)} ${value(p.r[s.x])}`), h('div', {dir: 'auto'}, `${seen(s.y)} ${value(p.r[s.y])}`)); tip.style.left = `${clamp(p.x + 12, 0, canvas.clientWidth - tip.offsetWidth)}px`; tip.style.top = `${Math.max(0, p.y - 20)}px`; });
  canvas.addEventListener('pointerleave', () => { tip.hidden = true; });
  canvas.addEventListener('click', e => { const p = hit(e); if (p) app.pick(p.r.folder); });
  return {el, draw, s};
}

function parallelPanel(app) {
  const canvas = h('canvas', {role: 'img'}), controls = h('div', {class: 'line controls'}), says = h('p', {class: 'dim'}), plot = h('div', {class: 'plot par'}, canvas), el = h('div', {}, controls, says, h('div', {class: 'scroll'}, plot));
  let axes = null, drawn = [], drag = null, height = 420, listed = '';
  const varied = () => { const rows = app.table.rows; return app.table.names.filter(n => !['folder', 'id', 'error', 'name', 'started', 'host'].includes(n)).filter(n => { const v = new Set(rows.map(r => r[n]).filter(x => x != null)); return v.size > 1 && (app.table.numeric.has(n) || v.size <= 30); }); };
  const draw = () => {
    const all = varied();
    if (!axes) { const made = all.filter(n => !/^(last|result|status|kind|seconds|step|loss)/.test(n) && n !== 'tokens').slice(0, 7); axes = [...made, ...['last valid_loss', 'loss'].filter(n => all.includes(n)).slice(-1)]; if (axes.length < 2) axes = all.slice(0, 6); }
    axes = axes.filter(n => all.includes(n));
    const now = JSON.stringify([all, axes]);
    if (now !== listed) { listed = now; controls.replaceChildren(h('details', {class: 'which', open: controls.firstChild && controls.firstChild.open}, h('summary', {}, `axes: ${axes.length} of ${all.length} fields that differ`), h('div', {class: 'menu'}, ...all.map(n => h('label', {}, h('input', {type: 'checkbox', checked: axes.includes(n), onchange: e => { axes = e.target.checked ? [...axes, n] : axes.filter(a => a !== n); draw(); }}), h('span', {dir: 'auto'}, seen(n))))))); }
    const need = axes.length * 96 + 40, width = Math.max(220, el.clientWidth - 2, need), c = fit(canvas, width, height), rows = app.passing(), inside = new Set(rows.map(r => r.folder)), y0 = 34, y1 = height - 20;
    drawn = axes.map((n, k) => ({n, x: 50 + k * (width - 100) / Math.max(1, axes.length - 1), ...axisOf(app.table.rows, n, app.table.numeric.has(n), y1, y0)}));
    const by = drawn.at(-1), num = by && !by.names;
    const line = r => { c.beginPath(); let open = false; for (const d of drawn) { const y = d.at(r); if (y == null) { open = false; continue; } c[open ? 'lineTo' : 'moveTo'](d.x, y); open = true; } c.stroke(); };
    c.lineWidth = 1; c.globalAlpha = .1; c.strokeStyle = css(el, '--lb-dim');
    for (const r of app.table.rows) if (!inside.has(r.folder)) line(r);
    c.globalAlpha = clamp(40 / rows.length, .18, .8);
    for (const r of rows) { c.strokeStyle = app.colour ? app.look(r.folder).color : num && r[by.n] != null ? ramp(clamp((by.at(r) - y1) / (y0 - y1), 0, 1)) : css(el, '--lb-acc'); line(r); }
    c.globalAlpha = 1; c.lineWidth = 2.5;
    for (const r of rows) if (app.picked.has(r.folder) && app.picked.size <= 40) { c.strokeStyle = app.look(r.folder).color; line(r); }
    c.lineWidth = 1;
    for (const d of drawn) {
      c.strokeStyle = css(el, '--lb-fg'); c.beginPath(); c.moveTo(d.x, y0); c.lineTo(d.x, y1); c.stroke();
      c.fillStyle = css(el, '--lb-fg'); c.textAlign = 'center'; c.textBaseline = 'bottom'; c.fillText(shorten(c, d.n, 92), d.x, y0 - 10);
      c.textAlign = 'left'; c.textBaseline = 'middle';
      const say = (t, y) => { c.lineWidth = 4; c.strokeStyle = css(el, '--lb-bg'); c.strokeText(t, d.x + 5, y); c.fillStyle = css(el, '--lb-dim'); c.fillText(t, d.x + 5, y); c.lineWidth = 1; }; // readable over lines
      if (d.names) d.names.slice(0, 20).forEach((t, k) => say(shorten(c, t, 80), d.S(k)));
      else { const at = ticks(d.S.lo, d.S.hi, 5), said = labels(at); at.forEach((v, i) => say(said[i], d.S(v))); }
      const b = app.brushes[d.n];
      if (b) { c.fillStyle = css(el, '--lb-acc'); c.globalAlpha = .3; const [p, q] = b.map(v => d.S(v)); c.fillRect(d.x - 7, Math.min(p, q), 14, Math.abs(p - q)); c.globalAlpha = 1; }
    }
    put(says, `${whole(rows.length)} of ${whole(app.table.rows.length)} runs · drag along an axis to keep a range, click it to let go`);
    canvas.setAttribute('aria-label', `parallel coordinates of ${axes.join(', ')}: ${says.textContent}`);
  };
  const local = e => { const r = canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
  canvas.addEventListener('pointerdown', e => { const [x, y] = local(e), d = drawn.find(a => Math.abs(a.x - x) < 22); if (!d) return; drag = {d, y}; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener('pointermove', e => { if (!drag) return; const y = local(e)[1]; if (Math.abs(y - drag.y) < 4) return; app.brushes[drag.d.n] = [drag.d.S.back(drag.y), drag.d.S.back(y)].sort((a, b) => a - b); draw(); });
  canvas.addEventListener('pointerup', e => { if (!drag) return; if (Math.abs(local(e)[1] - drag.y) < 4) delete app.brushes[drag.d.n]; drag = null; app.filterChanged(); });
  return {el, draw, axes: () => axes};
}

// ---- 7 recipes, tasks, samples: tables of text nodes

const head = (app, runs, first) => h('tr', {}, ...first.map(t => h('th', {}, t)), ...runs.map(r => h('th', {class: 'run'}, h('i', {class: 'dot', style: `background:${app.look(r).color}`}), h('span', {dir: 'auto'}, seen(app.nameOf(r))))));

function recipePanel(app) {
  const body = h('div', {class: 'scroll'}), says = h('p', {class: 'dim'}), s = {all: false, env: false};
  const el = h('div', {}, h('div', {class: 'line controls'}, toggle('all fields', false, on => { s.all = on; draw(); }), toggle('environment', false, async on => { s.env = on; draw(); }, 'Python, packages, processor and code too')), says, body);
  const environments = new Map();
  const draw = async () => {
    const runs = app.picks().slice(0, 24), skip = new Set(['folder', 'seconds', 'started', 'error', 'name']);
    if (s.env) { const miss = runs.filter(r => !environments.has(r)); if (miss.length) for (const [r, e] of Object.entries(await app.ask('environment', {runs: miss}))) environments.set(r, e || {}); }
    const names = app.table.names.filter(n => !skip.has(n) && !n.startsWith('last ')), of = r => ({...app.rowOf(r), ...(s.env ? environments.get(r) : {})});
    const values = runs.map(of), more = s.env ? [...new Set(values.flatMap(v => Object.keys(v)))].filter(n => n.startsWith('environment ')) : [];
    const fields = [...names, ...more].map(n => ({n, v: values.map(v => v[n] === undefined ? null : v[n])})).map(f => ({...f, differ: new Set(f.v.map(x => JSON.stringify(x))).size > 1})).filter(f => f.differ || (s.all && f.v.some(x => x != null)));
    put(says, runs.length < 2 && !s.all ? 'Pick two or more runs to see what differs between them.' : `${fields.filter(f => f.differ).length} fields differ between ${runs.length} runs${app.picked.size > 24 ? ' (the first 24 of those picked)' : ''}`);
    body.replaceChildren(runs.length && fields.length ? h('table', {class: 'diff'}, h('thead', {}, head(app, runs, ['field'])), h('tbody', {}, ...fields.map(f => h('tr', {class: f.differ ? 'differ' : ''}, h('th', {scope: 'row', dir: 'auto'}, seen(f.n)), ...f.v.map((x, i) => h('td', {class: typeof x === 'number' ? 'num' : '', dir: 'auto'}, f.differ && i && JSON.stringify(x) !== JSON.stringify(f.v[0]) ? h('mark', {}, value(x)) : value(x))))))) : '');
  };
  return {el, draw};
}

function tasksPanel(app) {
  const body = h('div', {class: 'scroll'}), says = h('p', {class: 'dim'}), trouble = h('p', {class: 'bad'}), el = h('div', {}, says, trouble, body);
  const draw = async () => {
    const runs = app.picks().slice(0, 24), got = runs.length ? await app.ask('tasks', {runs}) : {rows: [], trouble: []};
    const names = [...new Set(got.rows.map(r => JSON.stringify([r.task, r.metric, r.group || ''])))];
    put(says, !runs.length ? 'Pick runs to see their tasks.' : !names.length ? 'None of the picked runs has been scored on a task (no evals folder).' : 'Each bar is the interval of a score, on the same scale for all runs of a row.');
    put(trouble, (got.trouble || []).map(seen).join(' · '));
    const line = key => {
      const [task, metric, group] = JSON.parse(key), mine = runs.map(r => got.rows.find(x => x.run === r && x.task === task && x.metric === metric && (x.group || '') === group));
      const ends = mine.filter(Boolean).flatMap(x => [x.lo ?? x.value, x.hi ?? x.value, x.value]).filter(v => v != null), lo = Math.min(...ends), hi = Math.max(...ends), S = scale(lo, hi === lo ? lo + 1 : hi, 4, 116);
      const better = (mine.find(Boolean) || {}).better, best = better ? mine.filter(x => x && x.value != null).map(x => x.value).sort((a, b) => better === 'lower' ? a - b : b - a)[0] : null;
      return h('tr', {}, h('th', {scope: 'row', dir: 'auto'}, seen(task)), h('td', {dir: 'auto'}, seen(metric), better && h('span', {class: 'dim', title: `${better} is better`}, better === 'lower' ? ' ↓' : ' ↑')), h('td', {dir: 'auto'}, seen(group)),
        ...mine.map((x, i) => h('td', {class: 'num'}, ...(!x ? ['–'] : [h('span', {class: x.value === best ? 'best' : ''}, number(x.value)), x.lo != null && h('span', {class: 'dim'}, ` ${number(x.lo)} to ${number(x.hi)}`),
          s('svg', {width: 120, height: 10, class: 'forest', role: 'img', 'aria-label': `${number(x.value)}, interval ${number(x.lo)} to ${number(x.hi)}`}, s('line', {x1: S(x.lo ?? x.value), x2: S(x.hi ?? x.value), y1: 5, y2: 5, stroke: app.look(runs[i]).color, 'stroke-width': 3, opacity: .5}), s('circle', {cx: S(x.value), cy: 5, r: 3.5, fill: app.look(runs[i]).color}))]))));
    };
    body.replaceChildren(names.length ? h('table', {class: 'tasks'}, h('thead', {}, head(app, runs, ['task', 'metric', 'rows'])), h('tbody', {}, ...names.slice(0, 400).map(line))) : '');
  };
  return {el, draw};
}

function samplesPanel(app) {
  const body = h('div', {class: 'scroll'}), says = h('p', {class: 'dim'}), place = h('span', {class: 'dim'}), s = {at: 0};
  const el = h('div', {}, h('div', {class: 'line controls'}, button('previous', () => { s.at--; show(); }), button('next', () => { s.at++; show(); }), place), says, body);
  let prompts = [], runs = [], got = [];
  const show = () => {
    s.at = clamp(s.at, 0, Math.max(0, prompts.length - 1));
    put(place, prompts.length ? `${s.at + 1} of ${whole(prompts.length)}` : '');
    if (!prompts.length) return body.replaceChildren();
    const key = prompts[s.at], mine = got.filter(x => x.key === key), target = mine.find(x => x.target != null);
    body.replaceChildren(h('div', {class: 'prompt'}, h('h4', {}, 'prompt'), h('pre', {dir: 'auto'}, seen(mine[0].prompt)), target && h('h4', {}, 'target'), target && h('pre', {dir: 'auto'}, seen(target.target))),
      h('div', {class: 'side'}, ...runs.map(r => { const mineOf = mine.filter(x => x.run === r).sort((a, b) => (b.step || 0) - (a.step || 0)); return h('section', {}, h('h4', {}, h('i', {class: 'dot', style: `background:${app.look(r).color}`}), h('span', {dir: 'auto'}, seen(app.nameOf(r)))), ...(mineOf.length ? mineOf.slice(0, 6).map(x => h('div', {}, x.step != null && h('span', {class: 'dim'}, `step ${whole(x.step)}`), h('pre', {dir: 'auto'}, seen(x.text)))) : [h('p', {class: 'dim'}, 'nothing for this prompt')])); })));
  };
  const draw = async () => {
    runs = app.picks().slice(0, 8); got = runs.length ? await app.ask('samples', {runs}) : [];
    const count = new Map(); for (const x of got) count.set(x.key, (count.get(x.key) || new Set()).add(x.run));
    prompts = [...count.keys()].sort((a, b) => count.get(b).size - count.get(a).size);
    put(says, !runs.length ? 'Pick runs to read what they wrote.' : !prompts.length ? 'None of the picked runs has samples (samples.jsonl, or a task whose answers are texts).' : '');
    says.hidden = !says.textContent;
    show();
  };
  return {el, draw};
}

// ---- 8 the widget

const SHOWN_COLUMNS = [['status', 74], ['size', 44], ['tokens', 62], ['loss', 58]], ROW = 28;

function render({model, el: holderEl}) {
  const spec = model.get('spec'), back = model.page ? holder(spec) : kernel(model), palette = spec.palette;
  const app = {table: table(spec), picked: new Set(spec.picked), curves: new Map(), fine: new Map(), axis: 'tokens', logx: false, logy: false, smooth: 0, zoom: null, brushes: {}, colour: '', filter: () => true, search: '', sort: ['started', -1], back,
    ask: async (what, args) => { try { const v = await back.ask(what, args); put(trouble, ''); return v; } catch (e) { put(trouble, e.message); throw e; } }};
  const trouble = h('div', {class: 'trouble bad', role: 'alert'}), wrong = h('p', {class: 'wrong bad', role: 'alert'}), count = h('b', {class: 'count'}), of = h('span', {class: 'dim'}), live = h('span', {class: 'live dim'});
  app.rowOf = f => app.table.rows[app.table.at.get(f)] || {};
  app.nameOf = f => { const r = app.rowOf(f); return r.name && app.unique(r.name) ? r.name : f; };
  app.unique = name => { if (!app.names) { app.names = new Map(); for (const r of app.table.rows) app.names.set(r.name, (app.names.get(r.name) || 0) + 1); } return app.names.get(name) === 1; };
  app.picks = () => [...app.picked].filter(f => app.table.at.has(f));
  app.curveOf = (run, key) => { const fine = app.zoom && app.fine.get(run); return (fine && fine.keys.get(key)) || (app.curves.get(run) && app.curves.get(run).keys.get(key)); };
  app.look = run => {
    if (app.colour) {
      const v = app.rowOf(run)[app.colour];
      if (app.scaleKey !== app.colour) { const all = app.table.rows.map(r => r[app.colour]).filter(x => x != null); app.scaleKey = app.colour; app.scaleOf = app.table.numeric.has(app.colour) ? {r: ranks([...new Set(all)]), v: [...new Set(all)]} : {names: [...new Set(all.map(String))].sort()}; }
      if (v == null) return {color: '#999', dash: []};
      const S = app.scaleOf;
      return {color: S.names ? palette[S.names.indexOf(String(v)) % palette.length] : ramp(S.v.length < 2 ? 0 : S.r[S.v.indexOf(v)] / (S.v.length - 1)), dash: []};
    }
    const k = Math.max(0, [...app.picked].indexOf(run));
    return {color: palette[k % palette.length], dash: DASH[Math.floor(k / palette.length) % DASH.length]};
  };
  let lookCache = new Map();
  const slowLook = app.look;
  app.look = run => { if (!lookCache.has(run)) lookCache.set(run, slowLook(run)); return lookCache.get(run); };

  // the list of runs: only the rows on screen exist
  const passes = () => {
    const words = app.search.toLowerCase().split(/\s+/).filter(Boolean), b = Object.entries(app.brushes);
    const cats = Object.fromEntries(b.filter(([n]) => !app.table.numeric.has(n)).map(([n]) => [n, axisOf(app.table.rows, n, false, 0, 1).names]));
    return r => words.every(w => `${r.name} ${r.folder} ${r.id} ${r.status}`.toLowerCase().includes(w)) && app.filter(r) && b.every(([n, [lo, hi]]) => { const v = cats[n] ? cats[n].indexOf(String(r[n])) : r[n]; return v != null && v >= lo && v <= hi; });
  };
  let kept = null;
  app.passing = () => {
    if (kept) return kept;
    const [n, sign] = app.sort, num = app.table.numeric.has(n), v = r => r[n];
    return kept = app.table.rows.filter(passes()).sort((a, b) => (v(a) == null) - (v(b) == null) || (num ? sign * (v(a) - v(b)) : sign * String(v(a)).localeCompare(String(v(b)))) || 0);
  };
  const list = h('div', {class: 'rows', tabindex: '0', role: 'list', 'aria-label': 'runs'}), space = h('div', {class: 'space'}), shownRows = h('div', {class: 'shown'});
  list.append(space); space.append(shownRows);
  const rowEl = r => h('label', {class: 'run', role: 'listitem', title: r.folder === r.name ? null : seen(r.folder)}, h('input', {type: 'checkbox', checked: app.picked.has(r.folder), 'aria-label': `pick ${seen(r.name)}`, onchange: () => app.pick(r.folder)}),
    h('i', {class: 'dot', style: app.picked.has(r.folder) ? `background:${app.look(r.folder).color}` : ''}), h('span', {class: 'nm', dir: 'auto'}, seen(app.nameOf(r.folder))), h('span', {class: `status ${/^[a-z]+$/.test(r.status) ? r.status : ''}`}, seen(r.status)), ...SHOWN_COLUMNS.slice(1).map(([n]) => h('span', {class: 'num'}, value(typeof r[n] === 'number' && n === 'loss' ? +r[n].toFixed(4) : r[n]))));
  const drawList = () => {
    const rows = app.passing(), first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4), last = Math.min(rows.length, first + Math.ceil((list.clientHeight || 500) / ROW) + 10);
    space.style.height = `${rows.length * ROW}px`; shownRows.style.transform = `translateY(${first * ROW}px)`;
    const focus = document.activeElement && shownRows.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
    shownRows.replaceChildren(...rows.slice(first, last).map(rowEl));
    if (focus) { const again = [...shownRows.querySelectorAll('input')].find(i => i.getAttribute('aria-label') === focus); if (again) again.focus({preventScroll: true}); }
    put(count, whole(rows.length)); put(of, ` of ${whole(app.table.rows.length)} runs · ${whole(app.picked.size)} picked`);
  };
  list.addEventListener('scroll', drawList);
  const order = (n, label, cls) => button(label, () => { app.sort = [n, app.sort[0] === n ? -app.sort[1] : 1]; kept = null; heads(); drawList(); }, {class: `bare ${cls || ''}`, 'data-sort': n, title: `order by ${label}`});
  const headRow = h('div', {class: 'run heads'}, h('span'), h('span'), order('name', 'run'), order('status', 'status'), order('size', 'size', 'num'), order('tokens', 'tokens', 'num'), order('loss', 'loss', 'num'));
  const heads = () => { for (const b of headRow.querySelectorAll('button')) b.setAttribute('aria-sort', b.dataset.sort === app.sort[0] ? (app.sort[1] > 0 ? 'ascending' : 'descending') : 'none'); };

  // what is typed
  const search = h('input', {type: 'search', class: 'field', placeholder: 'search names', 'aria-label': 'search names', oninput: e => { app.search = e.target.value; app.filterChanged(); }});
  const filter = h('input', {type: 'text', class: 'field filter', placeholder: 'filter: size>=2 lr<0.001 status=done', 'aria-label': 'filter', spellcheck: 'false', autocomplete: 'off', oninput: () => { try { app.filter = condition(filter.value, app.table.names); put(wrong, ''); filter.removeAttribute('aria-invalid'); app.filterChanged(); } catch (e) { put(wrong, e.message); filter.setAttribute('aria-invalid', 'true'); } }});
  const chips = h('div', {class: 'chips'});
  const fieldPick = h('select', {class: 'field fields', 'aria-label': 'add a field to the filter', onchange: e => { const n = e.target.value; if (n) { filter.value = `${filter.value.trim()} ${/[\s<>=!~"]/.test(n) ? `"${n}"` : n}`.trim(); filter.focus(); } e.target.value = ''; }});
  const listFields = () => fieldPick.replaceChildren(h('option', {value: ''}, '+ field'), ...app.table.names.filter(n => n !== 'folder').map(n => h('option', {value: n}, seen(n))));
  const colours = h('label', {class: 'pick'});
  const listColours = () => colours.replaceChildren(h('span', {}, 'colour'), h('select', {class: 'field', 'aria-label': 'colour by', onchange: e => { app.colour = e.target.value; lookCache = new Map(); drawList(); panel().draw(); }}, h('option', {value: ''}, 'run'), ...app.table.names.filter(n => !['folder', 'id', 'name', 'error'].includes(n)).map(n => h('option', {value: n, selected: n === app.colour}, seen(n)))));
  app.filterChanged = () => {
    kept = null;
    chips.replaceChildren(...Object.entries(app.brushes).map(([n, [lo, hi]]) => button(`${seen(n)} ${app.table.numeric.has(n) ? `${number(lo, 3)} to ${number(hi, 3)}` : 'some'} ✕`, () => { delete app.brushes[n]; app.filterChanged(); }, {class: 'chip', title: 'let go'})));
    list.scrollTop = 0; drawList(); if (['scatter', 'parallel'].includes(tab)) panel().draw();
  };

  // picking reads the curves that are missing
  let asked = 0;
  const read = async () => {
    const missing = app.picks().filter(r => !app.curves.has(r)), me = ++asked;
    for (let i = 0, drawn = 0; i < missing.length; i += 100) {
      for (const c of await app.ask('curves', {runs: missing.slice(i, i + 100), points: missing.length > 200 ? 100 : 400})) app.curves.set(c.run, decoded(c));
      if (me !== asked) return;
      if (tab === 'curves' && (i + 100 >= missing.length || performance.now() - drawn > 1000)) { panel().draw(); drawn = performance.now(); }
    }
  };
  const changedPick = () => { lookCache = new Map(); drawList(); if (tab !== 'curves') panel().draw(); else { app.fine = new Map(); panel().draw(); } read(); };
  app.pick = f => { app.picked.has(f) ? app.picked.delete(f) : app.picked.add(f); changedPick(); };
  app.zoomTo = async range => {
    app.zoom = range; app.fine = new Map(); panels.curves.draw();
    if (!range || !back.live || app.picked.size > 60) return;
    const runs = app.picks();
    for (const c of await app.ask('curves', {runs, points: 600, within: [app.axis, ...range]})) app.fine.set(c.run, decoded(c));
    if (app.zoom === range) panels.curves.redraw();
  };
  const all = button('pick all shown', () => { for (const r of app.passing()) app.picked.add(r.folder); changedPick(); }), none = button('none', () => { app.picked.clear(); changedPick(); });

  // tabs
  const panels = {curves: curvesPanel(app), scatter: scatterPanel(app), parallel: parallelPanel(app), recipes: recipePanel(app), tasks: tasksPanel(app), samples: samplesPanel(app)};
  let tab = 'curves';
  const panel = () => panels[tab];
  const stage = h('div', {class: 'stage', role: 'tabpanel'});
  const tabs = h('div', {class: 'tabs', role: 'tablist'}, ...Object.entries({curves: 'Curves', scatter: 'Scatter', parallel: 'Parallel', recipes: 'Recipes', tasks: 'Tasks', samples: 'Samples'}).map(([k, label]) => h('button', {type: 'button', role: 'tab', 'data-tab': k, onclick: () => go(k), onkeydown: e => { const step = {ArrowRight: 1, ArrowLeft: -1}[e.key]; if (!step) return; const names = Object.keys(panels), next = names[(names.indexOf(tab) + step + names.length) % names.length]; go(next); tabs.querySelector(`[data-tab=${next}]`).focus(); }}, label)));
  const go = k => { tab = k; for (const b of tabs.children) { b.setAttribute('aria-selected', String(b.dataset.tab === k)); b.tabIndex = b.dataset.tab === k ? 0 : -1; if (b.dataset.tab === k) stage.setAttribute('aria-label', b.textContent); } stage.replaceChildren(panels[k].el); panels[k].draw(); };
  const el = h('div', {class: 'lb lb-dash', role: 'group', 'aria-label': `Dashboard: ${seen(spec.title)}`}, h('div', {class: 'top'}, h('b', {class: 'title', dir: 'auto'}, seen(spec.title)), h('span', {}, count, of), live, h('span', {class: 'grow'}), colours), trouble,
    h('div', {class: 'main'}, h('aside', {}, search, h('div', {class: 'line tight'}, filter, fieldPick), wrong, chips, h('div', {class: 'line'}, all, none), headRow, list), h('div', {class: 'right'}, tabs, stage)), spec.note && h('p', {class: 'note dim', dir: 'auto'}, seen(spec.note)));
  holderEl.append(ownKeys(el));
  holderEl.dash = {app, go, condition, decoded, get tab() { return tab; }};

  // a run in progress: Python reads the new bytes, the page asks again for what changed
  const running = () => app.table.rows.filter(r => r.status === 'running').length;
  const tell = () => put(live, running() ? (back.live ? `${running()} running, watched` : `${running()} running when this page was saved`) : '');
  const refresh = async () => {
    if (document.hidden || !el.isConnected) return;
    const {changed, gone} = await back.ask('refresh');
    if (!Object.keys(changed).length && !gone.length) return;
    app.table.change(changed, gone); kept = null; app.names = null; lookCache = new Map(); app.scaleKey = null;
    const again = app.picks().filter(f => changed[f]);
    if (again.length) for (const c of await back.ask('curves', {runs: again, points: 400})) app.curves.set(c.run, decoded(c));
    listFields(); listColours(); tell(); drawList(); panel().draw(); read();
  };
  let busy = false, timer = null;
  if (back.live && spec.every > 0) timer = setInterval(async () => { if (busy) return; busy = true; try { await refresh(); put(trouble, ''); } catch (e) { put(trouble, e.message); } finally { busy = false; } }, spec.every * 1000);
  let width = 0, late = null;
  const paint = () => { clearTimeout(late); if (stage.clientWidth) { drawList(); panel().draw(); } else if (el.isConnected) late = setTimeout(paint, 200); }; // a notebook may hide it for a moment
  const sizes = new ResizeObserver(([e]) => { const w = Math.round(e.contentRect.width); if (w !== width) { width = w; requestAnimationFrame(paint); } }), themes = onTheme(paint);
  sizes.observe(stage);
  listFields(); listColours(); heads(); tell(); go('curves'); drawList(); read();
  return () => { clearInterval(timer); clearTimeout(late); sizes.disconnect(); themes(); back.close(); };
}

export default {render, condition};
