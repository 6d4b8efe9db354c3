// The mixing studio, behind elements.js. It lives in JupyterLab and Voila (anywidget), on the documentation site and in a saved
// page from this same source. Every name that it shows comes from data and enters the page as text, never as HTML.
//
//   1 shares   whole numbers of 1/2**20, as in llmbench.studio      4 the value   what is edited, undo, the link to Python
//   2 plan     tokens, epochs, worth, when a source runs out        5 view        toolbar, rows, schedule, prediction
//   3 law      loss, interval, support, pull, cheapest change       6 export      mixture file, Python code

// ---- 1 shares

const PARTS = 2 ** 20;
const sum = a => { let s = 0; for (let i = 0; i < a.length; i++) s += a[i]; return s; };

// Weights as whole parts that sum to PARTS (largest remainder); a positive weight gets at least 1.
function wholeParts(w, parts = PARTS) {
  const total = sum(w), ideal = w.map(v => v / total * parts), n = ideal.map(Math.floor);
  const order = n.map((_, i) => i).sort((a, b) => (n[a] - ideal[a]) - (n[b] - ideal[b]) || a - b);
  for (const i of order.slice(0, parts - sum(n))) n[i] += 1;
  w.forEach((v, i) => { if (v > 0 && !n[i]) n[i] = 1; });
  for (let d = sum(n) - parts; d > 0; d--) n[n.indexOf(Math.max(...n))] -= 1;
  return n;
}

// Give out `total` parts in proportion to `base` within bounds: clip(c * base, lo, hi) for the one c that fits, rounded by largest
// remainder. All numbers are whole and below 2**53, so Python computes exactly the same. null: the bounds do not allow it.
function shareOut(total, base, lo, hi) {
  if (total < sum(lo) || total > sum(hi)) return null;
  const n = new Array(base.length).fill(0);
  let live = base.map((_, i) => i), left = total, b, W;
  while (live.length) {
    W = sum(live.map(i => base[i]));
    b = W ? base : base.map(() => 1);
    W = W || live.length;
    let low = 0, high = 0;
    for (const i of live) { low += Math.max(lo[i] * W - b[i] * left, 0); high += Math.max(b[i] * left - hi[i] * W, 0); }
    if (!low && !high) break;
    const stays = i => {
      const bound = low >= high && b[i] * left < lo[i] * W ? lo[i] : high >= low && b[i] * left > hi[i] * W ? hi[i] : null;
      if (bound === null) return true;
      n[i] = bound;
      return false;
    };
    live = live.filter(stays);
    left = total - sum(n);
  }
  for (const i of live) n[i] = Math.floor(b[i] * left / W);
  const rest = live.map(i => [b[i] * left - n[i] * W, i]).sort((x, y) => y[0] - x[0] || x[1] - y[1]);
  for (const [, i] of rest.slice(0, total - sum(n))) n[i] += 1;
  return n;
}

// Parts after source k is set to `want`: locks hold, bounds hold, the other sources give way in proportion to `base`, the sum stays.
function shift(parts, k, want, locked, lo, hi, base = parts) {
  if (locked[k]) return parts;
  const free = parts.map((_, i) => i).filter(i => i !== k && !locked[i]);
  const pick = a => free.map(i => a[i]);
  const room = PARTS - sum(parts.filter((_, i) => i !== k && locked[i]));
  const least = Math.max(lo[k], room - sum(pick(hi))), most = Math.min(hi[k], room - sum(pick(lo)));
  if (least > most) return parts;
  const x = clamp(Math.round(want), least, most), others = shareOut(room - x, pick(base), pick(lo), pick(hi));
  const out = parts.slice();
  out[k] = x;
  free.forEach((i, j) => { out[i] = others[j]; });
  return out;
}

// As `shift`, where more must hold than bounds of single shares (`allowed`: parts -> true or false): as far as it goes on the way to `want`.
function shiftWithin(parts, k, want, locked, lo, hi, base, allowed) {
  const to = x => shift(parts, k, x, locked, lo, hi, base);
  let out = to(want);
  if (allowed(out) || !allowed(parts)) return out;
  let good = parts[k], bad = out[k];
  out = parts;
  while (Math.abs(bad - good) > 1) {
    const x = Math.floor((good + bad) / 2), next = to(x);
    if (allowed(next)) { good = x; out = next; } else bad = x;
  }
  return out;
}

// A whole mixture put in place at once, as near as locks and bounds allow; null when they do not.
function settle(parts, wanted, locked, lo, hi) {
  const free = parts.map((_, i) => i).filter(i => !locked[i]), pick = a => free.map(i => a[i]);
  const got = shareOut(PARTS - sum(parts.filter((_, i) => locked[i])), pick(wanted), pick(lo), pick(hi));
  if (!got) return null;
  const out = parts.slice();
  free.forEach((i, j) => { out[i] = got[j]; });
  return out;
}

// The weights nearest to `w` (KL) under caps: clip(c * w, 0, cap); null when the caps leave too little.
function capWeights(w, cap) {
  if (sum(w.map((v, i) => v > 0 ? Math.min(cap[i], 1) : 0)) < 1) return null;
  let a = 0, b = Math.max(...w.map((v, i) => v > 0 ? Math.min(cap[i], 1) / v : 0));
  for (let r = 0; r < 100; r++) { const c = (a + b) / 2; if (sum(w.map((v, i) => Math.min(c * v, cap[i], 1))) < 1) a = c; else b = c; }
  return w.map((v, i) => Math.min(b * v, cap[i], 1));
}

// Shares of documents as shares of tokens (times), or back (divided): floats that sum to 1.
const timesLength = (w, perDoc) => { const t = w.map((v, i) => v * perDoc[i]), s = sum(t); return t.map(v => v / s); };
const byLength = (w, perDoc) => { const t = w.map((v, i) => v / perDoc[i]), s = sum(t); return t.map(v => v / s); };

// ---- 2 plan

const R_STAR = 15.4; // repeats after which the value of repeating has decayed to 1/e (Muennighoff et al. 2023)
const worth = (unique, epochs) => unique * (Math.min(epochs, 1) + R_STAR * (1 - Math.exp(-Math.max(epochs - 1, 0) / R_STAR)));

const tokenShares = (spec, value, parts) => {
  const w = parts.map(n => n / PARTS);
  return value.unit === 'documents' ? timesLength(w, spec.per_document) : w;
};

const STEPS = 64; // a ramp is a stair of at most so many steps, as in the stream
const shapeAt = (u, shape) => shape === 'cosine' ? (1 - Math.cos(Math.PI * u)) / 2 : u;

// The stair of the run: pieces {from, to, w} with w the shares of the tokens; a phase ends the one before, its ramp too.
function pieces(spec, value, n) {
  let stair = [];
  value.phases.forEach((p, i) => {
    const w = tokenShares(spec, value, p.parts);
    stair = stair.filter(s => s.from < p.start);
    const before = stair.length ? stair[stair.length - 1].w : w, steps = i ? Math.min(STEPS, p.ramp) : 0;
    for (let j = 0; j < steps; j++) {
      const x = shapeAt((j + 0.5) / steps, p.shape);
      stair.push({from: p.start + Math.floor(j * p.ramp / steps), w: before.map((v, k) => (1 - x) * v + x * w[k])});
    }
    stair.push({from: p.start + (i ? p.ramp : 0), w});
  });
  stair = stair.filter(s => s.from < n);
  stair.forEach((s, i) => { s.to = i + 1 < stair.length ? stair[i + 1].from : n; });
  return stair;
}

// What each source gives over the whole run, and which one runs out first.
function plan(spec, value) {
  const n = Math.floor(value.budget / spec.window), all = pieces(spec, value, n), K = spec.names.length;
  const out = {n, mean: [], tokens: [], epochs: [], drawn: n * spec.window, unique: 0, worth: 0, first: null};
  for (let k = 0; k < K; k++) {
    let read = 0, ends = null;
    const W = spec.windows[k];
    for (const {from, to, w} of all) {
      if (ends === null && W && read + w[k] * (to - from) > W * (1 + 1e-9)) ends = Math.round(from + (W - read) / w[k]);
      read += w[k] * (to - from);
    }
    const e = W ? read / W : read ? Infinity : 0;
    out.mean.push(read / n); out.tokens.push(read * spec.window); out.epochs.push(e);
    out.unique += Math.min(read, W) * spec.window;
    out.worth += W ? worth(W * spec.window, e) : 0;
    if (ends !== null && (!out.first || ends < out.first.at)) out.first = {k, at: ends};
  }
  return out;
}

