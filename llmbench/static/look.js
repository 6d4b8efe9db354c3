// A browser of documents, behind elements.js. In a notebook it asks Python, in a saved page it answers itself from the rows that the
// page holds. Texts, names and notes come from data: they enter the page as text nodes, never as HTML.
//
//   1 elements                    3 filters and histograms            5 the widget
//   2 a page that answers itself  4 the list, the document, the map

// ---- 1 elements

const ICONS = {left: 'M9 3 5 7.5 9 12', right: 'M6 3l4 4.5L6 12', search: 'M6.5 11a4.5 4.5 0 1 1 0-9 4.5 4.5 0 0 1 0 9zm3.3-1.2L13 13', stop: 'M4 4h7v7H4z', clear: 'M4 4l7 7M11 4l-7 7', map: 'M2 13V2m0 11h11M5 9.5v.01M7.5 5v.01M10 8v.01M11.5 3.5v.01', list: 'M5 4h8M5 7.5h8M5 11h8M2 4v.01M2 7.5v.01M2 11v.01', down: 'M4 6l3.5 4L11 6', copy: 'M5 5h7v8H5zM3 10V2h7'};
const icon = name => s('svg', {class: 'i', viewBox: '0 0 15 15', 'aria-hidden': 'true'}, s('path', {d: ICONS[name]}));
const button = (label, onclick, {name, cls = '', title = label, text = true} = {}) => h('button', {type: 'button', class: cls, title, 'aria-label': title, onclick}, name && icon(name), text && h('span', {}, label));
const number = x => {
  if (x == null || Number.isNaN(x)) return '–';
  if (Number.isInteger(x) && Math.abs(x) < 1e15) return whole(x);
  const a = Math.abs(x);
  return a >= 1e3 ? whole(x) : a >= 1e-3 ? String(+x.toPrecision(3)) : x.toExponential(1);
};
const nice = name => String(name).replace(/_/g, ' ');

// ---- 2 a page that answers itself, from the rows it holds; the same answers as `llmbench.look.answer`

