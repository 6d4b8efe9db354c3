"""Build the documentation site from the notebooks: `python docs/build.py`, then open _docs/index.html.

1. Run a copy of every notebook (nbclient); a finished run is kept in _exec/ and used again while the notebook and the modules it uses are unchanged.
2. Finish each page: definitions with their comments above the folded source, links between names, plots for one local plotly.js, live studios, formulas as MathML.
3. Sphinx (myst-nb, book theme). The site asks nothing of the network: it can be read from a folder, offline.
"""
import argparse, ast, hashlib, json, os, re, shutil, subprocess, sys, tempfile, textwrap, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, CACHE, SOURCE = ROOT/'nbs', ROOT/'_exec', ROOT/'_proc'
FLOORS = {0: 'Ground', 1: 'Data', 2: 'Mixing', 3: 'Training', 4: 'Evaluation', 5: 'Strategies', 6: 'Surfaces', 9: 'All of it'} # tens digit -> caption
FOLDERS = {'tutorials': 'Tutorials', 'explain': 'Background', 'ext': 'Published methods', 'runs': 'Runs'} # folder of nbs/ -> caption
SHOWN = 'runs'           # notebooks of this folder are shown, not run: they are jobs
RECIPE = '1'             # raise to throw away kept runs when the way of running changes
TIMEOUT = 600            # seconds a cell may take
FOLD = 15                # exported cells with more lines are folded
DEFS, IMPORTS = (ast.FunctionDef, ast.ClassDef), (ast.Import, ast.ImportFrom)
PLOTLY, WIDGET = 'application/vnd.plotly.v1+json', 'application/vnd.jupyter.widget-view+json'

# --- 1. run

def notebooks():
    "Every notebook that becomes a page."
    found = [p for p in sorted(NBS.rglob('*.ipynb')) if not any(s.startswith(('.', '_')) for s in p.relative_to(NBS).parts)]
    return [p for p in found if p.parent==NBS or p.parent.name in FOLDERS]

def page_name(path):
    "The page of a notebook: `20_mixture.ipynb` is `guide/mixture`, `tutorials/x.ipynb` is `tutorials/x`."
    return re.sub(r'^\d\d[a-z]?_', 'guide/', path.relative_to(NBS).with_suffix('').as_posix())

def depends_on(path):
    "Files that a notebook's outputs can depend on: the modules it names, those that they name, and what is read as data."
    jobs, found, todo = sorted((NBS/SHOWN).glob('*.ipynb')), {path}, [path]
    while todo:
        named = [ROOT/'llmbench'/f'{m.replace(".", "/")}.py' for m in re.findall(r'(?:llmbench|from )\.((?:ext\.)?\w+)', todo.pop().read_text(encoding='utf-8'))]
        new = {p for p in named if p.exists()} | ({*jobs} if ROOT/'llmbench'/'batch.py' in named or path.stem.endswith('_batch') else set())
        todo += new-found
        found |= new
    return sorted(found) + [p for folder in ('llmbench/static', 'data') for p in sorted((ROOT/folder).rglob('*')) if p.is_file()] + [ROOT/'constraints.txt']

def inputs_hash(path):
    "One hash of a notebook and all it depends on."
    return hashlib.sha256('\n'.join([RECIPE, *(hashlib.sha256(p.read_bytes()).hexdigest() for p in depends_on(path) if p.exists())]).encode()).hexdigest()[:16]

def run_notebook(path):
    "Outputs of a notebook: run now, or kept from a run with the same inputs; (notebook, seconds)."
    import nbformat
    from nbclient import NotebookClient
    kept = CACHE/f"{page_name(path).replace('/', '-')}-{inputs_hash(path)}.ipynb"
    if kept.exists(): return nbformat.read(kept, 4), 0.
    nb, start = nbformat.read(path, 4), time.time()
    for c in nb.cells:
        if re.search(r'^#\|\s*eval:\s*false', c.source, re.M) or 'nbdev_export(' in c.source: c.metadata.setdefault('tags', []).append('skip-execution')
    NotebookClient(nb, timeout=TIMEOUT, kernel_name='python3', skip_cells_with_tag='skip-execution', resources={'metadata': {'path': str(path.parent)}},
                   extra_arguments=['--log-level=40']).execute()
    for old in CACHE.glob(re.sub(r'-\w{16}\.ipynb$', '-'+'?'*16+'.ipynb', kept.name)): old.unlink()
    with tempfile.NamedTemporaryFile('w', dir=CACHE, delete=False, encoding='utf-8') as f: nbformat.write(nb, f)
    os.replace(f.name, kept)
    return nb, time.time()-start