// ---- 3 law: evaluates the JSON of llmbench.formula.law_spec, as evaluate_spec does

const floats = text => new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);

// A form as {value(m), slopes(m), error(m), work}: functions of the shares last fed (`q` and their logarithms, read in place).
function compile(form, q, logs) {
  const K = q.length;
  if (form.kind === 'mean') {
    const parts = form.of.map(f => compile(f, q, logs)), mean = f => { let s = 0; for (const p of parts) s += f(p); return s / parts.length; };
    return {value: m => mean(p => p.value(m)), error: m => mean(p => p.error(m)), work: sum(parts.map(p => p.work))};
  }
  if (form.kind === 'gp') return process(form, q, logs);
  if (form.kind === 'linear') return linear(form, q);
  const theta = form.theta.map(t => Float64Array.from(t)), P = theta[0].length, J = new Float64Array(P), whiten = form.whiten.map(floats);
  const curve = form.kind === 'power' ? power(form.terms, q, logs) : exponential(form.floor, q);
  return {
    value: m => form.low[m] + form.spread[m] * curve(theta[m], null), work: P,
    error(m) { // |A J|, A a lower triangle given row by row
      curve(theta[m], J);
      const A = whiten[m];
      let s = 0;
      for (let row = 0, at = 0; row < P; at += ++row) { let v = 0; for (let i = 0; i <= row; i++) v += A[at + i] * J[i]; s += v * v; }
      return form.spread[m] * Math.sqrt(s);
    },
  };
}

// Sum over terms of c (b + sum of u)^-a, less a floor; u = exp(t) q^g.
function power(terms, q, logs) {
  const K = q.length, u = new Float64Array(K);
  return (t, J) => {
    const floor = Math.exp(t[0]);
    let v = -floor;
    if (J) J[0] = -floor;
    for (let s = 0; s < terms; s++) {
      const o = 1 + s * (3 + 2 * K), c = Math.exp(t[o]), b = Math.exp(t[o + 1]), a = Math.exp(t[o + 2]);
      let S = b;
      for (let k = 0; k < K; k++) S += u[k] = q[k] > 0 ? Math.exp(t[o + 3 + k] + t[o + 3 + K + k] * logs[k]) : 0;
      const f = c * Math.pow(S, -a), d = -a * f / S;
      v += f;
      if (!J) continue;
      J[o] = f; J[o + 1] = d * b; J[o + 2] = -a * Math.log(S) * f;
      for (let k = 0; k < K; k++) { J[o + 3 + k] = d * u[k]; J[o + 3 + K + k] = d * u[k] * logs[k]; }
    }
    return v;
  };
}

function exponential(floor, q) {
  return (t, J) => {
    let s = 0;
    for (let k = 0; k < q.length; k++) s += t[1 + k] * q[k];
    const P = Math.exp(Math.min(s, 50)), c = floor === 'value' ? t[0] : Math.exp(t[0]);
    if (J) { J[0] = floor === 'value' ? 1 : c; for (let k = 0; k < q.length; k++) J[1 + k] = P * q[k]; }
    return P + c;
  };
}

function linear(form, q) { // in the shares and, with a floor, their logarithms
  const K = q.length, turned = form.turn[0].map((_, p) => Float64Array.from(form.turn, r => r[p])), columns = () => { const x = Array.from(q); if (form.floor !== null) for (let k = 0; k < K; k++) x.push(Math.log(q[k] + form.floor)); return x; };
  return {
    value: m => { const x = columns(); let s = 0; for (let i = 0; i < x.length; i++) s += form.coef[m][i] * x[i]; return form.intercept[m] + s; }, work: 2 * K,
    error(m) {
      const x = columns();
      let s = 1 / form.runs;
      for (const t of turned) { let z = 0; for (let i = 0; i < x.length; i++) z += (x[i] - form.centre[i]) * t[i]; s += z * z; }
      return form.sigma[m] * Math.sqrt(s);
    },
  };
}

function process(form, q, logs) { // a form plus a Matérn-5/2 process over the square roots of the shares
  const base = compile(form.base, q, logs), roots = form.at.map(r => r.map(Math.sqrt)), r5 = Math.sqrt(5);
  return {
    ...base, work: base.work + roots.length,
    value(m) {
      let v = base.value(m);
      if (!form.length[m]) return v;
      for (let r = 0; r < roots.length; r++) {
        let d = 0;
        for (let k = 0; k < q.length; k++) { const e = roots[r][k] - Math.sqrt(Math.max(q[k], 0)); d += e * e; }
        const u = Math.sqrt(d) / form.length[m];
        v += form.alpha[m][r] * (1 + r5 * u + 5 / 3 * u * u) * Math.exp(-r5 * u);
      }
      return v;
    },
  };
}

function makeLaw(spec) {
  if (!spec) return null;
  const K = spec.sources.length, M = spec.targets.length, q = new Float64Array(K), logs = new Float64Array(K), form = compile(spec.form, q, logs), roots = floats(spec.runs).map(Math.sqrt);
  const feed = (w, alone) => { // shares as the law sees them: less what is lost to repeats
    for (let k = 0; k < K; k++) {
      const v = w[spec.order[k]], e = alone ? v * alone[spec.order[k]] : 0;
      q[k] = e > 1 ? v * worth(1, e) / e : Math.max(v, 0);
      logs[k] = q[k] > 0 ? Math.log(q[k]) : 0;
    }
  };
  const each = f => spec.targets.map((_, m) => f(m));
  return {
    ...spec, score: spec.scores[spec.level],
    predict(w, alone) { feed(w, alone); return each(form.value); },
    scale(w, alone) { feed(w, alone); return each(m => Math.hypot(spec.noise[m], form.error(m))); },
    target(w, alone, t) { feed(w, alone); let s = 0; for (let m = 0; m < M; m++) if (t[m]) s += t[m] * form.value(m); return s; },
    support(w) { // Hellinger distance to the nearest run, in units of the runs' own spacing
      const p = spec.order.map(k => Math.sqrt(w[k]));
      let best = 0;
      for (let i = 0; i < roots.length; i += K) { let s = 0; for (let k = 0; k < K; k++) s += p[k] * roots[i + k]; if (s > best) best = s; }
      return Math.sqrt(Math.max(1 - best, 0)) / spec.spacing;
    },
    cost: t => K * form.work * t.filter(v => v).length, // of one evaluation for every source: decides what waits for a pause
  };
}

// Change of the target when a source's share grows by `step` at the expense of the others, in proportion.
function pulls(law, w, alone, t, step = 0.01) {
  const now = law.target(w, alone, t);
  return w.map((_, k) => law.target(w.map((v, i) => v * (1 - step) + (i === k ? step : 0)), alone, t) - now);
}

// The smallest move of share from one source to another that lowers the target by `gain`; {from, to, parts} or {most, from, to} when none does.
function cheapest(law, w, gain, alone, t, locked, lo, hi) {
  const now = law.target(w, alone, t), h = 0.001, free = w.map((_, k) => k).filter(k => !locked[k]);
  const at = (i, j, d) => law.target(w.map((v, k) => k === i ? v - d : k === j ? v + d : v), alone, t);
  const bend = (k, d) => law.target(w.map((v, i) => i === k ? v + d : v), alone, t) - now;
  const best = (ks, score) => ks.map(k => [score(k), k]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).slice(0, 4).map(p => p[1]);
  const takers = best(free.filter(k => w[k] + h <= hi[k]), k => bend(k, h)), givers = best(free.filter(k => w[k] - h >= lo[k]), k => bend(k, -h));
  let found = null, most = {most: 0};
  for (const i of givers) for (const j of takers) {
    if (i === j) continue;
    const room = Math.min(w[i] - lo[i], hi[j] - w[j]);
    let a = 0, b = null;
    for (let s = 1; s <= 16 && b === null; s++) {
      const fell = now - at(i, j, room * s / 16);
      if (fell >= gain) b = room * s / 16; else a = room * s / 16;
      if (fell > most.most) most = {most: fell, from: i, to: j, parts: Math.round(room * s / 16 * PARTS)};
    }
    if (b === null || found && a >= found.size) continue;
    for (let r = 0; r < 24; r++) { const m = (a + b) / 2; if (now - at(i, j, m) >= gain) b = m; else a = m; }
    if (!found || b < found.size) found = {from: i, to: j, size: b, parts: Math.ceil(b * PARTS)};
  }
  return found || most;
}

