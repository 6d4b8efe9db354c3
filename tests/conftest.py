"""Shared by all tests: the project's folder, copies of it to play in, processes to kill, and the browser."""
import multiprocessing.forkserver, shutil, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'dev')) # browser.py, readme.py

def project_files():
    "The files of the project: what git tracks and what it would, relative to the top folder; of a tree without git, all that is not made."
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=ROOT, capture_output=True)
    if listed.returncode==0: names = [Path(n) for n in listed.stdout.decode().split('\0') if n]
    else: names = [p.relative_to(ROOT) for p in ROOT.rglob('*') if not any(s.startswith(('.', '_', 'build')) for s in p.relative_to(ROOT).parts[:-1])]
    return sorted(n for n in names if (ROOT/n).is_file())

@pytest.fixture(scope='session')
def root(): return ROOT

@pytest.fixture(scope='session')
def files(): return project_files()

@pytest.fixture
def tree(tmp_path):
    "A copy of the project's files that a test may change."
    for name in project_files():
        (tmp_path/'tree'/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT/name, tmp_path/'tree'/name)
    return tmp_path/'tree'

@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    "A folder with a tokenizer and the tokens of two sources, in shards."
    from llmbench.readers import python_text
    from llmbench.tokens import train_tokenizer, write_tokens
    folder = tmp_path_factory.mktemp('shards')
    docs = python_text(['topics', 'licences'], megabytes=.1)
    write_tokens(docs, train_tokenizer(docs, vocab=400, folder=folder/'tokenizer'), folder/'train', progress=False)
    return folder

@pytest.fixture(scope='module')
def fork(request):
    "Start a function in a process of its own, quickly: forked from a server that has imported the modules which the test file names in LOADED."
    context, server = multiprocessing.get_context('forkserver'), multiprocessing.forkserver._forkserver
    if server._preload_modules!=request.module.LOADED: server._stop() # that of a file which loads something else
    context.set_forkserver_preload(request.module.LOADED)
    def start(function, *args):
        p = context.Process(target=function, args=args)
        p.start()
        return p
    with pytest.MonkeyPatch.context() as m:
        m.setenv('PYTHONPATH', str(Path(__file__).parent)) # where the server finds them
        yield start

@pytest.fixture(scope='session')
def browser():
    "A headless Chromium that looks nothing up by itself."
    from browser import HELP, find
    from playwright.sync_api import sync_playwright
    path = find()
    if not path: pytest.fail(HELP)
    quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=path, args=quiet)
        yield chromium
        chromium.close()

NAMELESS = """() => [...document.querySelectorAll('button, input, select, textarea, summary, [tabindex], [role=slider]')].filter(e => e.checkVisibility() && !e.disabled
  && !(e.getAttribute('aria-label') || [...e.labels || []].some(l => l.innerText.trim()) || e.innerText?.trim() || e.title)).map(e => e.outerHTML.slice(0, 160))"""
FOCUSED = """() => { const e = document.activeElement; return e === document.body ? null
  : [e, ...e.querySelectorAll('*')].some(x => { const s = getComputedStyle(x); return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1; }) && +getComputedStyle(e).opacity > 0 || e.outerHTML.slice(0, 160); }"""

def usable(page, most=60):
    "Every control has a name, and one sees where the keyboard is, Tab by Tab; how many places it came to."
    assert not page.evaluate(NAMELESS)
    page.evaluate('document.body.tabIndex = -1, document.body.focus(), document.body.removeAttribute("tabindex")') # from the top
    for n in range(most):
        page.keyboard.press('Tab')
        seen = page.evaluate(FOCUSED)
        if seen is None: return n
        assert seen is True
    return most