def run_all(paths, workers, only=()):
    "Run the notebooks, `workers` at a time; {path: notebook}. Every failure is shown before the build ends. With `only` (names of pages) the others are shown without outputs."
    import nbformat
    os.environ.update(PLOTLY_RENDERER='plotly_mimetype', **({'OMP_NUM_THREADS': '1'} if workers>1 else {}))
    CACHE.mkdir(exist_ok=True)
    done, failed = {}, []
    def one(path):
        if path.parent.name==SHOWN or only and page_name(path) not in only: return nbformat.read(path, 4), None
        return run_notebook(path)
    with tempfile.TemporaryDirectory() as runtime, ThreadPoolExecutor(workers) as pool:
        os.environ['JUPYTER_RUNTIME_DIR'] = runtime
        for path,job in [(p, pool.submit(one, p)) for p in paths]:
            try: done[path], seconds = job.result()
            except Exception as e: failed.append(f'{path.relative_to(ROOT)}\n' + re.sub(r'\x1b\[[0-9;]*m', '', str(e))); continue
            print(f"{path.relative_to(ROOT)}: {'shown' if seconds is None else f'ran in {seconds:.1f} s' if seconds else 'kept'}", flush=True)
    if failed: sys.exit('\n\n'.join(['these notebooks failed:', *failed]))
    return done

# --- 2. finish the pages

def module_name(page): return page.removeprefix('guide/') # of a published method: ext/mixer_dsir

def public_names(page):
    "Public functions and classes of the module that a page exports."
    path = ROOT/'llmbench'/f'{module_name(page)}.py'
    if not page.startswith(('guide/', 'ext/')) or not path.exists(): return set()
    body = ast.parse(path.read_text(encoding='utf-8')).body
    said = next((ast.literal_eval(n.value) for n in body if isinstance(n, ast.Assign) and getattr(n.targets[0], 'id', '')=='__all__'), [])
    return {n.name for n in body if isinstance(n, DEFS) and n.name in said}

def anchor(page, name): return f"api-{module_name(page).replace('/', '-')}-{name}{'-class' if name[0].isupper() else ''}".lower() # labels have no capitals

def header(node, code):
    "A definition as it is written, comments and decorators included, up to its docstring or body."
    lines, first = code.splitlines(), node.body[0]
    top = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    text = [*lines[top-1:first.lineno-1], lines[first.lineno-1][:first.col_offset]]
    return textwrap.dedent('\n'.join(l.rstrip() for l in text)).rstrip()

def class_header(node, code):
    "A class with its fields and the parameters that make one."
    shown = [n for n in node.body if isinstance(n, ast.AnnAssign) or isinstance(n, ast.FunctionDef) and n.name=='__init__']
    lines = code.splitlines()
    field = lambda n: '\n'.join(lines[n.lineno-1:n.end_lineno]).strip()
    return '\n'.join([header(node, code), *(textwrap.indent(field(n) if isinstance(n, ast.AnnAssign) else header(n, code), '    ') for n in shown)])

def method_table(node):
    "A table of a class's documented methods and properties."
    rows = []
    for m in node.body:
        doc = isinstance(m, ast.FunctionDef) and not m.name.startswith('_') and ast.get_docstring(m)
        if not doc: continue
        said = {getattr(d, 'id', getattr(d, 'attr', '')) for d in m.decorator_list}
        args = [a.arg for a in [*m.args.posonlyargs, *m.args.args, *m.args.kwonlyargs] if a.arg not in ('self', 'cls')]
        call = '' if said & {'property', 'cached_property'} else f"({', '.join(args)})"
        rows.append(f"| `.{m.name}{call}` | {doc.splitlines()[0].replace('|', chr(92)+'|')} |")
    return '\n'.join(['', '', '| method | what it does |', '|---|---|', *rows]) if rows else ''

def api_text(node, code, page, level):
    "Heading, definition with its comments, docstring and a class's methods."
    is_class = isinstance(node, ast.ClassDef)
    text = (class_header if is_class else header)(node, code)
    doc = ast.get_docstring(node) or ''
    return f"({anchor(page, node.name)})=\n{'#'*level} `{node.name}`\n\n```python\n{text}\n```\n\n{doc}{method_table(node) if is_class else ''}"

def directives(cell): return dict(re.findall(r'^#\|\s*([\w-]+):?[ \t]*(.*)$', cell.source, re.M))