// ---- 4 the value: {unit, budget, locks, selected, slot, other, phases: [{start, parts, ramp, shape}]}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const copy = x => JSON.parse(JSON.stringify(x));

class Board {
  constructor(model) {
    this.model = model; this.spec = model.get('spec'); this.value = copy(model.get('value'));
    this.past = []; this.future = []; this.told = 0; this.base = null; this.listeners = [];
    this.law = makeLaw(this.spec.law);
    this.option = 0; this.against = {kind: 'preset', at: this.spec.baseline}; this.remembered = null;
  }
  get phase() { return this.value.phases[this.value.selected]; }
  get mean() { return plan(this.spec, this.value).mean; } // shares of the tokens over the whole run
  get n() { return Math.floor(this.value.budget / this.spec.window); }
  alone(budget = this.value.budget) {
    if (!this.law || !this.law.repeats) return this.law && this.law.alone;
    const n = Math.floor(budget / this.spec.window);
    return this.spec.windows.map(W => n / Math.max(W, 1));
  }
  // One step that can be undone; `edit` changes this.value. `live`: a drag in progress, whose first step is what undo goes back to.
  change(edit, {live = false, keep = false} = {}) {
    const before = copy(this.value);
    edit(this.value);
    if (same(before, this.value)) return;
    if (!this.dragging) { this.past.push(before); if (this.past.length > 500) this.past.shift(); this.future = []; }
    if (!keep) this.base = null;
    if (live) this.dragging = true;
    this.publish();
  }
  begin() { this.base = this.phase.parts.slice(); }
  end() { if (this.dragging) { this.dragging = false; this.publish(); } }
  undo() { if (this.past.length) { this.future.push(copy(this.value)); this.value = this.past.pop(); this.base = null; this.publish(); } }
  redo() { if (this.future.length) { this.past.push(copy(this.value)); this.value = this.future.pop(); this.base = null; this.publish(); } }
  publish() { // a drag tells Python ten times a second, and always how it ended
    if (!this.dragging || performance.now() - this.told > 100) {
      this.mine = true;
      this.model.set('value', copy(this.value));
      this.mine = false;
      this.model.save_changes();
      this.told = performance.now();
    }
    this.listeners.forEach(f => f());
  }
  adopt() { // Python, or another view of the same model, set the value
    if (this.mine || this.dragging || same(this.model.get('value'), this.value)) return;
    this.past.push(copy(this.value)); this.future = []; this.base = null;
    this.value = copy(this.model.get('value'));
    this.listeners.forEach(f => f());
  }
  // Whether these parts keep the bounds that a single share of the tokens cannot tell: those of groups, and all of them for documents.
  get allowed() {
    const {spec, value} = this, limits = value.unit === 'documents' ? [...spec.groups, ...spec.singles] : spec.groups;
    return parts => {
      if (!limits.length) return true;
      const w = tokenShares(spec, value, parts);
      return limits.every(g => { const s = sum(g.members.map(k => w[k])) * PARTS; return s >= g.lo - 1 && s <= g.hi + 1; });
    };
  }
  get bounds() { const {lo, hi} = this.spec; return this.value.unit === 'documents' ? [lo.map(() => 0), hi.map(() => PARTS)] : [lo, hi]; }
  set(k, want, options) { this.change(v => { const p = v.phases[v.selected]; p.parts = shiftWithin(p.parts, k, want, v.locks, ...this.bounds, this.base || p.parts, this.allowed); }, options); }
  // Keys: consecutive steps on one row share a base, so that the others come back as they were.
  step(k, by) { if (!this.base || this.row !== k) this.base = this.phase.parts.slice(); this.row = k; this.set(k, this.phase.parts[k] + by, {keep: true}); }
  place(parts) { // a preset: shares of tokens, in the unit on screen
    const wanted = this.value.unit === 'documents' ? wholeParts(byLength(parts.map(n => n / PARTS), this.spec.per_document)) : parts;
    const got = settle(this.phase.parts, wanted, this.value.locks, ...this.bounds);
    if (got) this.change(v => { v.phases[v.selected].parts = got; });
    return got;
  }
  setUnit(unit) {
    if (unit === this.value.unit) return;
    const back = this.remembered && same(this.remembered.now, this.value.phases) && this.remembered.was, was = copy(this.value.phases);
    this.change(v => {
      v.phases.forEach((p, i) => { p.parts = back ? back[i].parts : wholeParts((unit === 'documents' ? byLength : timesLength)(p.parts.map(n => n / PARTS), this.spec.per_document)); });
      v.unit = unit;
    });
    this.remembered = {now: copy(this.value.phases), was};
  }
  setBudget(tokens) {
    const least = this.spec.window * Math.max(1, this.value.phases.length + 1);
    if (!(tokens >= least && Number.isFinite(tokens))) return;
    this.change(v => {
      const stretch = Math.floor(tokens / this.spec.window) / this.n;
      v.budget = Math.round(tokens);
      v.phases.forEach((p, i) => { if (i) { p.start = Math.round(p.start * stretch); p.ramp = Math.round(p.ramp * stretch); } });
      this.tidy(v);
    });
  }
  tidy(v) { // starts rise and leave at least one sequence each; a ramp ends before the next phase
    const n = Math.floor(v.budget / this.spec.window);
    v.phases.forEach((p, i) => { if (i) p.start = clamp(p.start, v.phases[i - 1].start + 1, n - (v.phases.length - i)); });
    v.phases.forEach((p, i) => { p.ramp = i ? clamp(p.ramp, 0, (i + 1 < v.phases.length ? v.phases[i + 1].start : n) - p.start) : 0; });
  }
  addPhase() {
    const i = this.value.selected, start = this.phase.start, end = i + 1 < this.value.phases.length ? this.value.phases[i + 1].start : this.n;
    if (end - start < 2) return;
    this.change(v => { v.phases.splice(i + 1, 0, {start: Math.round(start + (end - start) / 2), parts: v.phases[i].parts.slice(), ramp: 0, shape: 'linear'}); v.selected = i + 1; this.tidy(v); });
  }
  removePhase() {
    if (this.value.phases.length < 2) return;
    this.change(v => { v.phases.splice(v.selected, 1); v.phases[0].start = 0; v.phases[0].ramp = 0; v.selected = Math.max(0, v.selected - 1); this.tidy(v); });
  }
  moveWall(i, start, options) { this.change(v => {
    const end = i + 1 < v.phases.length ? v.phases[i + 1].start : this.n;
    v.phases[i].start = clamp(Math.round(start), v.phases[i - 1].start + 1, end - 1); this.tidy(v);
  }, options); }
  swap(slot) { // A and B: the one on screen, and the other
    if (slot === this.value.slot) return;
    this.change(v => {
      const here = {unit: v.unit, budget: v.budget, phases: v.phases}, there = v.other || copy(here);
      Object.assign(v, there, {other: here, slot, selected: Math.min(v.selected, there.phases.length - 1)});
    });
  }
  // Token shares over the whole run of what the prediction is compared with, and its name.
  baseline() {
    const {kind, at} = this.against, saved = this.model.get('saved');
    if (kind === 'other' && this.value.other) { const o = this.value.other; return {name: this.value.slot === 'A' ? 'B' : 'A', w: plan(this.spec, o).mean, budget: o.budget}; }
    if (kind === 'saved' && saved[at]) return {name: saved[at].name, w: saved[at].parts.map(n => n / PARTS)};
    const p = this.spec.presets[kind === 'preset' ? at : this.spec.baseline];
    return {name: p.name, w: p.parts.map(n => n / PARTS)};
  }
  // Everything the right-hand side shows.
  prediction(mean) {
    const law = this.law, o = law.options[this.option], alone = this.alone(), b = this.baseline(), aloneB = b.budget ? this.alone(b.budget) : alone;
    const key = JSON.stringify([b.w, aloneB]); // the baseline stands still while a share is dragged
    if (this.kept?.key !== key) this.kept = {key, q: law.predict(b.w, aloneB), r: law.scale(b.w, aloneB)};
    const p = law.predict(mean, alone), s = law.scale(mean, alone), {q, r} = this.kept, dot = x => sum(x.map((v, i) => v * o.t[i]));
    const domains = law.targets.map((name, x) => ({name, loss: p[x], half: law.score[x] * s[x], change: p[x] - q[x], wide: law.pair[x] * Math.hypot(s[x], r[x])}));
    return {domains, loss: dot(p), half: o.score * dot(s), gain: dot(q) - dot(p), wide: o.pair * Math.hypot(dot(s), dot(r)), support: law.support(mean), against: b.name, same: mean.every((w, k) => Math.abs(w - b.w[k]) < 2e-6)};
  }
  // What Python would refuse in this mixture, in words; empty when it is fine.
  troubles(at) {
    const {spec, value} = this, out = [];
    value.phases.forEach((p, i) => {
      const w = tokenShares(spec, value, p.parts);
      for (const g of [...spec.groups, ...spec.singles]) {
        const s = sum(g.members.map(k => w[k])) * PARTS;
        if (s < g.lo - 1 || s > g.hi + 1) out.push({text: `${g.name} has ${percent(s)} of the tokens${value.phases.length > 1 ? ` in phase ${i + 1}` : ''}; allowed are ${percent(g.lo)} to ${percent(g.hi)}.`});
      }
    });
    const over = at.epochs.map((e, k) => [e, k]).filter(([e, k]) => spec.max_epochs[k] !== null && at.mean[k] * at.n > spec.max_epochs[k] * spec.windows[k] * (1 + 1e-6) + 1).sort((a, b) => b[0] - a[0]);
    if (over.length) out.push({over: over.map(o => o[1]), text: over.slice(0, 2).map(([e, k]) => `${named(spec.names[k])} would be read ${times(e)}`).join(', ')
      + (over.length > 2 ? ` and ${over.length - 2} more sources too often` : '') + `; the cap is ${spec.max_epochs[over[0][1]]}.`});
    return out;
  }
  // Shares moved until no source is read more often than its cap allows: the nearest ones (KL) for one phase, each phase by the same factors otherwise.
  fitCaps() {
    const {spec} = this, next = copy(this.value), [lo, hi] = this.bounds;
    for (let round = 0; round < 30; round++) {
      const at = plan(spec, next), cap = spec.windows.map((W, k) => spec.max_epochs[k] === null ? 1 : spec.max_epochs[k] * W / at.n * (1 - 1e-9)), to = capWeights(at.mean, cap);
      if (!to) return false;
      if (at.mean.every((w, k) => w <= cap[k] * (1 + 1e-6))) { this.change(v => Object.assign(v, next)); return true; }
      for (const p of next.phases) {
        const held = at.mean.map((w, k) => w > 0 && to[k] < w * (1 - 1e-9)), w = p.parts.map((n, k) => at.mean[k] > 0 ? n * to[k] / at.mean[k] : n);
        const top = hi.map((h, k) => Math.max(lo[k], held[k] ? Math.min(h, Math.floor(w[k])) : h)), got = shareOut(PARTS, wholeParts(w), lo, top);
        if (!got) return false;
        p.parts = got;
      }
    }
    return false;
  }
}

