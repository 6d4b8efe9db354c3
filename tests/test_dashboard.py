"""The dashboard in a real browser: hostile names stay text, every number on the screen is Python's, real clicks; saved as a file that asks nothing of anybody, and served by Voila over a run in progress."""
import contextlib, json, os, signal, socket, subprocess, sys, time, urllib.request

import numpy as np
import pandas as pd
import pytest
from conftest import usable

from llmbench.core import rng
from llmbench.curves import Runs, flops_per_token
from llmbench.dashboard import dashboard, dashboard_answer, save_dashboard
from llmbench.recipe import Recipe
from llmbench.store import append_jsonl, write_json
from llmbench.tasks import Scored

EVIL = '<script>window.ran = 1</script><img src=x onerror="window.ran = 2"><!-- \u202egnp.exe\u0007'
NAMES = ['base', 'hot', 'cold 冷', '<img src=x onerror="window.ran = 3">', 'small', 'long']

def made(root, lines=60):
    "Six runs: recipes, curves with one spike, scores, samples, a damaged line; names, fields and texts of one are hostile."
    g = rng('test_dashboard')
    for i,name in enumerate(NAMES):
        recipe = Recipe(weights={'web': .2+i/10, 'code': .8-i/10}, tokens=1_000_000, lr=1e-3*(i+1), size=1+i%3, seed=i)
        folder, n = root/name, lines*20 if name=='long' else lines
        evil = dict(parameters={EVIL: EVIL, 'batch "x"': 3}) if '<' in name else {}
        write_json(folder/'run.json', dict(id=recipe.fingerprint, recipe=recipe, status='failed' if i==4 else 'done', started=1e9+i, seconds=60., loss=4-i/10, environment=dict(python='3.11', packages=dict(numpy='2' if i else '1'))) | evil)
        with open(folder/'metrics.jsonl', 'w') as f:
            for k in range(1, n+1): f.write(json.dumps(dict(step=10*k, tokens=2560*k, loss=4-i/10+3/k+g.normal()/50+(9 if name=='long' and k==777 else 0), norm=1., lr=recipe.lr, seconds=k/2, **{f'loss/{s}': 4+w for s,w in recipe.weights.items()}))+'\n')
        append_jsonl(folder/'metrics.jsonl', dict(step=10*n, valid_loss=4.1-i/10))
        if evil: append_jsonl(folder/'metrics.jsonl', {'step': 5, 'event': EVIL, f'score {EVIL}': 1.}); open(folder/'metrics.jsonl', 'a').write('{"torn\n')
        append_jsonl(folder/'samples.jsonl', dict(step=10, prompt=f'Once {EVIL}', text=f'{name} wrote {EVIL}'))
        rows = pd.DataFrame(dict(row=[str(r) for r in range(80)], source=['news', EVIL]*40, answer='a', target='a', accuracy=(g.random(80)<.4+i/10).astype(float)))
        Scored(rows, dict(task=f'topics {EVIL}', kind='classification', metrics=dict(accuracy=dict(metric='accuracy', columns=[], better='higher', unit='', options={})), rows=80, seconds=1.)).save(folder/'evals'/'topics')

@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp('runs')
    made(root)
    return Runs(root)

@pytest.fixture(scope='module')
def file(runs, tmp_path_factory): return save_dashboard(runs.folder, tmp_path_factory.mktemp('page')/'runs.html', title=f'Title {EVIL}', note=EVIL, picked=NAMES[:2])

@contextlib.contextmanager
def watched(browser, width=1280, height=900, allow=('file:', 'data:', 'blob:')):
    "A page that may ask nobody, in which nothing may go wrong and no text of the data may run."
    context = browser.new_context(viewport={'width': width, 'height': height})
    page, outside, wrong = context.new_page(), [], []
    page.on('request', lambda r: None if r.url.startswith(allow) else outside.append(r.url))
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.on('console', lambda m: wrong.append(m.text) if m.type=='error' else None)
    page.on('dialog', lambda d: wrong.append(f'dialog: {d.message}'))
    try:
        yield page
        assert page.evaluate('[window.ran, document.querySelectorAll(".lb-dash img, .lb-dash script, .lb-dash [onerror]").length]')==[None, 0]
        assert not outside and not wrong
    finally: context.close()

