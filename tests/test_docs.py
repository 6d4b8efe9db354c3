"""The documentation site in a real browser: nothing from outside, plots drawn, formulas shown, links that lead somewhere, a search that finds.

`LLMBENCH_DOCS=folder` names the site; without it, it is _docs, as `make docs` writes it, and it is built first if it is not there."""
import ast, functools, html, http.server, os, re, subprocess, sys, threading, urllib.parse
from pathlib import Path

import nbformat.v4 as v4
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT/'docs'))
import build, mathml

PAGES = [*map(build.page_name, build.notebooks()), 'changelog']
SHOWN = ['index', 'guide/core', 'guide/show', 'guide/corpus', 'guide/mixture', 'guide/laws', 'guide/report', 'guide/studio', 'guide/look', 'guide/dashboard', 'ext/mixer_unimax', 'tutorials/mixing_studio', 'changelog'] # with outputs; of the others every third is opened, all with LLMBENCH_SLOW=1

@pytest.fixture(scope='module')
def site():
    given = os.environ.get('LLMBENCH_DOCS')
    folder = Path(given) if given else ROOT/'_docs'
    if not given and not (folder/'index.html').exists(): subprocess.run([sys.executable, 'docs/build.py'], cwd=ROOT)
    if not (folder/'index.html').exists(): pytest.fail(f'no site in {folder}: `python docs/build.py` says why', pytrace=False)
    return folder

@pytest.fixture(scope='module')
def url(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *a): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()

@pytest.fixture(scope='module')
def page(browser): # one for all tests: plotly.js is then read once
    page = browser.new_page(viewport={'width': 1400, 'height': 1000}, color_scheme='light')
    yield page
    page.close()

@pytest.fixture
def visit(page, url):
    "Open a page; afterwards nothing may have been asked of another host and nothing may have gone wrong."
    outside, wrong = [], []
    watch = {'request': lambda r: None if r.url.startswith((url, 'data:', 'blob:')) else outside.append(r.url),
             'response': lambda r: wrong.append(f'{r.status} {r.url}') if r.status>=400 else None,
             'pageerror': lambda e: wrong.append(str(e)),
             'console': lambda m: wrong.append(m.text) if m.type=='error' else None}
    for event,fn in watch.items(): page.on(event, fn)
    yield lambda path: page.goto(url+path) and page
    for event,fn in watch.items(): page.remove_listener(event, fn)
    assert not outside, f'asked of other hosts: {outside}'
    assert not wrong

def drawn(page):
    "Wait until every plot of the page is drawn; their number."
    n = page.locator('.lb-plot').count()
    if n: page.wait_for_function(f"document.querySelectorAll('.lb-plot .js-plotly-plot .main-svg').length>={n} && [...document.querySelectorAll('.lb-plot')].every(p => p.querySelector('.main-svg'))")
    return n

@pytest.mark.parametrize('name', PAGES if os.environ.get('LLMBENCH_SLOW') else sorted({*PAGES[::3], *SHOWN}&set(PAGES)))
def test_page(visit, name):
    page = visit(f'{name}.html')
    plots = drawn(page)
    boxes = page.eval_on_selector_all('.lb-plot', 'all => all.map(p => [p.querySelector(".main-svg").clientWidth, p.querySelector(".main-svg").clientHeight])')
    assert all(w>300 and h>60 for w,h in boxes), boxes
    assert all(page.eval_on_selector_all('.lb-plot', 'all => all.map(p => p.target._fullData.length)')), 'a plot without traces'
    source = build.SOURCE/f'{name}.ipynb'
    if source.exists():
        cells = v4.reads(source.read_text(encoding='utf-8')).cells
        assert plots==sum('class="lb-plot"' in o.get('data', {}).get('text/html', '') for c in cells for o in c.get('outputs', []))
        prose = re.sub(r'```.*?```|`[^`]*`', '', '\n'.join(c.source for c in cells if c.cell_type=='markdown'), flags=re.S)
        assert page.locator('math').count()>=len(re.findall(r'\$\$.+?\$\$|(?<![\\\w])\$[^$\n ][^$\n]*\$(?!\w)', prose, re.S))
    assert all(m['height']>5 for m in page.eval_on_selector_all('article math', 'all => all.map(m => ({height: m.getBoundingClientRect().height}))'))
    assert '$$' not in page.eval_on_selector_all('article p', 'all => all.map(p => p.innerText).join(" ")')

@functools.cache
def ids_of(path): return set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding='utf-8')))

@functools.cache
def leads_nowhere(target, part): return not target.exists() or part and target.suffix=='.html' and part not in ids_of(target)

@pytest.mark.parametrize('name', PAGES)
def test_links_lead_somewhere(site, name):
    here, broken = site/f'{name}.html', []
    for link in set(re.findall(r'(?:href|src)="([^"]+)"', here.read_text(encoding='utf-8'))):
        where, _, part = html.unescape(link).partition('#')
        if re.match(r'[a-z]+:', where): continue
        target = Path(os.path.normpath(here.parent/urllib.parse.unquote(where.partition('?')[0]))) if where else here
        if leads_nowhere(target, part): broken.append(link)
    assert not broken