// ---- 5 view

const named = s => `\u2068${s}\u2069`; // a name inside a sentence: its writing direction ends with it
const percent = (n, digits = 1) => (n / PARTS * 100).toFixed(digits) + '%';
const times = e => !Number.isFinite(e) ? '∞' : (e < 9.95 ? e.toFixed(1) : e < 1e4 ? e.toFixed(0) : e.toExponential(0)) + '×';
const big = x => {
  const [d, u] = x >= 1e12 ? [1e12, ' T'] : x >= 1e9 ? [1e9, ' B'] : x >= 1e6 ? [1e6, ' M'] : x >= 1e4 ? [1e3, ' k'] : [1, ''], v = x / d;
  return (u ? v < 9.995 ? v.toFixed(2) : v < 99.95 ? v.toFixed(1) : v.toFixed(0) : v.toFixed(0)) + u;
};
const unbig = text => { const m = /^\s*([\d.,_ ]*\d\.?(?:e[+-]?\d+)?)\s*([kmbgt]?)/i.exec(text); return m ? parseFloat(m[1].replace(/[,_ ]/g, '')) * ({k: 1e3, m: 1e6, b: 1e9, g: 1e9, t: 1e12}[m[2].toLowerCase()] || 1) : NaN; };
const ICONS = {
  open: 'M4.5 7V4.8a2.5 2.5 0 0 1 4.9-.7M3 7h8v6H3z', shut: 'M4.5 7V4.8a2.5 2.5 0 0 1 5 0V7M3 7h8v6H3z', undo: 'M5.5 3 2.5 6l3 3M3 6h5a3 3 0 0 1 0 6H6', redo: 'M8.5 3l3 3-3 3M11 6H6a3 3 0 0 0 0 6h2',
  copy: 'M5 5h7v7H5zM9 5V2H2v7h3', save: 'M7 2v7M4 6.5 7 9.5l3-3M2 12h10', down: 'M3.5 5.5 7 9l3.5-3.5', plus: 'M7 3v8M3 7h8', minus: 'M3 7h8', flag: 'M3.5 12.5v-10h7l-1.6 2.6L10.500 8h-7', tick: 'M3 7.500l2.600 2.600L11 4',
};

const icon = name => s('svg', {viewBox: '0 0 14 14', class: 'i', 'aria-hidden': 'true'}, s('path', {d: ICONS[name]}));
const button = (label, act, {name, title, ...props} = {}) =>
  h('button', {type: 'button', title: title || null, 'aria-label': label ? null : title, onclick: act, ...props}, name ? icon(name) : null, label ? h('span', {}, label) : null);
const known = new WeakMap(); // what was set last: reading it back is slow
const changed = (el, name, value) => { let had = known.get(el); if (!had) known.set(el, had = {}); return had[name] !== value && ((had[name] = value), true); };
const attr = (el, name, value) => { if (changed(el, `@${name}`, value)) el.setAttribute(name, value); };
const look = (el, name, value) => { if (changed(el, name, value)) el.style[name] = value; };
const signed = (x, digits) => Math.abs(x) < 0.5 * 10 ** -digits ? (0).toFixed(digits) : (x < 0 ? '−' : '+') + Math.abs(x).toFixed(digits);
const nice = x => { const p = 10 ** Math.floor(Math.log10(x)); return [1, 1.5, 2, 3, 5, 7, 10].find(m => m * p >= x * 0.999999) * p; };

// The largest share that a bar has room for: it is chosen again only when no drag is going on.
const AXES = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1];
const axisFor = value => { const most = Math.max(...value.phases[value.selected].parts) / PARTS; return AXES.find(a => most <= a * 0.9) || 1; };

function toolbar(board, ui) {
  const {spec} = board;
  const budget = h('input', {class: 'field', size: 7, inputmode: 'decimal', 'aria-label': 'budget in tokens', onchange: e => { board.setBudget(unbig(e.target.value)); ui.draw(); }});
  const units = spec.per_document ? ['tokens', 'documents'].map(u => button(u, () => board.setUnit(u), {'aria-pressed': 'false'})) : [];
  const slots = ['A', 'B'].map(s => button(s, () => board.swap(s), {'aria-pressed': 'false', title: `mixture ${s}: keep two and change between them`}));
  const undo = button('', () => board.undo(), {name: 'undo', title: 'undo (Ctrl+Z)'}), redo = button('', () => board.redo(), {name: 'redo', title: 'redo (Ctrl+Shift+Z)'});
  const menu = presetMenu(board, ui), code = button('Copy as code', () => copyText(codeOf(board), ui), {name: 'copy'}), save = button('Save file', () => saveFile(board, ui), {name: 'save'});
  const el = h('div', {class: 'top'}, h('b', {class: 'title', title: spec.title}, spec.title), h('label', {class: 'pair'}, h('span', {}, 'budget'), budget, units.length ? null : h('span', {}, 'tokens')),
    units.length ? h('span', {class: 'seg', role: 'group', 'aria-label': 'shares of'}, ...units) : null, h('span', {class: 'grow'}), menu.el,
    h('span', {class: 'seg', role: 'group', 'aria-label': 'mixture A or B'}, ...slots), h('span', {class: 'seg'}, undo, redo), code, save);
  return {el, draw() {
    const v = board.value;
    if (document.activeElement !== budget) budget.value = big(v.budget);
    units.forEach((u, i) => attr(u, 'aria-pressed', String(['tokens', 'documents'][i] === v.unit)));
    slots.forEach((s, i) => attr(s, 'aria-pressed', String('AB'[i] === v.slot)));
    undo.disabled = !board.past.length; redo.disabled = !board.future.length;
  }};
}

const strip = (parts, colors) => h('span', {class: 'strip'}, ...parts.map((n, k) => { const i = h('i'); i.style.width = `${n / PARTS * 100}%`; i.style.background = colors[k]; return i; }));