function holder(spec) {
  const {rows, documents, numbers, bins} = spec.data, N = rows.length, all = rows.map((_, i) => i), sources = spec.kinds[0];
  let found = {key: '', hits: null};
  const passes = (where, but) => i => Object.entries(where).every(([k, want]) => {
    if (k === but) return true;
    if (spec.kinds.some(x => x.name === k)) return want.includes(rows[i].kinds[k]);
    const v = numbers[k][i];
    return v != null && (want[0] == null || v >= want[0]) && (want[1] == null || v <= want[1]);
  });
  // A pattern of a person may take for ever, so it runs beside the page and is stopped after two seconds.
  const code = `onmessage = e => { const {texts, find, regex, flags} = e.data; const low = flags.includes('i') ? t => t.toLowerCase() : t => t;
    try { const r = regex ? new RegExp(find, flags) : null, f = low(find); postMessage({hits: texts.map(t => r ? r.test(t) : low(t).includes(f))}); } catch (x) { postMessage({error: x.message}); } }`;
  const search = q => new Promise((yes, no) => {
    const key = JSON.stringify([q.find, q.regex, q.case]);
    if (!q.find || found.key === key) return yes();
    const worker = new Worker(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
    const end = f => { clearTimeout(timer); worker.terminate(); f(); };
    const timer = setTimeout(() => end(() => no(new Error('The pattern took longer than 2 s, so it was stopped.'))), 2000);
    worker.onmessage = ({data}) => end(() => { if (data.error) return no(new Error(data.error)); found = {key, hits: data.hits}; yes(); });
    worker.postMessage({texts: documents.map(d => d.text), find: q.find, regex: q.regex, flags: q.case ? 'u' : 'iu'});
  });
  const some = (q, but) => { const ok = passes(q.where, but); return all.filter(i => ok(i) && (!q.find || found.hits[i])); };
  const order = q => {
    const got = some(q), name = (q.sort || '').replace(/^-/, ''), sign = q.sort && q.sort[0] === '-' ? -1 : 1;
    const value = i => numbers[name][i] == null ? Infinity : sign * numbers[name][i];
    return name ? got.sort((a, b) => value(a) - value(b) || a - b) : got;
  };
  const hitPieces = (d, q) => {
    if (!q.find) return d.pieces;
    const re = new RegExp(q.regex ? q.find : q.find.replace(/[\\.+*?()|[\]{}^$\/-]/g, '\\$&'), q.case ? 'gu' : 'giu'), places = [...d.text.matchAll(re)].filter(m => m[0]).map(m => [m.index, m.index + m[0].length]), out = [];
    let at = 0, p = 0;
    for (const [text, kinds, note] of d.pieces) {
      let a = at;
      const end = at + text.length;
      while (a < end) {
        while (p < places.length && places[p][1] <= a) p++;
        const [x, y] = p < places.length ? places[p] : [Infinity, Infinity], inside = x <= a, b = Math.min(end, inside ? y : x);
        out.push([text.slice(a - at, b - at), inside ? [...kinds, 'hit'] : kinds, note]);
        a = b;
      }
      at = end;
    }
    return out;
  };
  const asked = {
    page: ({query: q, n, size, map}) => { const got = order(q), on = new Set(got); return {total: got.length, map: map ? spec.map.row.filter(r => on.has(r)) : null, rows: got.slice(n * size, (n + 1) * size).map(i => rows[i]), search: q.find ? {done: N, of: N} : null,
      kinds: Object.fromEntries(spec.kinds.map(k => [k.name, k.names.map(x => some(q, k.name).filter(i => rows[i].kinds[k.name] === x).length)]))}; },
    histogram({name, query: q}) {
      const b = bins[name], counts = spec.sources.map(() => b.edges.slice(1).map(() => 0));
      for (const i of some(q, name)) if (b.at[i] >= 0) counts[Math.min(sources.names.indexOf(rows[i].kinds.source), spec.sources.length - 1)][b.at[i]]++;
      return {edges: b.edges, log: b.log, all: b.all, counts};
    },
    document: ({row, query: q}) => ({...documents[row], pieces: hitPieces(documents[row], q)}),
    changes: ({row}) => documents[row].changes, copies: ({row}) => documents[row].others, compare: ({row, other}) => spec.data.compared[`${row} ${other}`] || [],
  };
  return {ask: async (what, args) => { if (args.query) await search(args.query); return asked[what](args); }, close() {}};
}

// ---- 3 filters and histograms

const BOX = {w: 240, h: 54};

function histogram(ui, name) {
  const shapes = s('g'), ghost = s('path', {class: 'ghost'}), shade = [s('rect', {class: 'shade', y: 0, height: BOX.h}), s('rect', {class: 'shade', y: 0, height: BOX.h})], here = s('path', {class: 'here', visibility: 'hidden'});
  const plot = s('svg', {class: 'plot', viewBox: `0 0 ${BOX.w} ${BOX.h}`, preserveAspectRatio: 'none', 'aria-hidden': 'true'}, ghost, shapes, ...shade, here);
  const handles = ['lo', 'hi'].map((end, k) => h('b', {class: `grip ${end}`, tabindex: 0, role: 'slider', 'aria-label': `${nice(name)}, ${k ? 'at most' : 'at least'}`, onkeydown: e => {
    const step = {ArrowLeft: -1, ArrowRight: 1, PageDown: -5, PageUp: 5}[e.key];
    if (e.key === 'Escape' || e.key === 'Delete') return set(null);
    if (!step || !now) return;
    e.preventDefault(); e.stopPropagation();
    const B = now.edges.length - 1, r = (range || [0, B]).slice();
    r[k] = clamp(r[k] + step, k ? r[0] + 1 : 0, k ? B : r[1] - 1);
    set(r);
  }}));
  const area = h('div', {class: 'area'}, plot, ...handles), axis = h('div', {class: 'ticks'}, h('span'), h('span'), h('span')), says = h('span', {class: 'says'}), off = button(`clear ${nice(name)}`, () => set(null), {name: 'clear', cls: 'bare', text: false});
  const el = h('section', {class: 'facet'}, h('header', {}, h('h4', {title: ui.spec.about[name] || name}, seen(nice(name))), says, off), area, axis);
  let now = null, range = null, asked = 0; // bars, [first bar, bar after the last]
  const edge = k => now.edges[k], below = x => x - Math.max(Math.abs(x) * 2 ** -52, 5e-324);
  const wanted = () => range && [range[0] ? edge(range[0]) : null, range[1] < now.edges.length - 1 ? below(edge(range[1])) : null];
  function set(r) {
    range = r && (r[0] > 0 || r[1] < now.edges.length - 1) ? r : null;
    const where = {...ui.query.where};
    delete where[name];
    if (range) where[name] = wanted();
    draw();
    ui.change({where});
  }
  const bar = e => { const box = area.getBoundingClientRect(); return clamp((e.clientX - box.left) / box.width, 0, 1) * (now.edges.length - 1); };
  area.addEventListener('pointerdown', e => {
    if (!now || e.button) return;
    const grip = handles.indexOf(e.target), from = grip >= 0 && range ? range[1 - grip] : bar(e), B = now.edges.length - 1;
    let moved = grip >= 0;
    e.preventDefault(); area.setPointerCapture(e.pointerId);
    const move = m => { const to = bar(m); if (!moved && Math.abs(to - from) < .4) return; moved = true; const a = clamp(Math.floor(Math.min(from, to) + (grip >= 0 ? .5 : 0)), 0, B - 1), z = clamp(Math.ceil(Math.max(from, to) - (grip >= 0 ? .5 : 0)), a + 1, B); if (!range || a !== range[0] || z !== range[1]) set([a, z]); };
    const up = m => { area.removeEventListener('pointermove', move); area.removeEventListener('pointerup', up); area.removeEventListener('pointercancel', up); if (!moved && m.type === 'pointerup') { const k = Math.min(Math.floor(from), B - 1); set(range ? null : [k, k + 1]); } };
    area.addEventListener('pointermove', move); area.addEventListener('pointerup', up); area.addEventListener('pointercancel', up);
  });
  const path = (counts, base, top) => { // one source's bars on those below it
    const B = counts.length, w = BOX.w / B;
    let d = '';
    for (let k = 0; k < B; k++) if (counts[k]) { const y0 = BOX.h - base[k] / top * BOX.h, y1 = BOX.h - (base[k] + counts[k]) / top * BOX.h; d += `M${(k * w).toFixed(2)} ${y0.toFixed(2)}V${y1.toFixed(2)}H${((k + 1) * w - (B > 12 ? .6 : 1.5)).toFixed(2)}V${y0.toFixed(2)}Z`; }
    return d || 'M0 0';
  };
  const stairs = (v, top) => { const w = BOX.w / v.length; return v.map((x, k) => `${k ? 'L' : 'M'}${(k * w).toFixed(2)} ${(BOX.h - x / top * BOX.h * .96).toFixed(2)}H${((k + 1) * w).toFixed(2)}`).join(''); };
  function draw() {
    if (!now) return;
    const {counts, edges, all} = now, B = edges.length - 1, sum = all.map((_, k) => counts.reduce((t, c) => t + c[k], 0));
    const kids = [];
    if (ui.shares) {
      const parts = counts.map(c => { const t = c.reduce((a, b) => a + b, 0); return t ? c.map(x => x / t) : null; }), top = Math.max(1e-9, ...parts.filter(Boolean).flat());
      parts.forEach((p, i) => p && kids.push(s('path', {d: stairs(p, top), class: 'line', stroke: ui.spec.sources[i].color})));
    } else {
      const top = Math.max(1, ...sum), base = sum.map(() => 0);
      counts.forEach((c, i) => { kids.push(s('path', {d: path(c, base, top), fill: ui.spec.sources[i].color})); c.forEach((x, k) => { base[k] += x; }); });
    }
    shapes.replaceChildren(...kids);
    ghost.setAttribute('d', ui.shares ? 'M0 0' : stairs(all, Math.max(1, ...all)));
    const [a, z] = range || [0, B];
    shade[0].setAttribute('x', 0); shade[0].setAttribute('width', a / B * BOX.w); shade[1].setAttribute('x', z / B * BOX.w); shade[1].setAttribute('width', (B - z) / B * BOX.w);
    handles.forEach((g, k) => { g.style.left = `${(k ? z : a) / B * 100}%`; g.setAttribute('aria-valuenow', number(edge(k ? z : a))); g.setAttribute('aria-valuemin', number(edges[0])); g.setAttribute('aria-valuemax', number(edges[B])); });
    el.classList.toggle('set', !!range);
    off.hidden = !range;
    const ends = Number.isInteger(edges[0] * 2) && edges[0] % 1 ? [edge(a) + .5, edge(z) - .5] : [edge(a), edge(z)];
    put(says, range ? `${number(ends[0])} – ${number(ends[1])}` : '');
    const at = k => now.log ? edges[0] * (edges[B] / edges[0]) ** k : edges[0] + (edges[B] - edges[0]) * k;
    [0, .5, 1].forEach((k, i) => put(axis.children[i], number(k === .5 ? +at(k).toPrecision(2) : k ? ends[1] && !range ? ends[1] : edges[B] : !range ? ends[0] : edges[0])));
    mark();
  }
  function mark() { // where the document that is read stands
    const v = ui.document && ui.document.numbers[name];
    here.setAttribute('visibility', now && v != null ? 'visible' : 'hidden');
    if (!now || v == null) return;
    const {edges} = now, B = edges.length - 1, x = clamp((now.log ? Math.log(v / edges[0]) / Math.log(edges[B] / edges[0]) : (v - edges[0]) / (edges[B] - edges[0])) * BOX.w, 1, BOX.w - 1);
    here.setAttribute('d', `M${x - 4} 0h8l-4 6zM${x} 6V${BOX.h}`);
  }
  return {el, name, draw, mark, clear() { range = null; draw(); }, async load() {
    const mine = ++asked, ready = ui.spec.ready.includes(name);
    try {
      for (let step; !ui.spec.ready.includes(name);) { // a signal that nobody computed yet
        step = await ui.back.ask('measure', {name});
        if (!el.isConnected) return;
        put(says, step.done < step.of ? `${Math.floor(step.done / step.of * 100)}%` : '');
        if (step.done >= step.of) ui.spec.ready.push(name);
      }
      const got = await ui.back.ask('histogram', {name, query: ui.query});
      if (mine !== asked) return;
      now = got; draw();
      if (!ready && ui.document) ui.open(ui.document.row, ui.document.at); // its number is known now
    } catch (e) { put(says, e.message); }
  }};
}

function kindView(ui, k) { // names with bars: sources, languages
  const many = k.names.length > 1, biggest = Math.max(1, ...k.counts), order = k.names.map((_, i) => i).sort((a, b) => k.counts[b] - k.counts[a]);
  const color = name => k.name === 'source' ? (ui.spec.colors[name] || 'var(--lb-dim)') : 'var(--lb-dim)';
  const lines = order.map(i => {
    const bar = h('i', {style: `background:${color(k.names[i])}`}), n = h('span', {class: 'num'});
    const el = h('button', {type: 'button', class: 'kind', 'aria-pressed': 'false', title: seen(k.names[i]) || '(none)', onclick: e => toggle(k.names[i], e.shiftKey || e.ctrlKey || e.metaKey)}, h('span', {class: 'nm'}, seen(k.names[i]) || '(none)'), h('span', {class: 'track'}, h('u', {style: `width:${k.counts[i] / biggest * 100}%`}), bar), n);
    return {i, el, bar, n};
  });
  const off = button(`clear ${nice(k.name)}`, () => { const where = {...ui.query.where}; delete where[k.name]; ui.change({where}); }, {name: 'clear', cls: 'bare', text: false});
  const el = h('section', {class: 'facet kinds'}, h('header', {}, h('h4', {}, nice(k.name)), h('span', {class: 'says'}), off), h('div', {class: 'names'}, ...lines.map(l => l.el)));
  function toggle(name, add) { // a click takes this one alone, with Shift it is added or taken out
    const where = {...ui.query.where}, have = where[k.name] || [];
    const next = have.includes(name) ? have.filter(x => x !== name) : add ? [...have, name] : [name];
    if (next.length && many) where[k.name] = next; else delete where[k.name];
    ui.change({where});
  }
  return {el, draw(counts) {
    const chosen = ui.query.where[k.name];
    off.hidden = !chosen;
    for (const l of lines) {
      if (counts) { put(l.n, whole(counts[l.i])); l.bar.style.width = `${counts[l.i] / biggest * 100}%`; }
      l.el.setAttribute('aria-pressed', String(!!chosen && chosen.includes(k.names[l.i])));
      l.el.classList.toggle('out', !!chosen && !chosen.includes(k.names[l.i]));
    }
  }};
}

// ---- 4 the list, the document, the map

function listView(ui) {
  const body = h('div', {class: 'rows', role: 'listbox', 'aria-label': 'documents', tabindex: -1}), says = h('span', {class: 'dim num'});
  const back = button('previous page', () => ui.turn(-1), {name: 'left', text: false}), on = button('next page', () => ui.turn(1), {name: 'right', text: false});
  const at = h('input', {class: 'field num', size: 6, inputmode: 'numeric', 'aria-label': 'page', onchange: e => { const n = parseInt(e.target.value.replace(/\D/g, ''), 10); if (n > 0) ui.go(n - 1); else ui.drawList(); }});
  return {el: h('div', {class: 'list'}, body, h('footer', {}, back, at, says, on)), draw(got) {
    const pages = Math.max(1, Math.ceil(got.total / ui.spec.size)), sort = (ui.query.sort || '').replace(/^-/, '');
    body.replaceChildren(...got.rows.map((r, i) => {
      const k = ui.n * ui.spec.size + i;
      const v = sort || ui.spec.numbers[0];
      return h('button', {type: 'button', class: 'row', role: 'option', 'aria-selected': String(r.row === (ui.document || {}).row), onclick: () => ui.read(k)}, h('i', {class: 'dot', style: `background:${ui.spec.colors[r.source] || 'var(--lb-dim)'}`, title: seen(r.source)}), h('span', {class: 'start', dir: 'auto'}, seen(r.text.trim().replace(/\s+/g, ' ').slice(0, 200)) || '(blank)'),
        h('span', {class: 'num dim', title: v ? nice(v) : ''}, v && r.values && r.values[v] !== undefined ? number(r.values[v]) : ''));
    }));
    if (!got.rows.length) body.append(h('p', {class: 'dim none'}, got.search && got.search.done < got.search.of ? 'Nothing yet.' : 'No document passes these filters.'));
    if (document.activeElement !== at) at.value = whole(ui.n + 1);
    put(says, `of ${whole(pages)}`);
    back.disabled = ui.n <= 0; on.disabled = ui.n + 1 >= pages;
  }};
}

const KINDS = {hit: 'found', pii: 'personal data', repeat: 'repeated line', shared: 'line of other documents'};
const spans = parts => parts.map(([t, kinds, note]) => kinds.length ? h('mark', {class: kinds.join(' '), title: note ? seen(note) : false}, seen(t)) : document.createTextNode(seen(t)));

// A block of a comparison; what is the same and long is folded.
function block(parts, signs, cls) {
  const el = h('div', {class: cls});
  for (const [sign, t] of parts) {
    if (!signs.includes(sign)) continue;
    if (sign === ' ' && t.length > 600) {
      const lines = t.split('\n'), head = lines.length > 8 ? lines.slice(0, 3).join('\n') + '\n' : t.slice(0, 200), tail = lines.length > 8 ? '\n' + lines.slice(-3).join('\n') : t.slice(-200), inner = t.slice(head.length, t.length - tail.length);
      const more = h('button', {type: 'button', class: 'fold', onclick: () => more.replaceWith(document.createTextNode(seen(inner)))}, `${whole(inner.length)} characters the same`);
      el.append(document.createTextNode(seen(head)), more, document.createTextNode(seen(tail)));
    } else el.append(sign === ' ' ? document.createTextNode(seen(t)) : h(sign === '-' ? 'del' : 'ins', {}, seen(t)));
  }
  return el;
}
const merged = blocks => h('div', {class: 'text', dir: 'auto'}, ...blocks.map(b => block(b, ' -+', 'block')));
const sides = (blocks, left, right) => h('div', {class: 'sides'}, h('h4', {}, left), h('h4', {}, right), ...blocks.flatMap(b => [[' -', left], [' +', right]].map(([signs, whose]) => { const el = block(b, signs, 'text'); el.dataset.whose = whose; return el; })));

function readerView(ui) {
  const back = button('previous document (k)', () => ui.step(-1), {name: 'left', text: false}), on = button('next document (j)', () => ui.step(1), {name: 'right', text: false}), place = h('span', {class: 'dim num place'});
  const who = h('span', {class: 'who'}), tabs = h('div', {class: 'seg', role: 'group', 'aria-label': 'view'}), facts = h('div', {class: 'facts'}), legend = h('div', {class: 'legend'}), body = h('div', {class: 'body', tabindex: 0});
  const hidden = new Set();
  let tab = 'Text', shown = 0;
  const show = async (fn, mine) => { try { const el = await fn(); if (mine === shown) body.replaceChildren(...[].concat(el)); } catch (e) { if (mine === shown) body.replaceChildren(h('p', {class: 'bad'}, seen(e.message))); } body.scrollTop = 0; };
  const views = {
    Text: d => {
      const at = h('div', {class: 'text', dir: 'auto'}, ...spans(d.pieces)), out = [at];
      const end = d.at + (d.shown ?? d.pieces.reduce((n, p) => n + [...p[0]].length, 0));
      if (d.at > 0 || end < d.size) out.push(h('p', {class: 'dim more'}, `Characters ${whole(d.at + 1)} to ${whole(end)} of ${whole(d.size)}. `, !ui.page && d.at > 0 && button('Before', () => ui.read(ui.at, Math.max(0, d.at - ui.spec.window)), {cls: 'link'}), !ui.page && end < d.size && button('Go on', () => ui.read(ui.at, end), {cls: 'link'})));
      return out;
    },
    async Changes(d) { const c = await ui.back.ask('changes', {row: d.row}); return [told(c), merged(c.blocks)]; },
    async 'Side by side'(d) { const c = await ui.back.ask('changes', {row: d.row}); return [told(c), sides(c.blocks, 'before', 'after')]; },
    async Copies(d) {
      const others = await ui.back.ask('copies', {row: d.row}), pane = h('div');
      const pick = async o => { for (const b of list.children) b.setAttribute('aria-pressed', String(b.row === o.row)); const c = await ui.back.ask('compare', {row: d.row, other: o.row}); pane.replaceChildren(sides(c, seen(`${d.source} · ${d.id}`), seen(`${o.source} · ${o.id}`))); };
      const list = h('div', {class: 'others'}, ...others.map(o => Object.assign(h('button', {type: 'button', onclick: () => pick(o)}, h('i', {class: 'dot', style: `background:${ui.spec.colors[o.source] || 'var(--lb-dim)'}`}), `${(o.similarity * 100).toFixed(0)}%`), {row: o.row})));
      if (others.length) await pick(others[0]);
      return [h('p', {class: 'dim'}, `${whole(d.copies)} near ${d.copies === 1 ? 'copy' : 'copies'}; how much of their five-word pieces they share:`), list, pane];
    },
  };
  const told = c => h('p', {class: c.why ? 'told bad' : 'told dim'}, c.why ? `${seen(ui.spec.cleaner)} drops this document${c.step ? ` at “${seen(nice(c.step))}”` : ''}: ${seen(c.why)}. ` : `${seen(ui.spec.cleaner)}: `, `${whole(c.removed)} characters go, ${whole(c.added)} come.`);
  function draw() {
    const d = ui.document, mine = ++shown;
    if (!d) { who.replaceChildren(); facts.replaceChildren(); legend.replaceChildren(); body.replaceChildren(); tabs.replaceChildren(); put(place, ''); return; }
    who.replaceChildren(h('i', {class: 'dot', style: `background:${ui.spec.colors[d.source] || 'var(--lb-dim)'}`}), h('b', {}, seen(d.source)), h('span', {class: 'dim id', title: seen(d.id)}, seen(d.id)));
    put(place, `${whole(ui.at + 1)} of ${whole(ui.got.total)}`);
    back.disabled = ui.at <= 0; on.disabled = ui.at + 1 >= ui.got.total;
    facts.replaceChildren(...Object.entries(d.numbers).map(([k, v]) => h('span', {}, h('span', {class: 'dim'}, seen(nice(k))), ` ${number(v)}`)), ...Object.entries(d.fields).filter(([, v]) => v != null && v !== '').map(([k, v]) => h('span', {class: 'field-of', title: seen(v)}, h('span', {class: 'dim'}, seen(nice(k))), ` ${typeof v === 'number' ? number(v) : seen(v)}`)));
    const names = ['Text', ...(ui.spec.cleaner ? ['Changes', 'Side by side'] : []), ...(d.copies ? ['Copies'] : [])];
    if (!names.includes(tab)) tab = 'Text';
    tabs.replaceChildren(...(names.length > 1 ? names.map(n => h('button', {type: 'button', 'aria-pressed': String(n === tab), onclick: () => { tab = n; draw(); }}, n === 'Copies' ? `Copies (${d.copies})` : n)) : []));
    const counts = {};
    for (const [, kinds] of d.pieces) for (const k of kinds) counts[k] = (counts[k] || 0) + 1;
    legend.replaceChildren(...(tab === 'Text' ? Object.keys(KINDS).filter(k => counts[k]).map(k => h('button', {type: 'button', 'aria-pressed': String(!hidden.has(k)), title: 'show or hide these marks', onclick: () => { hidden.has(k) ? hidden.delete(k) : hidden.add(k); draw(); }}, h('mark', {class: k}, KINDS[k]), ` ${whole(counts[k])}`)) : []));
    body.className = ['body', ...[...hidden].map(k => `no-${k}`)].join(' ');
    show(() => views[tab](d), mine);
  }
  return {el: h('article', {class: 'reader'}, h('header', {}, back, on, who, place), h('div', {class: 'line'}, tabs, legend), facts, body), draw, tab(name) { tab = name; }};
}

function mapView(ui) { // points of a sample; those that the filters leave out are pale
  const canvas = h('canvas', {role: 'img', 'aria-label': 'map of a sample: near documents are alike'}), tip = h('div', {class: 'tip', hidden: true}), m = ui.spec.map, el = h('div', {class: 'map'}, canvas, tip, h('p', {class: 'dim'}, seen(m.about)));
  const ends = a => [Math.min(...a), Math.max(...a)], [x0, x1] = ends(m.x), [y0, y1] = ends(m.y);
  let W = 0, H = 0;
  const at = i => [12 + (m.x[i] - x0) / (x1 - x0 || 1) * (W - 24), H - 12 - (m.y[i] - y0) / (y1 - y0 || 1) * (H - 24)];
  function draw() {
    const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1, g = canvas.getContext('2d');
    if (!box.width) return;
    [W, H] = [box.width, box.height]; canvas.width = W * ratio; canvas.height = H * ratio; g.scale(ratio, ratio);
    const live = ui.alive ? new Set(ui.alive) : null;
    const paint = (i, on) => { const [x, y] = at(i); g.globalAlpha = on ? .8 : .12; g.fillStyle = ui.spec.colors[m.source[i]] || '#888'; g.beginPath(); g.arc(x, y, on ? 3.2 : 2.2, 0, 7); g.fill(); };
    m.x.forEach((_, i) => { if (live && !live.has(m.row[i])) paint(i, false); });
    m.x.forEach((_, i) => { if (!live || live.has(m.row[i])) paint(i, true); });
    const now = ui.document ? m.row.indexOf(ui.document.row) : -1;
    if (now >= 0) { const [x, y] = at(now); g.globalAlpha = 1; g.lineWidth = 2; g.strokeStyle = getComputedStyle(el).color; g.beginPath(); g.arc(x, y, 7, 0, 7); g.stroke(); }
  }
  const near = e => { const box = canvas.getBoundingClientRect(); let best = -1, d = 144; m.x.forEach((_, i) => { const [x, y] = at(i), q = (x - e.clientX + box.left) ** 2 + (y - e.clientY + box.top) ** 2; if (q < d) { d = q; best = i; } }); return best; };
  canvas.addEventListener('pointermove', e => {
    const i = near(e);
    tip.hidden = i < 0; canvas.style.cursor = i < 0 ? '' : 'pointer';
    if (i < 0) return;
    const [x, y] = at(i);
    tip.replaceChildren(h('b', {}, seen(m.source[i])), h('span', {}, seen(m.text[i])));
    tip.style.left = `${clamp(x + 10, 0, Math.max(0, W - 250))}px`; tip.style.top = `${y + 12}px`;
  });
  canvas.addEventListener('pointerleave', () => { tip.hidden = true; });
  canvas.addEventListener('click', e => { const i = near(e); if (i >= 0) ui.open(m.row[i]); });
  const sizes = new ResizeObserver(draw), themes = onTheme(draw);
  sizes.observe(canvas);
  return {el, draw, close() { sizes.disconnect(); themes(); }};
}

// ---- 5 the widget

function render({model, el}) {
  const spec = structuredClone(model.get('spec')), page = !!model.page, back = page ? holder(spec) : kernel(model);
  const root = h('div', {class: 'lb lb-look', role: 'group', 'aria-label': `Documents: ${seen(spec.title)}`});
  let asked = 0, timer = 0, stopped = false;
  const ui = {spec, back, page, query: structuredClone(spec.query), n: 0, at: 0, got: {total: spec.n, rows: [], search: null}, document: null, shares: false, alive: null, root,
    change(part, keep) { ui.query = {...ui.query, ...part}; ui.n = 0; stopped = false; if (!keep) ui.fresh = true; clearTimeout(timer); timer = setTimeout(refresh, 'find' in part ? 250 : 30); kinds.forEach(k => k.draw()); },
    async go(n) { ui.n = clamp(n, 0, Math.max(0, Math.ceil(ui.got.total / spec.size) - 1)); await load(); },
    turn: d => ui.go(ui.n + d),
    drawList() { list.draw(ui.got); },
    step: d => ui.read(clamp(ui.at + d, 0, ui.got.total - 1)),
    async read(k, at = 0) { // the k-th document of the result
      const n = Math.floor(k / spec.size), mine = ++ui.reading;
      if (n !== ui.n || !ui.got.rows.length) await ui.go(n);
      const r = ui.got.rows[k - n * spec.size];
      if (!r) return;
      ui.at = k;
      await ui.open(r.row, at, mine);
    },
    reading: 0,
    async open(row, at = 0, mine = ++ui.reading) {
      try {
        const d = await back.ask('document', {row, at, query: ui.query});
        if (mine !== ui.reading) return;
        ui.document = d; put(trouble, '');
        list.draw(ui.got); reader.draw(); histograms.forEach(x => x.mark()); if (map) map.draw();
      } catch (e) { put(trouble, seen(e.message)); }
    },
  };
  const load = async () => {
    const mine = ++asked;
    try {
      const got = await back.ask('page', {query: ui.query, n: ui.n, size: spec.size, map: !!map});
      if (mine !== asked) return false;
      ui.got = got; ui.alive = got.map || null; put(trouble, '');
      list.draw(got); kinds.forEach((k, i) => k.draw(got.kinds[spec.kinds[i].name])); head();
      return true;
    } catch (e) { if (mine === asked) put(trouble, seen(e.message)); return false; }
  };
  const refresh = async () => {
    if (!await load()) return;
    const first = asked;
    if (ui.fresh) { ui.fresh = false; if (ui.got.rows.length) ui.read(0); else { ui.document = null; reader.draw(); } }
    for (const x of histograms) { if (first !== asked && !ui.got.search) break; await x.load(); }
    if (map) map.draw();
    const key = JSON.stringify(ui.query);
    while (!stopped && ui.got.search && ui.got.search.done < ui.got.search.of && key === JSON.stringify(ui.query) && root.isConnected) { // a search goes on in steps, so that anything else comes between
      await back.ask('look', {query: ui.query});
      const none = !ui.got.rows.length;
      if (!await load()) return;
      if (none && ui.got.rows.length) ui.read(0);
      if (ui.got.search.done >= ui.got.search.of) for (const x of histograms) await x.load();
    }
    head();
  };
  const find = h('input', {class: 'field find', type: 'search', placeholder: 'search', 'aria-label': 'search', value: ui.query.find, oninput: e => ui.change({find: e.target.value})});
  const flag = (name, label, title) => { const b = h('button', {type: 'button', class: 'flag', 'aria-pressed': String(ui.query[name]), title, 'aria-label': title, onclick: () => { ui.change({[name]: !ui.query[name]}); b.setAttribute('aria-pressed', String(ui.query[name])); }}, label); return b; };
  const stop = button('Stop', () => { stopped = true; head(); }, {name: 'stop'}), bar = h('i'), progress = h('div', {class: 'progress', hidden: true}, bar), count = h('b', {class: 'count'}), state = h('span', {class: 'dim state', role: 'status'}), trouble = h('div', {class: 'bad trouble', role: 'alert'});
  const sorts = () => [h('option', {value: ''}, 'as they stand'), ...spec.numbers.flatMap(n => [h('option', {value: `-${n}`}, `most ${nice(n)}`), h('option', {value: n}, `least ${nice(n)}`)])];
  const sort = h('select', {class: 'field', 'aria-label': 'order', onchange: e => ui.change({sort: e.target.value || null})}, ...sorts());
  sort.value = ui.query.sort || '';
  const head = () => {
    const q = ui.got.search, running = q && q.done < q.of;
    put(count, whole(ui.got.total)); put(state, `of ${whole(spec.n)} documents${running ? ` · looked at ${Math.floor(q.done / Math.max(1, q.of) * 100)}%${stopped ? ', stopped' : ''}` : ''}`);
    progress.hidden = !running; bar.style.width = running ? `${q.done / q.of * 100}%` : '0'; stop.hidden = !running || stopped;
    all.hidden = !Object.keys(ui.query.where).length && !ui.query.find;
  };
  const all = button('Clear all', () => { find.value = ''; histograms.forEach(x => x.clear()); ui.change({find: '', where: {}}); }, {name: 'clear', cls: 'quiet'});
  const kinds = spec.kinds.map(k => kindView(ui, k)), list = listView(ui), reader = readerView(ui);
  let histograms = spec.numbers.map(n => histogram(ui, n)), map = null;
  const more = spec.more.length ? h('select', {class: 'field more', 'aria-label': 'another number', onchange: e => {
    const n = e.target.value;
    if (!n) return;
    spec.numbers.push(n); spec.more = spec.more.filter(x => x !== n); e.target.value = ''; [...e.target.options].find(o => o.value === n).remove();
    const x = histogram(ui, n);
    histograms.push(x); charts.append(x.el); x.load().then(() => { const now = sort.value; sort.replaceChildren(...sorts()); sort.value = now; });
  }}, h('option', {value: ''}, 'another number …'), ...spec.more.map(n => h('option', {value: n, title: spec.about[n] || ''}, nice(n)))) : null;
  const scale = h('div', {class: 'seg', role: 'group', 'aria-label': 'scale of the histograms'}, ...['counts', 'shares'].map((n, i) => h('button', {type: 'button', 'aria-pressed': String(!i), title: i ? 'each source on its own scale' : 'documents, stacked by source', onclick: e => { ui.shares = !!i; for (const b of scale.children) b.setAttribute('aria-pressed', String(b === e.currentTarget)); histograms.forEach(x => x.draw()); }}, n)));
  const charts = h('div', {class: 'charts'}, ...histograms.map(x => x.el)), pane = h('div', {class: 'pane'}, list.el);
  if (spec.map) {
    map = mapView(ui); map.el.hidden = true; pane.append(map.el);
    const both = ['list', 'map'].map(n => h('button', {type: 'button', 'aria-pressed': String(n === 'list'), title: n, onclick: () => { list.el.hidden = n === 'map'; map.el.hidden = n === 'list'; both.forEach(b => b.setAttribute('aria-pressed', String(b.title === n))); map.draw(); }}, icon(n), h('span', {}, n)));
    pane.prepend(h('div', {class: 'seg which', role: 'group', 'aria-label': 'list or map'}, ...both));
  }
  root.append(h('div', {class: 'top'}, h('b', {class: 'title'}, seen(spec.title)), h('span', {class: 'finder'}, icon('search'), find, flag('case', 'Aa', 'upper and lower case differ'), flag('regex', '.*', page ? 'regular expression' : 'regular expression (RE2)')), sort, h('span', {class: 'grow'}), all, stop, h('span', {class: 'total'}, count, ' ', state)), progress, trouble,
    h('div', {class: 'main'}, h('aside', {}, ...kinds.map(k => k.el), spec.numbers.length || more ? h('div', {class: 'line'}, h('h4', {}, 'Numbers'), h('span', {class: 'grow'}), scale) : null, charts, more), pane, reader.el), spec.note ? h('p', {class: 'dim note'}, seen(spec.note)) : '');
  root.addEventListener('keydown', e => {
    if (e.target.closest('input, select, textarea') || e.ctrlKey || e.metaKey || e.altKey) return;
    const step = {j: 1, k: -1}[e.key] ?? (e.target.closest('.rows') ? {ArrowDown: 1, ArrowUp: -1}[e.key] : undefined);
    if (step) { e.preventDefault(); e.stopPropagation(); ui.step(step).then(() => { const r = root.querySelector('.row[aria-selected=true]'); if (r) r.focus({preventScroll: true}); }); }
    if (e.key === '/') { e.preventDefault(); find.focus(); }
  });
  el.replaceChildren(ownKeys(root));
  el.look = ui;
  ui.fresh = true;
  refresh();
  return () => { back.close(); if (map) map.close(); };
}

export default {render};