def test_plots_follow_the_theme(visit):
    page = visit('guide/show.html')
    assert drawn(page)>0
    fill = "getComputedStyle(document.querySelector('.lb-plot .xtick text')).fill"
    light = page.evaluate(fill)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"{fill}!='{light}'")

@pytest.mark.parametrize('name', ['index', 'guide/mixture', 'changelog'])
def test_a_phone_sees_no_sideways_scroll(visit, page, name):
    page.set_viewport_size({'width': 390, 'height': 800})
    try:
        drawn(visit(f'{name}.html'))
        assert page.evaluate('document.documentElement.scrollWidth')<=392
    finally: page.set_viewport_size({'width': 1400, 'height': 1000})

def found(visit, word):
    page = visit(f'search.html?q={urllib.parse.quote(word)}')
    page.wait_for_selector('#search-results .search a')
    page.wait_for_function("/finished|Finished|matching|found/.test(document.querySelector('#search-results').innerText)")
    return page.eval_on_selector_all('#search-results .search li a', 'all => all.map(a => a.getAttribute("href"))')

def test_search_finds_english(visit): assert any('guide/core.html' in a for a in found(visit, 'fingerprint'))

def test_search_finds_chinese(visit, site):
    words = {}
    for name in PAGES:
        body = re.sub(r'<[^>]+>', ' ', (site/f'{name}.html').read_text(encoding='utf-8').partition('<article')[2])
        for word in re.findall(r'(?<!\w)[\u4e00-\u9fff]{2,12}(?!\w)', body): words.setdefault(word, name)
    assert words, 'no page holds Chinese text any more: add an example, or remove this test'
    word, name = min(words.items())
    assert any(f'{name}.html' in a for a in found(visit, word)), f'{word} stands on {name}'

# --- the steps of the build

def cell(source, **kw): return v4.new_code_cell(source, id='c', **kw)

def test_a_plot_cannot_end_its_script():
    fig = {'data': [{'name': '</script><b>'}], 'layout': {'title': {'text': 'a "b" <c>'}}}
    out = build.finish_output(v4.new_output('display_data', {build.PLOTLY: fig}))['data']['text/html']
    assert out.count('</script>')==1 and '"b"' not in out.split('>')[0].split('aria-label=')[1][1:]

def test_definitions_are_shown_as_written():
    code = "import os\n@mixers(source='A, B')\ndef f(\n    x:int, # how many\n    **kw   # the rest\n)->int:    # one number\n    'Doc of `f`.'\n    return x\n\ndef g(x): return x"
    f, g = ast.parse(code).body[1:]
    assert build.header(f, code)=="@mixers(source='A, B')\ndef f(\n    x:int, # how many\n    **kw   # the rest\n)->int:    # one number"
    assert build.header(g, code)=='def g(x):'
    text = build.api_text(f, code, 'page', 3)
    assert text.startswith('(api-page-f)=\n### `f`\n') and text.endswith('Doc of `f`.')

def test_classes_show_fields_and_methods():
    code = "@dataclass\nclass A(B):\n    'What A is.'\n    x:int # a | b\n    def __init__(self, y): pass\n    def go(self, n, *, m=1):\n        'Goes | runs.'\n    @property\n    def p(self): 'A value.'\n    def _no(self): 'Hidden.'"
    text = build.api_text(ast.parse(code).body[0], code, 'page', 2)
    assert '@dataclass\nclass A(B):\n    x:int # a | b\n    def __init__(self, y):\n```' in text
    assert '| `.go(n, m)` | Goes \\| runs. |' in text and '| `.p` | A value. |' in text and '_no' not in text

def test_export_cells_become_definitions():
    finish = lambda source, names=('f',): build.finish_code(cell(source), 'page', set(names), set(), 3)
    assert finish('#| export\nimport os') == [] == finish('#| hide\n1+1') == finish('#| default_exp page')
    api, source = finish("#| export\ndef f(): 'Doc.'")
    assert '### `f`' in api.source and source.metadata['tags']==['hide-input']
    value, = finish('#| export\nX = 1')
    assert value.source=='X = 1' and not value.metadata['tags']

def test_names_in_backticks_become_links():
    index, links = {'once': ('store', 'once'), 'Here': ('page', 'Here')}, {'02_store.ipynb': 'store.ipynb', '../CHANGELOG.md': 'changelog.md'}
    text = build.finish_text('`once` and `Here`, [`once`](02_store.ipynb), [log](../CHANGELOG.md)\n```\n`once`\n```\n## `once`', 'page', index, links)
    assert text=='[`once`](#api-store-once) and `Here`, [`once`](/store.ipynb), [log](/changelog.md)\n```\n`once`\n```\n## `once`'