function presetMenu(board, ui) {
  const list = h('div', {class: 'menu', role: 'menu', hidden: true}), toggle = button('Presets', () => open(list.hidden), {name: 'down', 'aria-haspopup': 'menu', 'aria-expanded': 'false'});
  const el = h('span', {class: 'drop'}, toggle, list);
  const open = yes => { if (yes) fill(); list.hidden = !yes; attr(toggle, 'aria-expanded', String(yes)); if (yes) list.querySelector('button')?.focus(); };
  const entry = (p, note) => h('button', {type: 'button', role: 'menuitem', onclick: () => { open(false); toggle.focus(); if (!board.place(p.parts)) ui.say(`The locks and bounds leave no room for ${p.name}.`); }},
    strip(p.parts, board.spec.colors), h('span', {class: 'name', title: p.name}, p.name), h('span', {class: 'dim'}, note || ''));
  const keep = () => {
    const name = field.value.trim() || `mixture ${board.model.get('saved').length + 1}`;
    board.model.set('saved', [...board.model.get('saved').filter(s => s.name !== name), {name, parts: wholeParts(plan(board.spec, board.value).mean)}]);
    board.model.save_changes(); field.value = ''; open(false); ui.draw(); ui.say(`Kept as ${name}.`);
  };
  const field = h('input', {class: 'field', placeholder: 'name', 'aria-label': 'name of the mixture to keep', onkeydown: e => { if (e.key === 'Enter') keep(); }});
  function fill() {
    const at = p => p.budget && p.budget !== board.value.budget ? `for ${big(p.budget)}` : '';
    list.replaceChildren(...board.spec.presets.map(p => entry(p, [p.note, at(p)].filter(Boolean).join(' · '))), ...board.model.get('saved').map(p => entry(p, 'kept')),
      h('div', {class: 'keep'}, field, button('Keep this one', keep, {name: 'plus'})));
  }
  el.addEventListener('keydown', e => {
    const all = [...list.querySelectorAll('[role=menuitem]')], i = all.indexOf(document.activeElement);
    if (e.key === 'Escape') { open(false); toggle.focus(); }
    else if (['ArrowDown', 'ArrowUp'].includes(e.key) && !list.hidden) { all[(i + (e.key === 'ArrowDown' ? 1 : all.length - 1)) % all.length]?.focus(); e.preventDefault(); }
  });
  el.addEventListener('focusout', e => { if (!el.contains(e.relatedTarget) && e.relatedTarget) open(false); });
  ui.outside(e => { if (!el.contains(e.target)) open(false); });
  return {el};
}

// A horizontal handle that is dragged: `at` turns a pointer position in [0, 1] into a value, `grab` says where the handle is now.
function draggable(el, {begin, move, end, grab}) {
  let shiftBy = 0, box = null;
  const where = e => (e.clientX - box.left) / box.width;
  el.addEventListener('pointerdown', e => {
    if (e.button) return;
    box = (el.track || el).getBoundingClientRect();
    const d = grab() - where(e);
    shiftBy = Math.abs(d) * box.width <= 11 ? d : 0; // taken at its handle, it does not jump
    el.setPointerCapture(e.pointerId); begin();
    if (!shiftBy) move(where(e));
    el.focus({preventScroll: true}); e.preventDefault();
  });
  el.addEventListener('pointermove', e => { if (box) move(where(e) + shiftBy); });
  const stop = () => { if (box) { box = null; end(); } };
  el.addEventListener('pointerup', stop); el.addEventListener('pointercancel', stop); el.addEventListener('lostpointercapture', stop);
}

function row(board, ui, k) {
  const {spec} = board, name = spec.names[k];
  const lock = button('', () => board.change(v => { v.locks[k] = !v.locks[k]; }), {class: 'lock', 'aria-pressed': 'false', title: `lock ${name}`, tabindex: -1});
  const shutIcon = icon('shut'), openIcon = icon('open');
  lock.append(openIcon, shutIcon);
  const fill = h('i'), knob = h('b'), slide = h('s', {}, knob), tick = h('u', {title: `natural: ${percent(spec.natural[k])}`}), range = h('em'), ghost = h('q');
  const bar = h('span', {class: 'bar', tabindex: 0, role: 'slider', 'aria-label': `${name}, share`, 'aria-orientation': 'horizontal', 'data-source': k}, range, h('span', {class: 'trough'}, fill), ghost, tick, slide); // fill and handle move by transforms: no layout
  const share = h('input', {class: 'num field share', 'aria-label': `${name}, share in percent`, inputmode: 'decimal', tabindex: -1,
    onfocus: e => e.target.select(), onchange: e => { board.set(k, parseFloat(e.target.value.replace(',', '.')) / 100 * PARTS || 0); ui.draw(true); }, onkeydown: e => { if (e.key === 'Enter') e.target.blur(); }});
  const tokens = h('span', {class: 'num'}), badge = h('span', {class: 'ep'}), arrow = h('span', {class: 'pull num'}, h('b'), h('span'));
  const el = h('div', {class: 'src'}, lock, h('span', {class: 'nm', title: name}, name), bar, share, tokens, badge, arrow);
  fill.style.background = spec.colors[k];
  knob.style.borderColor = spec.colors[k];
  draggable(bar, {
    begin: () => { board.begin(); ui.row = k; ui.hold(true); }, end: () => { ui.hold(false); board.end(); ui.tell(k); }, grab: () => Math.min(board.phase.parts[k] / PARTS / ui.axis, 1),
    move: x => board.set(k, x * ui.axis * PARTS, {live: true, keep: true}),
  });
  bar.addEventListener('keydown', e => {
    const by = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[e.key], step = Math.round(PARTS * (e.shiftKey ? 0.05 : 0.005));
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (by) board.step(k, by * step);
    else if (e.key === 'PageUp' || e.key === 'PageDown') board.step(k, (e.key === 'PageUp' ? 1 : -1) * Math.round(PARTS * 0.05));
    else if (e.key === 'Home' || e.key === 'End') board.step(k, e.key === 'Home' ? -PARTS : PARTS);
    else if (e.key === 'l' || e.key === 'L') lock.click();
    else return;
    e.preventDefault(); ui.tell(k);
  });
  return {el, bar, draw(at, natural, other) {
    const v = board.value, n = board.phase.parts[k], scale = ui.axis * PARTS, to = x => `${clamp(x / scale, 0, 1) * 100}%`, e = at.epochs[k], level = e <= 1 + 1e-9 ? 'g' : e <= 4 + 1e-9 ? 'a' : 'r';
    const part = clamp(n / scale, 0, 1) * 100;
    look(fill, 'transform', `translateX(${(part - 100).toFixed(3)}%)`); look(slide, 'transform', `translateX(${part.toFixed(3)}%)`); look(tick, 'left', to(natural[k])); look(tick, 'display', natural[k] > scale ? 'none' : '');
    look(ghost, 'display', other ? '' : 'none');
    if (other) look(ghost, 'left', to(other[k]));
    const bound = spec.lo[k] > 0 || spec.hi[k] < PARTS;
    look(range, 'display', bound ? '' : 'none');
    if (bound) { look(range, 'left', to(spec.lo[k])); look(range, 'right', `${100 - clamp(spec.hi[k] / scale, 0, 1) * 100}%`); attr(range, 'class', `${spec.hi[k] > scale ? 'past' : ''} ${spec.lo[k] ? '' : 'zero'}`); }
    if (document.activeElement !== share || ui.force) share.value = percent(n);
    share.disabled = v.locks[k];
    attr(lock, 'aria-pressed', String(v.locks[k])); attr(el, 'class', v.locks[k] ? 'src locked' : 'src');
    put(tokens, big(v.unit === 'documents' ? at.tokens[k] / spec.per_document[k] : at.tokens[k]));
    put(badge, times(e)); attr(badge, 'class', `ep ${level}`);
    if (ui.held && ui.row !== k) return; // what is spoken or shown on hovering waits for the end of a drag
    attr(badge, 'title', `${times(e).replace('×', '')} passes over ${big(spec.sizes[k])} tokens` + (level === 'r' ? ': more than 4, most of it is lost' : level === 'a' ? ': repeated' : ''));
    attr(bar, 'aria-valuemin', (spec.lo[k] / PARTS * 100).toFixed(1)); attr(bar, 'aria-valuemax', (spec.hi[k] / PARTS * 100).toFixed(1)); attr(bar, 'aria-valuenow', (n / PARTS * 100).toFixed(2));
    attr(bar, 'aria-valuetext', `${percent(n)}, ${times(e).replace('×', '')} passes${v.locks[k] ? ', locked' : ''}`); attr(bar, 'aria-disabled', String(v.locks[k]));
  }, pull(x) {
    const way = Math.abs(x) < 0.5 * 10 ** -ui.digits ? 'flat' : x < 0 ? 'down' : 'up';
    attr(arrow, 'class', `pull num ${way}`); put(arrow.lastChild, Math.abs(x).toFixed(ui.digits).replace(/^0/, ''));
    attr(arrow, 'title', way === 'flat' ? 'no clear effect' : `1% more ${way === 'down' ? 'lowers' : 'raises'} the predicted loss by ${Math.abs(x).toPrecision(3)}`);
  }};
}