DASH = "document.querySelector('.lb-dash').parentElement.dash"
def count(page): return page.locator('.lb-dash .count').inner_text()
def drawn(page, key): return page.wait_for_selector(f'.chart[data-key="{key}"] canvas')
def tab(page, name): page.click(f'.tabs [data-tab={name}]')

def test_a_saved_page_by_real_clicks(browser, runs, file):
    with watched(browser) as page:
        page.goto(file.as_uri())
        drawn(page, 'loss')
        assert count(page)=='6' and page.locator('.title').inner_text().startswith('Title <script>window.ran = 1</script>')
        names = page.locator('aside label.run .nm').all_inner_texts()
        assert names==NAMES[::-1]                                                    # newest first, the hostile one as text
        page.locator('aside label.run', has_text='<img').click()
        page.locator('aside label.run', has_text='long').click()
        page.wait_for_selector('.events :text("gnp.exe")')
        assert '⟦202E⟧gnp.exe␇' in page.locator('.events').inner_text() and '1 damaged lines' in page.locator('.events').inner_text()
        assert page.eval_on_selector_all('.chart', 'all => all.map(c => c.dataset.key)')[:4]==['loss', 'valid_loss', 'norm', 'lr'] and page.locator('.chart[data-key="loss/web"], .chart[data-key="loss/code"]').count()==2
        # what is drawn is what Python has: the same buckets, their least and greatest; the spike of one step is there
        for name in ('base', 'long'):
            there = page.evaluate(f"(() => {{ const c = {DASH}.app.curves.get({json.dumps(name)}).keys.get('loss'); return {{x: Array.from(c.x.flops), mean: Array.from(c.mean), hi: Array.from(c.hi), lines: c.lines}}; }})()")
            here = next(c for c in runs.curves(name, points=len(there['mean'])) if 'loss' in c['keys'])
            j = here['keys'].index('loss')
            assert there['lines']==here['lines'] and there['x']==here['x']['flops'].tolist() and there['hi']==here['hi'][:, j].astype('f4').tolist() and np.allclose(there['mean'], here['mean'][:, j], rtol=1e-6)
        assert max(there['hi'])>9 and there['lines']==1200 and len(there['hi'])<=400
        assert 'mean, least to greatest' in page.locator('.chart[data-key=loss] figcaption').inner_text()
        page.click('button[data-axis=flops]')
        assert page.locator('.chart[data-key=loss] canvas').get_attribute('aria-label').startswith('loss over flops: base ends at')
        box = page.locator('.chart[data-key=loss] canvas').bounding_box()            # zoom by dragging, back by a button
        page.mouse.move(box['x']+300, box['y']+100); page.mouse.down(); page.mouse.move(box['x']+500, box['y']+100, steps=4); page.mouse.up()
        zoom = page.evaluate(f'{DASH}.app.zoom')
        full = 2560*1200*flops_per_token(runs.row('long')['recipe'])
        assert 0<zoom[0]<zoom[1]<full
        page.get_by_role('button', name='whole range').click()
        assert page.evaluate(f'{DASH}.app.zoom') is None
        page.locator('.chart[data-key=loss] canvas').focus()                           # the same by keys
        page.keyboard.press('+'); page.keyboard.press('ArrowRight')
        keyed = page.evaluate(f'{DASH}.app.zoom')
        assert np.isclose(keyed[1]-keyed[0], full/2, rtol=.01) and full*.3<keyed[0]<full*.4
        page.keyboard.press('Escape')
        assert page.evaluate(f'{DASH}.app.zoom') is None
        page.mouse.move(box['x']+80, box['y']+150)
        page.wait_for_selector('.chart[data-key=loss] .tip:not([hidden]) :text("base")')