def test_a_failing_notebook_is_named_and_the_others_are_kept(tmp_path, monkeypatch, capsys):
    for name,code in dict(good="x = 1\nx+1", bad="raise OSError('no such luck')").items():
        (tmp_path/'nbs').mkdir(exist_ok=True)
        nb = v4.new_notebook(cells=[v4.new_code_cell(code)], metadata={'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}})
        (tmp_path/'nbs'/f'{name}.ipynb').write_text(v4.writes(nb))
    for name,value in dict(ROOT=tmp_path, NBS=tmp_path/'nbs', CACHE=tmp_path/'_exec').items(): monkeypatch.setattr(build, name, value)
    with pytest.raises(SystemExit, match='nbs/bad.ipynb(.|\n)*no such luck'): build.run_all(build.notebooks(), 2)
    assert 'nbs/good.ipynb: ran' in capsys.readouterr().out
    done = build.run_all([tmp_path/'nbs/good.ipynb'], 1)
    assert 'nbs/good.ipynb: kept' in capsys.readouterr().out
    assert next(iter(done.values())).cells[0].outputs[0]['data']['text/plain']=='2'

def test_a_kept_run_knows_its_inputs(tmp_path, monkeypatch):
    for name,text in {'nbs/20_a.ipynb': 'from llmbench.b import x', 'nbs/30_z.ipynb': '', 'llmbench/b.py': 'from .c import y', 'llmbench/c.py': '', 'llmbench/d.py': '', 'constraints.txt': ''}.items():
        (tmp_path/name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path/name).write_text(text)
    for name,value in dict(ROOT=tmp_path, NBS=tmp_path/'nbs').items(): monkeypatch.setattr(build, name, value)
    before = build.inputs_hash(tmp_path/'nbs/20_a.ipynb')
    (tmp_path/'llmbench/d.py').write_text('changed'); (tmp_path/'nbs/30_z.ipynb').write_text('changed')
    assert build.inputs_hash(tmp_path/'nbs/20_a.ipynb')==before
    (tmp_path/'llmbench/c.py').write_text('changed')
    assert build.inputs_hash(tmp_path/'nbs/20_a.ipynb')!=before

def test_formulas():
    assert 'display="block"' in mathml.mathml(r'a &= b \\ c &= d', 'block') and '<mtable' in mathml.mathml(r'a &= b \\ c &= d', 'block')
    assert '<mfrac>' in mathml.mathml(r'\frac{1}{2}', 'inline')

@pytest.mark.parametrize('tex', [r'\frac{1', r'\nosuchcommand x'])
def test_a_formula_that_cannot_be_shown_stops_the_build(tex):
    from sphinx.errors import ExtensionError
    with pytest.raises(ExtensionError, match='no MathML for'): mathml.mathml(tex, 'inline')

@pytest.mark.parametrize('name', ['tutorials/mixing_studio', 'guide/studio'])
def test_a_studio_lives_on_its_page(visit, page, name):
    "The widget of the notebook, without a kernel: dragged, keyed, undone."
    page = visit(f'{name}.html')
    page.wait_for_selector('.lb-studio .src .bar')
    value = lambda: page.evaluate("document.querySelector('.lb-studio').parentElement.studio.board.value.phases[0].parts")
    before, handle, bar = value(), page.locator('.bar b').nth(1), page.locator('.bar').nth(1)
    bar.scroll_into_view_if_needed()
    box, track = handle.bounding_box(), bar.bounding_box()
    page.mouse.move(box['x']+box['width']/2, box['y']+box['height']/2); page.mouse.down(); page.mouse.move(track['x']+.7*track['width'], track['y']+5, steps=5); page.mouse.up()
    page.keyboard.press('ArrowRight')
    assert value()!=before and sum(value())==2**20
    page.keyboard.press('Control+z'); page.keyboard.press('Control+z')
    assert value()==before
    page.set_viewport_size({'width': 390, 'height': 800})
    try: assert page.evaluate('document.documentElement.scrollWidth')<=392
    finally: page.set_viewport_size({'width': 1400, 'height': 1000})

def test_a_studio_becomes_data_for_its_script():
    state = dict(_anywidget_id='llmbench.studio.StudioWidget', spec=dict(title='</script><b>'), value={}, runs_to_do=[], saved=[])
    out = build.finish_output(v4.new_output('display_data', {build.WIDGET: {'model_id': 'm'}, 'text/plain': 'x'}), {'m': {'state': state}})['data']['text/html']
    assert out.count('</script>')==1 and 'lb-studio-data' in out

@pytest.mark.skipif(not os.environ.get('LLMBENCH_SLOW'), reason='a second build of the site; LLMBENCH_SLOW=1 runs it')
def test_a_page_that_could_not_be_written_stops_the_build(tmp_path, monkeypatch, capfd):
    "Among many pages, which Sphinx writes in several processes."
    source = tmp_path/'proc'
    source.mkdir()
    names = [f'page{i}' for i in range(8)]
    (source/'index.md').write_text('\n'.join(['# index', '', '```{toctree}', *names, '```']))
    for name in names: (source/f'{name}.md').write_text(f'# {name}\n\n$a<b$\n')
    monkeypatch.setattr(build, 'SOURCE', source)
    assert build.sphinx(tmp_path/'site')==0 and (tmp_path/'site/page7.html').exists()
    (source/'page7.md').write_text('# page7\n\n$\\Big\\langle a$\n')
    assert build.sphinx(tmp_path/'site') and 'no MathML for' in capfd.readouterr().err