function rowsView(board, ui) {
  const {spec} = board, rows = spec.names.map((_, k) => row(board, ui, k));
  const caption = h('span'), what = h('span'), unit = h('span', {class: 'num'});
  const head = h('div', {class: 'src head'}, h('span'), what, caption, h('span', {class: 'num'}, 'share'), unit, h('span', {class: 'mid'}, 'epochs'),
    h('span', {class: 'num pullhead', title: 'what 1% more of this source, taken from all others alike, does to the predicted loss'}, board.law ? 'pull' : ''));
  const bits = spec.names.map((name, k) => { const i = h('i'); i.style.background = spec.colors[k]; return i; });
  const bar = h('div', {class: 'sum', role: 'img'}, ...bits), foot = h('div', {class: 'foot'}), facts = ['drawn', 'unique', 'worth'].map(w => h('span', {class: w}));
  const first = h('span', {class: 'first'});
  foot.append(...facts, first);
  const box = h('div', {class: 'rows', onscroll: () => { if (ui.held) { sight(); ui.draw(); } }}, ...rows.map(r => r.el));
  const el = h('div', {class: spec.names.length > 20 ? 'sources many' : 'sources'}, head, box, bar, foot);
  let seen = [0, rows.length]; // rows in sight: while a share is dragged the others wait
  const sight = () => { const high = box.scrollHeight / rows.length; seen = [Math.floor(box.scrollTop / high) - 1, Math.ceil((box.scrollTop + box.clientHeight) / high) + 1]; };
  const drawn = f => rows.forEach((r, k) => { if (!ui.held || k === ui.row || k >= seen[0] && k <= seen[1]) f(r, k); });
  return {el, rows, sight, draw(at) {
    const v = board.value, natural = v.unit === 'documents' ? ui.naturalDocuments : spec.natural, other = v.other && v.other.unit === v.unit ? v.other.phases[Math.min(v.selected, v.other.phases.length - 1)].parts : null;
    drawn(r => r.draw(at, natural, other));
    put(what, v.phases.length > 1 ? `source · phase ${v.selected + 1}` : 'source');
    put(caption, `0 to ${ui.axis * 100}% · tick: natural${spec.lo.some(n => n > 0) || spec.hi.some(n => n < PARTS) ? ' · dashes: allowed' : ''}${other ? ` · ring: ${v.slot === 'A' ? 'B' : 'A'}` : ''}`);
    put(unit, v.unit); attr(caption, 'title', caption.textContent);
    bits.forEach((b, k) => { look(b, 'width', `${board.phase.parts[k] / PARTS * 100}%`); if (!ui.held) attr(b, 'title', `${spec.names[k]} ${percent(board.phase.parts[k])}`); });
    attr(bar, 'aria-label', `shares of ${v.unit}; they sum to ${percent(sum(board.phase.parts))}`);
    put(facts[0], `${big(at.drawn)} drawn`); put(facts[1], `${big(at.unique)} unique`); put(facts[2], `${big(at.worth)} worth after repeats`);
    const f = at.first;
    put(first, f ? `first to run out: ${named(spec.names[f.k])} after ${big(f.at * spec.window)} tokens (${(f.at / at.n * 100).toFixed(0)}%)` : 'no source runs out');
  }, pulls(values) { drawn((r, k) => r.pull(values[k])); }};
}

function schedule(board, ui) {
  const {spec} = board, W = 1000, H = 100, svg = s('svg', {viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: 'none', 'aria-hidden': 'true'}), walls = h('div', {class: 'walls'}), title = h('h4'), ends = h('div', {class: 'ends'}, h('span', {}, '0'), h('span'));
  const areas = spec.colors.map(fill => s('path', {fill}));
  svg.append(...areas);
  const add = button('Add phase', () => board.addPhase(), {name: 'plus'}), remove = button('', () => board.removePhase(), {name: 'minus', title: 'Remove phase'});
  const number = (label, set) => h('input', {class: 'field num', size: 6, inputmode: 'decimal', 'aria-label': label, onchange: e => { const x = parseFloat(e.target.value); if (Number.isFinite(x)) set(x); ui.draw(true); }});
  const start = number('start of the phase in percent of the run', x => board.moveWall(board.value.selected, x / 100 * board.n));
  const ramp = number('length of the ramp in percent of the run', x => board.change(v => { v.phases[v.selected].ramp = Math.max(0, Math.round(x / 100 * board.n)); board.tidy(v); }));
  const shape = h('select', {class: 'field', 'aria-label': 'shape of the ramp', onchange: e => board.change(v => { v.phases[v.selected].shape = e.target.value; })}, h('option', {}, 'linear'), h('option', {}, 'cosine'));
  const settings = h('span', {class: 'settings'}, h('label', {}, 'from ', start), h('label', {}, 'ramp ', ramp), shape);
  const el = h('div', {class: 'schedule'}, h('div', {class: 'line'}, title, h('span', {class: 'grow'}), settings, add, remove), h('div', {class: 'picture'}, svg, walls), ends);
  let made = -1, handles = [], tabs = [];
  function build() { // one tab and one wall a phase
    made = board.value.phases.length;
    tabs = board.value.phases.map((_, i) => h('button', {type: 'button', class: 'tab', onclick: () => board.change(v => { v.selected = i; })}));
    handles = board.value.phases.slice(1).map((_, j) => {
      const i = j + 1, wall = h('span', {class: 'wall', tabindex: 0, role: 'slider', 'aria-label': `start of phase ${i + 1}, percent of the run`, 'aria-valuemin': 0, 'aria-valuemax': 100});
      wall.track = walls;
      draggable(wall, {begin: () => ui.hold(true), end: () => { ui.hold(false); board.end(); }, grab: () => board.value.phases[i].start / board.n, move: x => board.moveWall(i, x * board.n, {live: true})});
      wall.addEventListener('keydown', e => {
        const by = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[e.key];
        if (by && !e.ctrlKey && !e.metaKey) { board.moveWall(i, board.value.phases[i].start + by * board.n * (e.shiftKey ? 0.05 : 0.005)); e.preventDefault(); }
      });
      return wall;
    });
    walls.replaceChildren(...tabs, ...handles);
  }
  return {el, draw(at) {
    const v = board.value, n = at.n, all = pieces(spec, v, n), stops = [];
    if (made !== v.phases.length) build();
    all.forEach(({from, to, w}, i) => { // corners of the stacked areas; of a ramp's stair every fourth step is enough
      const ramp = v.phases.some(p => from >= p.start && from < p.start + p.ramp);
      if (!ramp) stops.push([from / n * W, w], [to / n * W, w]);
      else if (i % 4 === 0) stops.push([(from + to) / 2 / n * W, w]);
    });
    let floor = stops.map(() => 0);
    areas.forEach((area, k) => {
      const top = stops.map(([, w], s) => floor[s] + w[k] * H), there = top.some((t, s) => t - floor[s] > 1e-3);
      attr(area, 'd', there ? `M${stops.map(([x], s) => `${x.toFixed(1)} ${floor[s].toFixed(2)}`).join('L')}L${stops.map(([x], s) => `${x.toFixed(1)} ${top[s].toFixed(2)}`).reverse().join('L')}Z` : 'M0 0');
      floor = top;
    });
    const many = v.phases.length > 1, p = board.phase, left = i => v.phases[i].start / n * 100;
    tabs.forEach((t, i) => {
      look(t, 'left', `${left(i)}%`); look(t, 'width', `${(i + 1 < tabs.length ? left(i + 1) : 100) - left(i)}%`);
      attr(t, 'aria-pressed', String(i === v.selected)); attr(t, 'aria-label', `edit phase ${i + 1}`);
    });
    handles.forEach((w, j) => { look(w, 'left', `${left(j + 1)}%`); attr(w, 'aria-valuenow', left(j + 1).toFixed(1)); attr(w, 'aria-valuetext', `after ${big(v.phases[j + 1].start * spec.window)} tokens`); });
    put(title, many ? `Schedule · phase ${v.selected + 1} of ${v.phases.length}` : 'Schedule · one phase');
    put(ends.lastChild, `${big(at.drawn)} tokens`);
    look(settings, 'display', v.selected ? '' : 'none'); remove.disabled = !many;
    for (const [field, x] of [[start, p.start], [ramp, p.ramp]]) if (document.activeElement !== field || ui.force) field.value = `${(x / n * 100).toFixed(1)}%`;
    shape.value = p.shape;
  }};
}