def test_search_and_filter_by_any_field(browser, runs, file):
    with watched(browser) as page:
        page.goto(file.as_uri())
        drawn(page, 'loss')
        page.get_by_label('search names').fill('冷')
        assert count(page)=='1'
        page.get_by_label('search names').fill('')
        box = page.get_by_label('filter', exact=True)
        for text, where in [('lr>0.0025 size<3', "recipe->>'lr'>0.0025 and size<3"), ('status=failed', "status='failed'"), ('weights.web<0.45, seed!=0', "recipe->'weights'->>'web'<0.45 and recipe->>'seed'!=0"), ('name~冷', "name like '%冷%'"), ('"last valid_loss"<=3.8', None)]:
            box.fill(text)
            want = len(runs.index.rows(where)) if where else sum(runs.last(k)['valid_loss']<=3.8 for k in runs.rows)
            assert count(page)==str(want) and 0<want<6, text
        box.fill('sise>2')
        assert 'no field called “sise”. Did you mean “size”?' in page.locator('.wrong').inner_text() and count(page)==str(want)
        box.fill('size is big')
        assert 'write FIELD<VALUE' in page.locator('.wrong').inner_text()
        box.fill('')
        assert count(page)=='6' and not page.locator('.wrong').inner_text()
        page.get_by_role('button', name='none', exact=True).click()
        box.fill('size=1')
        page.get_by_role('button', name='pick all shown').click()
        assert set(page.evaluate(f'[...{DASH}.app.picked]'))=={r['folder'] for r in runs.index.rows(size=1)}

def test_scatter_parallel_recipes_tasks_samples(browser, runs, file):
    with watched(browser) as page:
        page.goto(file.as_uri())
        drawn(page, 'loss')
        tab(page, 'scatter')
        page.locator('select[aria-label=across]').select_option('lr')
        assert 'rank correlation -1.00' in page.locator('.stage').inner_text()        # by construction: each higher rate has a lower loss
        at = page.evaluate(f"(() => {{ const c = document.querySelector('.stage canvas').getBoundingClientRect(), rows = {DASH}.app.passing(); return [c.left, c.top, c.width]; }})()")
        page.mouse.click(at[0]+at[2]-12-(at[2]-72)*.04/1.08, at[1]+18+(420-58)*(1-.04/1.08))  # the highest rate has the least loss: the lower right corner
        assert page.evaluate(f'{DASH}.app.picked.has("long")')
        tab(page, 'parallel')
        names = page.evaluate(f"{DASH}.app.table.names")
        assert 'lr' in names and 'weights.web' in names
        page.evaluate(f"{DASH}.app.brushes.lr = [0.0015, 0.0035]"); page.evaluate(f'{DASH}.app.filterChanged()')
        assert count(page)=='2' and 'lr 0.0015 to 0.0035' in page.locator('.chips').inner_text()
        canvas = page.locator('.stage canvas').bounding_box()                         # a real drag on the first axis
        page.mouse.move(canvas['x']+50, canvas['y']+40); page.mouse.down(); page.mouse.move(canvas['x']+50, canvas['y']+220, steps=4); page.mouse.up()
        assert page.locator('.chips button').count()==2
        for _ in range(2): page.locator('.chips button').first.click()
        assert count(page)=='6'
        tab(page, 'recipes')
        page.wait_for_selector('table.diff')
        fields = page.locator('table.diff tbody th').all_inner_texts()
        assert set(runs.diff(['base', 'hot', 'long']).field)<=set(fields) and 'schedule' not in fields
        page.get_by_role('button', name='environment').click()
        page.wait_for_selector('table.diff :text("environment packages.numpy")')
        tab(page, 'tasks')
        page.wait_for_selector('table.tasks')
        rows, trouble = runs.tasks(['base', 'hot', 'long'])
        assert not trouble and {r['group'] for r in rows}=={'all', 'news', EVIL} and len(rows)==9
        text = page.locator('table.tasks').inner_text()
        assert all(format(float(format(r['value'], '.4g')), 'g') in text for r in rows)
        assert page.locator('table.tasks svg.forest').count()==len(rows) and '<script>window.ran = 1</script>' in text
        tab(page, 'samples')
        page.wait_for_selector('.side pre')
        assert page.locator('.side pre').first.inner_text().startswith('base wrote <script>window.ran = 1</script>') and page.locator('.side section').count()==3

