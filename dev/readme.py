"""README.md from nbs/index.ipynb, and the index's map of modules from the notebooks themselves.

    python dev/readme.py          write both
    python dev/readme.py --check  say what would change, and fail
"""
import difflib, json, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {0: 'ground', 1: 'data', 2: 'mixing', 3: 'training', 4: 'evaluation', 5: 'strategies', 6: 'surfaces', 9: 'all of it'}
MAP = '<!-- map: written by dev/readme.py from the first cell of each notebook -->'

def cells(path):
    "Cells of a notebook as (type, text)."
    return [(c['cell_type'], ''.join(c['source'])) for c in json.loads(Path(path).read_text(encoding='utf-8'))['cells']]

def numbered(root=ROOT):
    "The notebooks that are modules, in order: (number, module, description, path)."
    found = []
    for path in sorted((root/'nbs').glob('[0-9][0-9]*_*.ipynb')):
        (number, title), text = path.stem.split('_', 1), cells(path)[0][1]
        head = re.match(r'#\s+(\S+)\s+>\s*(.+)', text)
        if not head or head[1]!=title: raise ValueError(f"{path.name}: the first cell must be '# {title}' and a line '> what it is for', not {text[:60]!r}")
        found.append((number, title, head[2].strip(), path))
    return found

def module_map(root=ROOT):
    "The map of the index: one line per module, by floor."
    rows = [f'| {FLOORS[int(n[0])]} | [`{name}`]({path.name}) | {what} |' for n,name,what,path in numbered(root)]
    return '\n'.join([MAP, '', '| floor | module | what it is for |', '|---|---|---|', *rows])

def with_map(root=ROOT):
    "Text of nbs/index.ipynb with its map brought up to date."
    path = root/'nbs'/'index.ipynb'
    nb = json.loads(path.read_text(encoding='utf-8'))
    cell, = (c for c in nb['cells'] if ''.join(c['source']).startswith(MAP))
    cell['source'] = module_map(root).splitlines(True)
    return json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False)+'\n'

def to_readme(index:str)->str:
    "Markdown of an index notebook (its JSON text): code as fenced blocks, links made relative to the top folder."
    parts = []
    for c in json.loads(index)['cells']:
        text = ''.join(c['source'])
        if c['cell_type']=='code':
            text = '\n'.join(l for l in text.splitlines() if not l.startswith('#|')).strip()
            if text: parts.append(f'```python\n{text}\n```')
        elif text.strip(): parts.append(text.replace(MAP+'\n\n', '').strip())
    text = '<!-- written by dev/readme.py from nbs/index.ipynb: edit that -->\n\n' + '\n\n'.join(parts) + '\n'
    relative = lambda m: f"]({m[1][3:] if m[1].startswith('../') else 'nbs/'+m[1]})"
    return re.sub(r'\]\((?!https?:|#|mailto:)([^)]+)\)', relative, text)

def outdated(root=ROOT):
    "{path: (text now, text it should be)} for the files that are not current."
    index = with_map(root)
    want = {root/'nbs'/'index.ipynb': index, root/'README.md': to_readme(index)}
    now = {p: p.read_text(encoding='utf-8') if p.exists() else '' for p in want}
    return {p: (now[p], want[p]) for p in want if now[p]!=want[p]}

if __name__=='__main__':
    old = outdated()
    for path,(now,want) in old.items():
        if '--check' in sys.argv: print(*difflib.unified_diff(now.splitlines(), want.splitlines(), str(path.name), 'current', lineterm=''), sep='\n')
        else: path.write_text(want, encoding='utf-8'); print('wrote', path.relative_to(ROOT))
    sys.exit(bool(old) and '--check' in sys.argv)