// The right-hand side: predicted loss with interval, against a baseline with its own, a domain a line, and what to do next.
function lawView(board, ui) {
  const {law, spec} = board;
  const option = h('select', {class: 'field', 'aria-label': 'what is predicted', onchange: e => { board.option = +e.target.value; ui.draw(); }}, ...law.options.map((o, i) => h('option', {value: i}, o.name)));
  const against = h('select', {class: 'field', 'aria-label': 'baseline', onchange: e => { const [kind, at] = e.target.value.split(' '); board.against = {kind, at: +at}; ui.span = 0; ui.draw(); }});
  const loss = h('span', {class: 'big'}), half = h('span', {class: 'dim'}), delta = h('div', {class: 'delta'}, h('b'), h('span'));
  const lines = law.targets.map(name => { const plot = h('span', {class: 'plot'}, h('i'), h('s')), change = h('span', {class: 'num'}), value = h('span', {class: 'num dim'}); return {el: h('div', {class: 'dom'}, h('span', {class: 'nm', title: name}, name), plot, change, value), range: plot.firstChild, dot: plot.lastChild, change, value}; });
  const scale = h('div', {class: 'dom scale'}, h('span'), h('span', {class: 'ticks'}, h('span'), h('span', {}, '0'), h('span')), h('span', {class: 'num'}, 'change'), h('span', {class: 'num'}, 'loss'));
  const warn = h('span'), train = button('Train this one next', () => { queue(board); ui.draw(); }, {name: 'flag', class: 'link'}), notes = h('div', {class: 'note', hidden: true}, h('div', {}, warn), train);
  const gain = h('input', {class: 'field num', size: 5, inputmode: 'decimal', 'aria-label': 'wanted gain', value: spec.gain, onchange: e => { const x = parseFloat(e.target.value); if (x > 0) { ui.gain = x; ui.later(0); } else e.target.value = ui.gain; }});
  const cheap = h('b'), apply = button('Do it', () => ui.applyCheapest(), {class: 'link'}), about = h('div', {class: 'foot'}, h('span', {}, law.about)), count = h('span', {class: 'count'});
  about.append(count);
  const el = h('div', {class: 'law'}, h('div', {class: 'line'}, h('h4', {}, 'Predicted'), option, h('span', {class: 'dim'}, 'against'), against), h('div', {class: 'head'}, h('div', {}, loss, half), delta),
    scale, h('div', {class: 'domains'}, ...lines.map(l => l.el)), h('div', {class: 'legend dim'}, 'dot: change against the baseline; bar: its interval. Left is better.'), notes,
    h('div', {class: 'cheap'}, h('span', {}, 'cheapest change that gains '), gain, h('span', {class: 'what'}, cheap, apply)), about);
  return {el, draw(at) {
    fillBaselines(board, against);
    const p = board.prediction(at.mean), d = ui.digits, level = Math.round(+law.level * 100), needed = Math.max(...p.domains.map(x => Math.abs(x.change) + x.wide));
    if (!ui.span || needed > ui.span || !ui.held && needed < ui.span / 3) ui.span = nice(needed || 1);
    put(loss, p.loss.toFixed(d)); put(half, ` ± ${p.half.toFixed(d)}`);
    const way = p.gain - p.wide > 0 ? 'down' : p.gain + p.wide < 0 ? 'up' : 'flat', b = Math.abs(p.gain), [lo, hi] = p.gain < 0 ? [-p.gain - p.wide, -p.gain + p.wide] : [p.gain - p.wide, p.gain + p.wide];
    attr(delta, 'class', `delta ${way}`);
    put(delta.lastChild, p.same ? `the same shares as ${p.against}` : `${b.toFixed(d)} ${p.gain >= 0 ? 'lower' : 'higher'} than ${p.against} (${level}%: ${lo.toFixed(d).replace('-', '−')} to ${hi.toFixed(d)})${way === 'flat' ? ', no clear difference' : ''}`);
    attr(delta, 'title', delta.lastChild.textContent);
    put(scale.children[1].firstChild, signed(-ui.span, d).replace(/0+$/, '').replace(/\.$/, '')); put(scale.children[1].lastChild, signed(ui.span, d).replace(/0+$/, '').replace(/\.$/, ''));
    p.domains.forEach((x, i) => {
      const l = lines[i], to = v => 50 + clamp(v / ui.span, -1, 1) * 50, a = to(x.change - x.wide), z = to(x.change + x.wide), sure = Math.abs(x.change) > x.wide ? x.change < 0 ? 'down' : 'up' : 'flat';
      look(l.range, 'left', `${a}%`); look(l.range, 'width', `${z - a}%`); look(l.dot, 'left', `${to(x.change)}%`);
      attr(l.el, 'class', `dom ${sure}${law.options[board.option].t[i] ? '' : ' off'}`);
      put(l.change, signed(x.change, d)); put(l.value, x.loss.toFixed(d)); attr(l.value, 'title', `${x.loss.toFixed(d)} ± ${x.half.toFixed(d)} (${level}%)`);
    });
    const far = p.support > 1, list = board.model.get('runs_to_do'), listed = list.some(r => same(r, wholeParts(at.mean)));
    attr(notes, 'class', far ? 'note' : 'note quiet'); notes.hidden = false;
    put(warn, p.support > 2 ? `Far from the runs: the nearest is ${p.support.toFixed(1)} of their spacings away. The numbers above are a guess.`
      : far ? `Near the edge: the nearest run is ${p.support.toFixed(2)} of their spacings away. Intervals may be too narrow.` : `Among the runs: the nearest is ${p.support.toFixed(2)} of their spacings away.`);
    put(train.lastChild, listed ? 'On the list of runs to do' : 'Train this one next'); train.disabled = listed;
    put(count, list.length ? `${list.length} run${list.length > 1 ? 's' : ''} to do` : '');
  }, cheapest(found) {
    const {names} = spec, move = x => `${(x / PARTS * 100).toFixed(x < PARTS / 100 ? 2 : 1)}%`, d = ui.digits;
    apply.hidden = !found || !found.size;
    put(cheap, !found ? '…' : found.size ? `+${move(found.parts)} ${named(names[found.to])}, −${move(found.parts)} ${named(names[found.from])}`
      : found.most > 0 ? `no single move does; the most is ${found.most.toFixed(d)}` : 'no single move helps');
    attr(cheap, 'title', cheap.textContent);
  }};
}

function fillBaselines(board, select) {
  const options = [...board.spec.presets.map((p, i) => [`preset ${i}`, p.name]), ...board.model.get('saved').map((p, i) => [`saved ${i}`, p.name]), ...(board.value.other ? [['other 0', `mixture ${board.value.slot === 'A' ? 'B' : 'A'}`]] : [])];
  const key = JSON.stringify(options), chosen = `${board.against.kind} ${board.against.at}`;
  if (select.dataset.key !== key) { select.dataset.key = key; select.replaceChildren(...options.map(([value, name]) => h('option', {value}, name))); }
  select.value = options.some(o => o[0] === chosen) ? chosen : `preset ${board.spec.baseline}`;
}

function queue(board) { // shares over the whole run, once
  const parts = wholeParts(plan(board.spec, board.value).mean), list = board.model.get('runs_to_do');
  if (!list.some(r => same(r, parts))) { board.model.set('runs_to_do', [...list, parts]); board.model.save_changes(); }
}

// ---- 6 export

const text = s => JSON.stringify(s);
const dictOf = (names, value) => `{${names.map((n, k) => `${text(n)}: ${value(k)}`).join(', ')}}`;
const share = n => n === 0 ? '0.0' : n === PARTS ? '1.0' : `${n}/2**20`;

