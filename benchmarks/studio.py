"""The studio while a share is dragged, in Chromium: the time a pointer event takes with all it redraws, and what opening costs.

A pointer event is timed from its dispatch to the end of the layout it forces (performance.now around both), and by the time the
processor gave the page (which a busy machine stretches less), with a law of
power laws over 8 losses fitted to 200 made-up runs. The frame of a 60 Hz screen is 16.7 ms."""
import statistics, sys, tempfile, time
from pathlib import Path

from common import ROOT, Row, finish, options

import numpy as np

from llmbench.core import rng
from llmbench.laws import fit_law
from llmbench.mixture import Mixture
from llmbench.studio import Studio

sys.path.insert(0, str(ROOT/'dev'))

DRAG = """([from, to, moves]) => { const bar = document.querySelectorAll('.bar')[3], box = bar.getBoundingClientRect(), out = [];
  const at = (type, x) => bar.dispatchEvent(new PointerEvent(type, {pointerId: 1, clientX: box.left + x * box.width, clientY: box.top + 5, bubbles: true}));
  bar.setPointerCapture = () => {};
  at('pointerdown', from);
  for (let i = 0; i < moves; i++) { const t = performance.now(); at('pointermove', from + (to - from) * ((i * 7) % moves) / moves); document.querySelector('.lb-studio').getBoundingClientRect(); out.push(performance.now() - t); }
  at('pointerup', to);
  return out; }"""

def made_up(K, M=8, R=200):
    "A studio over K sources with a law."
    g, names = rng('benchmark', K), [f'source {k:02}' for k in range(K)]
    w = g.dirichlet(np.ones(K), R)
    y = 3-.4*np.log(.05+w@np.exp(g.normal(0, 1, (K, M))))+g.normal(0, .005, (R, M))
    sizes = dict(zip(names, g.uniform(1e8, 1e10, K)))
    phases = (dict(start=2_000_000, weights=dict(zip(names, w[0])), ramp=500_000, shape='cosine'),)
    return Studio(Mixture(dict(zip(names, w[1])), sizes, 10**10, window=2048, max_epochs=None, phases=phases), fit_law(w, y, 'power_law', names=names))

def measure(browser, K, moves, repeats):
    "Milliseconds of every pointer event, of the page's own processor time for one, of opening the page, and the size of the page."
    with tempfile.TemporaryDirectory() as folder:
        path = made_up(K).save_html(Path(folder)/'studio.html')
        page, opened, times, own = browser.new_page(viewport={'width': 1240, 'height': 1000}), [], [], []
        cdp = page.context.new_cdp_session(page)
        cdp.send('Performance.enable', {'timeDomain': 'threadTicks'})
        used = lambda: next(m['value'] for m in cdp.send('Performance.getMetrics')['metrics'] if m['name']=='TaskDuration')
        for _ in range(repeats):
            start = time.perf_counter()
            page.goto(path.as_uri()); page.wait_for_selector('.lb-studio .bar')
            opened.append(1000*(time.perf_counter()-start))
            page.evaluate(DRAG, [.1, .9, 20])                     # warm
            before = used()
            times += page.evaluate(DRAG, [.1, .9, moves])
            own.append(1000*(used()-before)/moves)
        page.close()
        return np.array(times), statistics.median(own), statistics.median(opened), path.stat().st_size

if __name__=='__main__':
    o, rows = options(__doc__), []
    from browser import HELP, find
    from playwright.sync_api import sync_playwright
    if not find(): sys.exit(HELP)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=find(), args=['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'])
        for K in (64,) if o.quick else (8, 17, 64):
            times, own, opened, size = measure(browser, K, 60 if o.quick else 240, 1 if o.quick else 3)
            low, high = np.quantile(times, [.05, .95])
            rows += [Row(f'{K} sources: one pointer event, median (interval: 5% to 95% of events)', float(np.median(times)), 'ms', bar=16. if K==64 else None, better='lower', low=low, high=high),
                     Row(f'{K} sources: one pointer event, processor time of the page', own, 'ms', better='lower'), Row(f'{K} sources: open the page', opened, 'ms', better='lower'), Row(f'{K} sources: the page with its law', size/1e3, 'kB', better='lower')]
        browser.close()
    finish(rows, o)