def finish_code(cell, page, names, seen, level, models=None):
    "The cells that a code cell becomes; descriptions of names get headings of this level, `models` are the notebook's widgets."
    import nbformat.v4 as v4
    said = directives(cell)
    code = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip()
    if 'hide' in said or not code or 'nbdev_export(' in code: return []
    tags = [t for t in cell.metadata.get('tags', []) if t in ('parameters', 'hide-input', 'remove-input', 'remove-output')]
    if 'hide_input' in said or said.get('echo')=='false': tags.append('remove-input')
    if 'hide_output' in said or said.get('output')=='false': tags.append('remove-output')
    out = v4.new_code_cell(code, id=cell.id, execution_count=cell.execution_count, metadata={'tags': tags}, outputs=[finish_output(o, models) for o in cell.outputs])
    if not {'export', 'exports', 'exporti'} & said.keys(): return [out]
    body = ast.parse(code).body
    if all(isinstance(n, IMPORTS) for n in body): return []
    defined = [n for n in body if isinstance(n, DEFS) and n.name in names and n.name not in seen]
    seen.update(n.name for n in defined)
    out.outputs = []
    if all(isinstance(n, (*DEFS, *IMPORTS)) for n in body) or code.count('\n')>FOLD: out.metadata['tags'].append('hide-input') # short values stay in sight
    return [*(v4.new_markdown_cell(api_text(n, code, page, level), id=f'{cell.id}-{i}') for i,n in enumerate(defined)), out]

def finish_output(o, models=None):
    "An output for a page without a kernel: plots become data for plots.js, studios for studio.js, views of other widgets give way to their text."
    import nbformat.v4 as v4
    data = o.get('data', {})
    if PLOTLY in data:
        fig = {k: data[PLOTLY][k] for k in ('data', 'layout')}
        height = fig['layout'].get('height') or 420
        html = (f'<div class="lb-plot" style="min-height:{height}px" role="img" aria-label="{plot_title(fig)}">'
                f'<script type="application/json">{json.dumps(fig).replace("</", "<" + chr(92) + "/")}</script></div>')
        return v4.new_output('display_data', {'text/html': html})
    state = (models or {}).get(data.get(WIDGET, {}).get('model_id'), {}).get('state', {})
    if state.get('_anywidget_id', '').endswith('.StudioWidget'):
        from llmbench.screens import screen_data
        return v4.new_output('display_data', {'text/html': f'<div class="lb-live">{screen_data("studio", **{k: state[k] for k in ("spec", "value", "runs_to_do", "saved")})}</div>'})
    if WIDGET in data and len(data)>1: data.pop(WIDGET)
    return o

def plot_title(fig):
    title = fig['layout'].get('title') or ''
    text = title.get('text') or 'plot' if isinstance(title, dict) else title or 'plot'
    return re.sub(r'<[^>]*>', ' ', text).replace('"', "'").replace('<', '')

def finish_text(text, page, index, links):
    "Markdown of a page: names in backticks lead to their description, links to notebooks lead to their pages."
    def named(m): return m[0] if m[1] not in index or index[m[1]][0]==page else f'[`{m[1]}`](#{anchor(*index[m[1]])})'
    def target(m):
        where, _, part = m[1].partition('#')
        if where not in links: return m[0]
        return f"](/{links[where]}{'#'+part if part else ''})"
    parts = re.split(r'(^```.*?^```|^#+ .*$|\[[^\]]*\]\([^)]*\)|\$\$.*?\$\$)', text, flags=re.M|re.S)
    parts[::2] = [re.sub(r'`(\w+)`', named, p) for p in parts[::2]]
    return re.sub(r'\]\((?!\w+:|#)([^)]+)\)', target, ''.join(parts))

def finish(path, nb, index):
    "The page of an executed notebook."
    import nbformat.v4 as v4
    page, names, seen, cells = page_name(path), public_names(page_name(path)), set(), []
    links = {os.path.relpath(p, path.parent): f'{page_name(p)}.ipynb' for p in notebooks()} | {os.path.relpath(ROOT/'CHANGELOG.md', path.parent): 'changelog.md'}
    models = nb.metadata.get('widgets', {}).get('application/vnd.jupyter.widget-state+json', {}).get('state', {})
    level = 2 # of the headings of names: 3 from the first section on
    for c in nb.cells:
        if c.cell_type=='markdown' and re.search(r'^## ', c.source, re.M): level = 3
        if c.cell_type=='code': cells += finish_code(c, page, names, seen, level, models)
        elif c.cell_type=='markdown': cells.append(v4.new_markdown_cell(finish_text(c.source, page, index, links), id=c.id))
    if path.parent.name==SHOWN:
        cells.insert(1, v4.new_markdown_cell(f'This notebook is a job: `llmbench run {path.stem}` runs it with the parameters below, or with yours. It is shown here without results.', id='shown'))
    nb = v4.new_notebook(cells=cells, metadata={'kernelspec': nb.metadata.kernelspec})
    if page=='index': cells.append(v4.new_markdown_cell(contents(), id='contents'))
    return nb