// Python that makes the mixture on screen; studio.code() writes the same.
function codeOf({spec, value}) {
  const python = x => x === null ? 'None' : typeof x === 'boolean' ? (x ? 'True' : 'False') : Array.isArray(x) ? `[${x.map(python).join(', ')}]`
    : typeof x === 'object' ? `{${Object.entries(x).map(([k, v]) => `${text(k)}: ${python(v)}`).join(', ')}}` : typeof x === 'string' ? text(x) : String(x);
  const weights = parts => dictOf(spec.names, k => share(parts[k])), later = value.phases.slice(1);
  const rest = Object.entries(spec.file).filter(([k]) => !['weights', 'budget', 'unit', 'phases', 'kind', 'hash'].includes(k)).map(([k, v]) => `    ${k}=${python(v)},`);
  const phases = later.map(p => `        {"start": ${p.start}, "weights": ${weights(p.parts)}, "ramp": ${p.ramp}, "shape": ${text(p.ramp ? p.shape : 'linear')}},`);
  return ['from llmbench.mixture import Mixture', '', 'mix = Mixture(', `    ${weights(value.phases[0].parts)},`, `    budget=${value.budget},`, `    unit=${text(value.unit)},`, ...rest,
    ...(phases.length ? ['    phases=(', ...phases, '    ),'] : []), ')', ''].join('\n');
}

// The mixture file; its hash is made by Python, so a page without a kernel leaves it out (Mixture.open takes it).
function fileOf({spec, value}) {
  const weights = parts => Object.fromEntries(spec.names.map((n, k) => [n, parts[k] / PARTS]));
  return {...spec.file, weights: weights(value.phases[0].parts), budget: value.budget, unit: value.unit, phases: value.phases.slice(1).map(p => ({start: p.start, weights: weights(p.parts), ramp: p.ramp, shape: p.ramp ? p.shape : 'linear'}))};
}

function download(name, content) {
  const a = h('a', {href: URL.createObjectURL(new Blob([content], {type: 'application/json'})), download: name});
  document.body.append(a); a.click(); a.remove();
  setTimeout(() => URL.revokeObjectURL(a.href), 1000);
}

function saveFile(board, ui) {
  const bare = () => { download('mixture.json', JSON.stringify(fileOf(board), null, 1) + '\n'); ui.say('Saved mixture.json, without a hash: no Python is listening.'); };
  const wrong = board.troubles(plan(board.spec, board.value));
  if (wrong.length) return ui.say(`Not saved. ${wrong[0].text}`);
  if (board.model.page) return bare();
  const back = kernel(board.model), end = f => { clearTimeout(timer); back.close(); f(); }, timer = setTimeout(() => end(bare), 4000);
  back.ask('file', {value: board.value}).then(text => end(() => { download('mixture.json', text); ui.say('Saved mixture.json.'); }), e => end(() => ui.say(`Not saved. ${e.message}`)));
}

async function copyText(content, ui) {
  const old = () => {
    const area = h('textarea', {class: 'away'});
    area.value = content; ui.el.append(area); area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  };
  let done = false;
  try { await navigator.clipboard.writeText(content); done = true; } catch { done = old(); }
  ui.say(done ? 'Python code copied.' : 'The browser did not allow copying.');
}

// ---- the widget

function render({model, el}) {
  const board = new Board(model), {spec} = board, closers = [];
  const root = h('div', {class: 'lb lb-studio', role: 'group', 'aria-label': `Mixing studio: ${spec.title}`});
  const said = h('div', {class: 'say', role: 'status'});
  let timer = 0, sayTimer = 0, found = null;
  const ui = {
    el: root, axis: axisFor(board.value), held: false, force: false, span: 0, gain: spec.gain, digits: spec.digits,
    naturalDocuments: spec.per_document ? wholeParts(byLength(spec.natural.map(n => n / PARTS), spec.per_document)) : null,
    outside(f) { document.addEventListener('pointerdown', f); closers.push(() => document.removeEventListener('pointerdown', f)); },
    hold(yes) { ui.held = yes; if (yes) sources.sight(); else ui.draw(); },
    say(t) { put(said, t); attr(said, 'class', 'say on'); clearTimeout(sayTimer); sayTimer = setTimeout(() => attr(said, 'class', 'say'), 4000); },
    tell(k) { clearTimeout(ui.telling); ui.telling = setTimeout(() => put(live, `${spec.names[k]} ${percent(board.phase.parts[k])}${law ? `, predicted ${law.el.querySelector('.big').textContent}` : ''}`), 400); },
    draw(force = false) {
      if (!ui.held) ui.axis = axisFor(board.value);
      const at = plan(spec, board.value);
      ui.force = force;
      bar.draw(); sources.draw(at); phases.draw(at); drawTroubles(at);
      if (law) { law.draw(at); ui.follow(at); }
      ui.force = false;
    },
    // Pulls follow at once where they are cheap; the search for the cheapest change waits for a pause.
    follow(at) {
      const t = board.law.options[board.option].t;
      if (board.law.cost(t) < 150000) sources.pulls(pulls(board.law, at.mean, board.alone(), t));
      ui.later(board.law.cost(t) < 150000 ? 60 : 200);
    },
    later(ms) {
      clearTimeout(timer);
      timer = setTimeout(() => {
        const at = plan(spec, board.value), t = board.law.options[board.option].t, v = board.value, single = v.phases.length === 1 && v.unit === 'tokens';
        if (board.law.cost(t) >= 150000) sources.pulls(pulls(board.law, at.mean, board.alone(), t));
        const own = a => single ? a.map(n => n / PARTS) : null;
        found = cheapest(board.law, at.mean, ui.gain, board.alone(), t, v.locks, own(spec.lo) || at.mean.map(() => 0), own(spec.hi) || at.mean.map(() => 1));
        law.cheapest(found);
      }, ms);
    },
    applyCheapest() {
      if (!found || !found.size) return;
      const {from, to, parts} = found;
      board.change(v => v.phases.forEach(p => { // the same step in every phase, as far as there is share to move
        const w = tokenShares(spec, v, p.parts), d = Math.min(parts / PARTS, w[from]), next = w.map((x, k) => k === from ? x - d : k === to ? x + d : x);
        if (v.unit === 'documents') p.parts = wholeParts(byLength(next, spec.per_document));
        else { const n = Math.min(parts, p.parts[from]); p.parts[from] -= n; p.parts[to] += n; }
      }));
    },
  };
  const live = h('span', {class: 'away', 'aria-live': 'polite'}), trouble = h('div', {class: 'note bad', hidden: true}, h('span'), button('Nearest that fits', () => { if (!board.fitCaps()) ui.say('No shares fit: the budget is larger than all caps together allow.'); }, {class: 'link'}));
  const bar = toolbar(board, ui), sources = rowsView(board, ui), phases = schedule(board, ui), law = board.law ? lawView(board, ui) : null;
  const drawTroubles = at => {
    const wrong = board.troubles(at);
    attr(trouble, 'class', wrong.length ? 'note bad' : 'note bad none'); trouble.hidden = !spec.groups.length && !spec.singles.length && spec.max_epochs.every(m => m === null);
    put(trouble.firstChild, wrong.map(w => w.text).join(' '));
    trouble.lastChild.hidden = !wrong.some(w => w.over);
  };
  root.append(bar.el, h('div', {class: law ? 'main' : 'main alone'}, h('div', {class: 'left'}, sources.el, law ? '' : trouble, phases.el), law ? h('div', {class: 'right'}, law.el, trouble) : ''), spec.note ? h('div', {class: 'about dim'}, spec.note) : '', said, live);
  root.addEventListener('keydown', e => {
    const key = e.key.toLowerCase(), typing = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName);
    if ((e.ctrlKey || e.metaKey) && !typing && (key === 'z' || key === 'y')) { if (key === 'y' || e.shiftKey) board.redo(); else board.undo(); e.preventDefault(); }
  });
  const adopt = () => board.adopt(), redraw = () => ui.draw(), respec = () => {
    board.spec.presets = model.get('spec').presets; ui.draw();
  };
  board.listeners.push(redraw);
  model.on('change:value', adopt); model.on('change:saved', redraw); model.on('change:runs_to_do', redraw); model.on('change:spec', respec);
  if (!law) root.classList.add('nolaw');
  el.append(ownKeys(root));
  ui.draw();
  el.studio = {board, ui};
  return () => {
    clearTimeout(timer); clearTimeout(sayTimer); clearTimeout(ui.telling); closers.forEach(f => f());
    model.off('change:value', adopt); model.off('change:saved', redraw); model.off('change:runs_to_do', redraw); model.off('change:spec', respec);
  };
}

export default {render, shift, shiftWithin, settle, shareOut, wholeParts, makeLaw, plan, pulls, cheapest, codeOf, fileOf};
