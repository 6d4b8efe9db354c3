"""The three screens in JupyterLab itself: one server, real kernels, real mouse and keys, the light and the dark theme."""
import json, os, shutil, socket, subprocess, sys, time, urllib.request

import pytest
from conftest import ROOT
from test_dashboard import DASH, made
from test_look import LOOK
from test_studio import BOARD, NAMES, drag

from llmbench.mixture import Mixture
from llmbench.stream import PARTS

CELLS = ["""import sys; sys.path.insert(0, 'tests')
from test_studio import law, mixture
from llmbench.studio import Studio
studio = Studio(mixture(), law())
studio""", "import json\nprint('VALUE '+json.dumps([studio.value, sum(studio.mixture.weights.values()), len(studio.runs_to_do), studio.gain()['loss']]))", "studio.set('code/py', .4);"]
LOOKED = ["""import sys; sys.path.insert(0, 'tests')
from test_look import table
from llmbench.look import browse
docs = browse(table(), title='Documents')
docs""", "import json\nprint('VALUE '+json.dumps([docs.query['find'], len(docs.rows(docs.query))]))"]

@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "A JupyterLab of its own: a notebook that shows a studio, one that shows documents, and the dashboard's tutorial over runs that are there."
    import nbformat.v4 as v4
    top = tmp_path_factory.mktemp('lab')
    (top/'tests').mkdir()
    for name in ('conftest.py', 'test_studio.py', 'test_look.py'): shutil.copyfile(ROOT/'tests'/name, top/'tests'/name)
    for name,cells in dict(studio=CELLS, look=LOOKED).items():
        (top/f'{name}.ipynb').write_text(v4.writes(v4.new_notebook(cells=[v4.new_code_cell(c) for c in cells], metadata={'kernelspec': {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}})))
    shutil.copyfile(ROOT/'nbs/tutorials/dashboard.ipynb', top/'dashboard.ipynb')
    made(top/'runs')
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    env = {**os.environ, **{f'JUPYTER{k}_DIR': str(top/k) for k in ('_CONFIG', '_RUNTIME', '_DATA', 'LAB_SETTINGS', 'LAB_WORKSPACES')}, 'OMP_NUM_THREADS': '1', 'LLMBENCH_RUNS': str(top/'runs')}
    args = [f'--port={port}', '--no-browser', '--ip=127.0.0.1', '--allow-root', '--IdentityProvider.token=', '--ServerApp.disable_check_xsrf=True', '--LabApp.expose_app_in_browser=True',
            '--LabApp.news_url=None', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', f'--ServerApp.root_dir={top}']
    with open(top/'log.txt', 'w') as log: server = subprocess.Popen([sys.executable, '-m', 'jupyterlab', *args], cwd=top, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(300):
            try: urllib.request.urlopen(f'http://127.0.0.1:{port}/api/status', timeout=2); break
            except OSError:
                assert server.poll() is None, (top/'log.txt').read_text()[-2000:]
                time.sleep(.2)
        yield f'http://127.0.0.1:{port}/'
    finally:
        server.terminate()
        server.wait(20)

def open_notebook(page, lab, name):
    page.goto(f'{lab}lab/tree/{name}.ipynb?reset') # nothing else is open
    page.wait_for_selector('.jp-Notebook .jp-CodeCell')
    page.evaluate('() => window.jupyterapp.restored.then(() => true)')
    page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status==='idle'", timeout=120_000)

def run_cell(page, i):
    page.evaluate(f"() => {{ const nb = window.jupyterapp.shell.currentWidget.content; nb.activeCellIndex = {i}; nb.deselectAll(); }}")
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-cell')")

def asked(page):
    "What Python says now, through a cell."
    page.evaluate("() => { const c = window.jupyterapp.shell.currentWidget.content.widgets[1]; c.model.clearExecution(); c.outputArea.model.clear(); }")
    run_cell(page, 1)
    cell = page.locator('.jp-Notebook .jp-CodeCell').nth(1)
    cell.get_by_text('VALUE').last.wait_for()
    page.wait_for_function("() => /VALUE .*]\\s*$/.test(window.jupyterapp.shell.currentWidget.content.widgets[1].outputArea.node.innerText)")
    said = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets[1].outputArea.node.innerText")
    return json.loads(said[said.index('VALUE ')+6:])

# every text of a screen against what is behind it, as WCAG counts it; text that is pale on purpose (opacity) and canvases are left out
CONTRAST = """root => {
  const c = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d', {willReadFrequently: true});
  const over = colors => { c.fillStyle = '#fff'; c.fillRect(0, 0, 1, 1); for (const x of colors) { c.fillStyle = x; c.fillRect(0, 0, 1, 1); } return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const out = [], walk = document.createTreeWalker(document.querySelector(root), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const el = walk.currentNode.parentElement, text = walk.currentNode.data.trim(), behind = [];
    if (!text || !el.checkVisibility() || el.closest('option, script, style, :disabled')) continue;
    let faint = false;
    for (let e = el; e; e = e.parentElement) { const s = getComputedStyle(e); behind.unshift(s.backgroundColor); faint = faint || +s.opacity < 1 || s.visibility === 'hidden'; }
    if (faint) continue;
    const [a, b] = [light(over([...behind, getComputedStyle(el).color])), light(over(behind))].sort((x, y) => y - x);
    out.push([+((a + .05) / (b + .05)).toFixed(2), text.slice(0, 40), el.className]);
  }
  return out.sort((x, y) => x[0] - y[0]);
}"""

def readable(page, root):
    "In both themes every text stands out."
    for theme in ('JupyterLab Dark', 'JupyterLab Light'):
        page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        page.wait_for_function(f"document.body.dataset.jpThemeLight==='{str('Light' in theme).lower()}'")
        page.wait_for_timeout(200)
        if os.environ.get('SHOTS'): page.screenshot(path=f"{os.environ['SHOTS']}/lab{root}-{theme[-5:].strip()}.png")
        worst = page.evaluate(CONTRAST, root)
        assert len(worst)>20 and worst[0][0]>=4.5, (theme, worst[:5])

def test_the_studio(browser, lab):
    "Real mouse and keys in JupyterLab: what Python holds is what the screen shows, exactly, and the other way round."
    context = browser.new_context(viewport={'width': 1500, 'height': 1000})
    page, outside = context.new_page(), []
    page.on('request', lambda r: None if r.url.startswith((lab, lab.replace('http', 'ws'), 'data:', 'blob:')) else outside.append(r.url))
    open_notebook(page, lab, 'studio')
    run_cell(page, 0)
    page.wait_for_selector('.lb-studio .src .bar', timeout=120_000)
    page.wait_for_timeout(300)
    shown = lambda: page.evaluate("document.querySelector('.lb-studio').parentElement.studio.board.value")
    def agree():
        "Python, once the last message of the page has arrived: a kernel that is busy gets the newest value when it is done."
        for _ in range(5):
            value, total, runs, loss = asked(page)
            if value==shown(): break
        assert value==shown() and total==1. and sum(value['phases'][0]['parts'])==PARTS
        on_screen = page.evaluate(f'{BOARD}.prediction({BOARD}.mean).loss')
        assert abs(loss-on_screen)<1e-9 and abs(loss-float(page.locator('.big').inner_text()))<=.00051
        return value
    first = agree()
    drag(page, 4, .3, steps=25)
    assert agree()['phases'][0]['parts'][4]<first['phases'][0]['parts'][4]
    page.locator('.lock').nth(0).click()
    for row,to in [(1, .7), (2, .05), (3, .5), (1, .2)]: drag(page, row, to, steps=15)
    dragged = agree()
    assert dragged['locks'][0] and dragged['phases'][0]['parts'][0]!=0
    page.locator('.bar').nth(1).focus()
    page.keyboard.press('ArrowRight'); page.keyboard.press('Shift+ArrowRight'); page.keyboard.press('l')
    keyed = agree()
    assert keyed['phases'][0]['parts'][1]-dragged['phases'][0]['parts'][1]==round(.005*PARTS)+round(.05*PARTS) and keyed['locks'][1]
    page.locator('.bar').nth(1).focus()
    for _ in range(3): page.keyboard.press('Control+z')
    assert agree()['phases']==dragged['phases']
    page.locator('.bar').nth(1).focus(); page.keyboard.press('Control+Shift+z')
    agree()
    page.get_by_role('button', name='Train this one next').click()
    assert asked(page)[2]==1
    run_cell(page, 2)                                             # and from Python to the screen
    page.wait_for_function(f"() => {BOARD}.value.phases[0].parts[1]==={round(.4*PARTS)}")
    agree()
    with page.expect_download() as got: page.locator('.lb-studio').get_by_role('button', name='Save file').click()
    saved = json.loads(got.value.path().read_text())
    assert saved['hash'] and Mixture.open(got.value.path()).weights=={k: n/PARTS for k,n in zip(NAMES, shown()['phases'][0]['parts'])}
    readable(page, '.lb-studio')
    context.close()
    assert not outside

def test_the_dashboard_and_the_documents(browser, lab, tmp_path_factory):
    "The tutorial as it is, all cells run: the widget draws, a run is picked, keys stay in it, a new run appears by itself; then a search among documents."
    context = browser.new_context(viewport={'width': 1500, 'height': 1000})
    page, outside, wrong = context.new_page(), [], []
    page.on('request', lambda r: None if r.url.startswith((lab, lab.replace('http', 'ws'), 'data:', 'blob:')) else outside.append(r.url))
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.on('console', lambda m: wrong.append(m.text) if m.type=='error' else None)
    open_notebook(page, lab, 'dashboard')
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    cells = "window.jupyterapp.shell.currentWidget.content.widgets"
    page.wait_for_function(f"() => {cells}.every(c => c.model.type!=='code' || c.model.executionCount)", timeout=120_000)
    assert page.evaluate(f"() => {cells}.flatMap(c => c.model.type==='code' ? c.model.outputs.toJSON() : []).filter(o => o.output_type==='error').map(o => o.evalue)")==[]
    at = page.evaluate(f"() => {cells}.findIndex(c => c.model.sharedModel.source.includes('dash = dashboard('))")
    page.evaluate(f"() => {{ const nb = window.jupyterapp.shell.currentWidget.content; nb.activeCellIndex = {at}; return nb.scrollToItem({at}, 'start'); }}")
    page.wait_for_selector('.lb-dash .chart[data-key=loss] canvas')
    page.locator('.lb-dash label.run', has_text='<img').click()
    page.locator('.lb-dash label.run', has_text='long').locator('input').focus()
    n = page.evaluate(f"() => {cells}.length")
    for key in ('d', 'd', 'b', 'ArrowDown', 'x'): page.keyboard.press(key)              # commands of the notebook: delete, new cell, next, cut
    assert page.evaluate(f"() => [{cells}.length, window.jupyterapp.shell.currentWidget.content.activeCellIndex]")==[n, at]
    page.wait_for_function(f"() => {DASH}.app.curves.has('<img src=x onerror=\"window.ran = 3\">')")
    readable(page, '.lb-dash')
    page.wait_for_function("() => [...document.querySelectorAll('.lb-dash .chart')].every(c => c.querySelector('canvas').clientWidth===c.clientWidth-2)") # drawn again at its width, though the notebook hid it
    count = page.locator('.lb-dash .count').inner_text()
    runs = next(p for p in tmp_path_factory.getbasetemp().glob('lab*/runs'))
    shutil.copytree(runs/'base', runs/'later')
    page.wait_for_function(f"() => document.querySelector('.lb-dash .count').textContent==='{int(count)+1}'", timeout=20_000)
    open_notebook(page, lab, 'look')
    run_cell(page, 0)
    page.wait_for_selector('.lb-look .reader .text', timeout=60_000)
    page.locator('.lb-look .find').fill('import')
    page.wait_for_selector('.lb-look .reader .text mark.hit')
    page.wait_for_function(f"() => {{ const s = {LOOK}.got.search; return s && s.done===s.of; }}") # a document that was being opened may show its marks before the list is there
    find, rows = asked(page)
    assert find=='import' and rows==int(page.locator('.lb-look .count').inner_text()) and page.evaluate(f'{LOOK}.page') is False
    readable(page, '.lb-look')
    assert page.evaluate('window.ran') is None
    context.close()
    assert not outside and not wrong