def test_on_a_telephone(browser, file):
    with watched(browser, 390, 800) as page:
        page.goto(file.as_uri())
        drawn(page, 'loss')
        for name in ('curves', 'scatter', 'parallel', 'recipes', 'tasks', 'samples'):
            tab(page, name)
            page.wait_for_timeout(150)
            assert page.evaluate('document.documentElement.scrollWidth')<=390, name
            narrow = page.eval_on_selector_all('.stage :is(th, td)', 'all => all.map(c => c.clientWidth)')
            assert min(narrow, default=88)>=60, 'a column of single letters'
            if name=='curves': assert usable(page)>20
        assert page.locator('aside label.run').first.bounding_box()['width']<=390

def test_a_question_that_does_not_exist(runs):
    with pytest.raises(ValueError, match="no question called 'curve'"): dashboard_answer(runs, 'curve')
    assert repr(dashboard(runs.folder)).endswith('6 runs: 5 done, 1 failed)')

WRITER = """
import sys, time
from llmbench.recipe import Recipe
from llmbench.run import Run
run = Run.start(sys.argv[1], Recipe(weights={'web': 1.}, tokens=1_000_000))
for k in range(1, 10**6):
    run.log(step=10*k, tokens=1280*k, loss=3+1/k, seconds=k/10)
    time.sleep(.1)
"""

def test_served_by_voila_over_a_run_in_progress(browser, root, tmp_path):
    "The tutorial's own notebook, served; a run that another process writes grows on the screen."
    runs = tmp_path/'runs'
    made(runs, 20)
    writer = subprocess.Popen([sys.executable, '-c', WRITER, str(runs/'live')])
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    env = os.environ|dict(LLMBENCH_RUNS=str(runs), JUPYTER_CONFIG_DIR=str(tmp_path/'c'), JUPYTER_RUNTIME_DIR=str(tmp_path/'r'), JUPYTER_DATA_DIR=str(tmp_path/'d'), IPYTHONDIR=str(tmp_path/'i'))
    log = open(tmp_path/'voila.log', 'w')
    voila = subprocess.Popen([sys.executable, '-m', 'voila', str(root/'nbs/tutorials/dashboard.ipynb'), '--no-browser', f'--port={port}', '--strip_sources=True', '--Voila.ip=127.0.0.1'], env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic()+120
        while True:
            try: urllib.request.urlopen(f'http://127.0.0.1:{port}/voila/static/', timeout=2)
            except urllib.error.HTTPError: break
            except OSError: assert voila.poll() is None and time.monotonic()<end, (tmp_path/'voila.log').read_text()[-2000:]; time.sleep(.3)
            else: break
        context = browser.new_context(viewport={'width': 1300, 'height': 900})
        page = context.new_page()
        outside = []
        page.route('**/*', lambda r: r.continue_() if r.request.url.startswith((f'http://127.0.0.1:{port}/', f'ws://127.0.0.1:{port}/', 'data:', 'blob:')) else (outside.append(r.request.url), r.abort()))
        page.goto(f'http://127.0.0.1:{port}/', timeout=240_000, wait_until='commit')
        page.wait_for_selector('.lb-dash >> nth=0', timeout=240_000)
        last = "(() => { const d = [...document.querySelectorAll('.lb-dash')].map(e => e.parentElement.dash).find(d => d.app.table.at.has('live')); const c = d && d.app.curves.get('live'); const l = c && c.keys.get('loss'); return l ? l.x.step.at(-1) : 0; })()"
        page.wait_for_function(f'{last}>0', timeout=60_000)
        seen = page.evaluate(last)
        page.wait_for_function(f'{last}>={seen}+20', timeout=60_000)                    # it grew by itself
        assert '1 running, watched' in page.inner_text('body') and page.evaluate('window.ran') is None
        writer.send_signal(signal.SIGKILL); writer.wait()
        page.wait_for_selector('.status.dead', timeout=60_000)                          # and its end is seen
        context.close()
        assert all('fontawesome' in u for u in outside)                                 # Voila's own page asks for an icon font; the dashboard asks for nothing
    finally:
        writer.kill()
        os.killpg(voila.pid, signal.SIGTERM)
        voila.wait(30)
        log.close()