def contents():
    "The tree of pages, as Sphinx takes it."
    groups = {c: [] for c in (*FLOORS.values(), *FOLDERS.values())}
    for p in notebooks():
        if p.parent!=NBS: groups[FOLDERS[p.parent.name]].append(page_name(p))
        elif p.stem[:2].isdigit(): groups[FLOORS[int(p.stem[0])]].append(page_name(p))
    groups['Project'] = ['changelog']
    tree = lambda caption, pages: '\n'.join(['```{toctree}', ':hidden:', f':caption: {caption}', '', *pages, '```'])
    first = ['Tutorials', *FLOORS.values()] # a reader starts there
    return '\n\n'.join(tree(c, groups[c]) for c in [*first, *(g for g in groups if g not in first)] if groups[c])

def write_source(done):
    "Write what Sphinx reads."
    import nbformat
    shutil.rmtree(SOURCE, ignore_errors=True)
    index = {n: (page, n) for page in map(page_name, reversed(done)) for n in public_names(page)} # a name in two modules: the lower one
    for path,nb in done.items():
        out = SOURCE/f'{page_name(path)}.ipynb'
        out.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(finish(path, nb, index), out)
    shutil.copyfile(ROOT/'CHANGELOG.md', SOURCE/'changelog.md')

# --- 3. the site

def pages_of(source): return sorted(str(p.relative_to(source).with_suffix('')) for p in source.rglob('*') if p.suffix in ('.ipynb', '.md'))

def sphinx(out):
    "Run Sphinx; a warning is an error. The site appears whole or stays as it was."
    from llmbench.screens import screen_script
    from plotly.offline import get_plotlyjs
    with tempfile.TemporaryDirectory() as made:
        static = Path(made)/'static' # beside the site, which Sphinx writes into made/site
        static.mkdir()
        (static/'plotly.min.js').write_text(get_plotlyjs(), encoding='utf-8')
        (static/'studio.js').write_text(screen_script('studio'), encoding='utf-8')
        for name in ('llmbench.css', 'studio.css'): shutil.copyfile(ROOT/'llmbench'/'static'/name, static/name)
        args = ['-q', '-W', '--keep-going', '-j', 'auto', '-c', str(ROOT/'docs'), '-d', str(SOURCE/'.doctrees'), '-D', f'html_static_path={ROOT/"docs"/"_static"},{static}']
        code = subprocess.run([sys.executable, '-m', 'sphinx', *args, str(SOURCE), f'{made}/site'], cwd=ROOT).returncode
        lost = [p for p in pages_of(SOURCE) if not (Path(made)/'site'/f'{p}.html').exists()] # an error in a process that writes pages does not reach Sphinx's exit code
        if lost and not code: code = subprocess.run([sys.executable, '-m', 'sphinx', *args, '-E', '-j', '1', str(SOURCE), f'{made}/again'], cwd=ROOT).returncode or 1
        if not code:
            shutil.rmtree(out, ignore_errors=True)
            shutil.move(f'{made}/site', out)
        return code

def build(out, workers=2, only=()):
    start, pages = time.time(), notebooks()
    unknown = set(only)-set(map(page_name, pages))
    if unknown: sys.exit(f"no page called {', '.join(sorted(unknown))}; pages are called {', '.join(map(page_name, pages))}")
    write_source(run_all(pages, workers, only))
    code = sphinx(out)
    print(f'{os.path.relpath(out)}/index.html: site written in {time.time()-start:.0f} s' if not code else 'the site was not built: Sphinx said why above')
    return code

if __name__=='__main__':
    args = argparse.ArgumentParser(description=textwrap.dedent(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('--out', type=Path, default=ROOT/'_docs', help='folder of the site (_docs)')
    args.add_argument('--workers', type=int, default=2, help='notebooks run at a time (2)')
    args.add_argument('--run', nargs='+', default=(), metavar='PAGE', help='run only these pages, like guide/laws; the others are shown without outputs (all)')
    given = args.parse_args()
    sys.exit(build(given.out.resolve(), given.workers, given.run))
