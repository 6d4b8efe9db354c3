"""Everything that must hold, step by step, going on after a failure; the last line is `N passed, N failed`.

    python dev/test.py              all steps
    python dev/test.py docs tests   only these
Counted: every step without tests of its own, every notebook, every pytest test. The exit code is 1 if anything failed.
The notebooks that the site shows with outputs are run by the step `docs`, and by `notebooks` only if that step is not asked for.
"""
import json, os, re, subprocess, sys, tempfile, time
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
QUICK_SECONDS = 90 # the main job with QUICK=1 must be done in this time
ENV = {**os.environ, 'PATH': f"{BIN}{os.pathsep}{os.environ['PATH']}", 'HF_HUB_OFFLINE': '1', 'TRANSFORMERS_OFFLINE': '1', 'PYTHONUNBUFFERED': '1'}

def run(*command, **env):
    "Run a command in the project's folder, show its output as it comes; (exit code, output)."
    out = []
    with subprocess.Popen([str(c) for c in command], cwd=ROOT, env={**ENV, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace') as p:
        for line in p.stdout: print(line, end='', flush=True); out.append(line)
    return p.returncode, ''.join(out)

def one(*command, **env):
    "A step that passes or fails as a whole."
    code, _ = run(*command, **env)
    return int(code==0), int(code!=0)

def pytest(*args, **env):
    "A step of pytest; counts come from its XML report."
    with tempfile.TemporaryDirectory() as d:
        code, _ = run(sys.executable, '-m', 'pytest', '-q', f'--junitxml={d}/report.xml', *args, **env)
        try: suite = ET.parse(f'{d}/report.xml').getroot().find('testsuite')
        except (OSError, ET.ParseError): return 0, 1
    n, bad, skipped = (int(suite.get(k)) for k in ('tests', 'failures', 'skipped'))
    bad += int(suite.get('errors'))
    return n-bad-skipped, bad or int(code not in (0, 5))

def tree():
    "What git sees as new or changed, line by line; every step must leave it as it was."
    return set(subprocess.run(['git', 'status', '--porcelain', '-uall'], cwd=ROOT, capture_output=True, text=True).stdout.splitlines())

# pages of the site that are run for it: plots, tables, formulas, a live widget, two live screens, Chinese, a tutorial; the others are built without outputs
PAGES = ['index', 'guide/core', 'guide/show', 'guide/corpus', 'guide/mixture', 'guide/laws', 'guide/report', 'guide/studio', 'guide/look', 'guide/dashboard', 'guide/cli', 'ext/mixer_unimax', 'tutorials/mixing_studio']
SLOW = 'spam', 'reading', 'matching', 'translation', 'domain_text', 'dialogue' # tutorials that run with LLMBENCH_SLOW=1: half a minute each, like their three sisters

def skipped(docs):
    "File names of notebooks that the step `notebooks` does not run, as a regular expression; docs: that step runs its pages itself."
    names = [] if os.environ.get('LLMBENCH_SLOW') else [*SLOW]
    if docs: names += [re.sub('^(?:ext|tutorials)/', '', p).replace('guide/', r'\d\d[a-z]?_') for p in PAGES]
    return f"^([_.]|({'|'.join(names)})[.]ipynb$)" if names else '^[_.]'

def notebooks(steps):
    code, out = run(BIN/'nbdev_test', '--n_workers', '2', '--do_print', '--skip_file_re', skipped('docs' in steps), OMP_NUM_THREADS='1')
    n = len(re.findall(r'^Starting ', out, re.M))
    bad = len(out.split('nbdev Tests Failed On The Following Notebooks:')[-1].split('=\n')[-1].split()) if 'nbdev Tests Failed' in out else int(code!=0)
    return n-bad, bad

def docs(steps):
    good, bad = one(sys.executable, 'docs/build.py', '--run', *PAGES)
    return good*(1+len(PAGES)), bad

# files of few but long tests come first, so that no process ends long after the other
LONG = 'batch distributed resume sweep scale tokens training models cli dashboard faults tasks project docs'.split()

def tests(steps):
    files = [f'tests/test_{n}.py' for n in LONG]
    files += sorted(str(p.relative_to(ROOT)) for p in (ROOT/'tests').glob('test_*.py') if p.stem not in {f'test_{n}' for n in LONG})
    return pytest('-n', '2', '--dist', 'loadfile', '--no-loadscope-reorder', '--durations=25', *files, LLMBENCH_DOCS='_docs')

def main_job(steps):
    "`make demo QUICK=1` into a folder of its own: in time, and with a report that can be read."
    with tempfile.TemporaryDirectory() as d:
        start = time.time()
        code, _ = run('make', '--no-print-directory', 'demo', 'QUICK=1', f'OUT={d}/demo', f'VENV={os.path.relpath(BIN.parent, ROOT)}')
        seconds, reports = time.time()-start, sorted(Path(d).rglob('report.json'))
        if code or not reports: print(f'main job: exit code {code}, {len(reports)} report.json under its folder'); return 0, 1
        report = json.loads(reports[0].read_text(encoding='utf-8'))
        print(f'main job: {seconds:.0f} s of {QUICK_SECONDS} allowed; report.json holds {", ".join(sorted(report))}')
        return (1, 0) if seconds<QUICK_SECONDS and {'summary', 'digest'}<=report.keys() else (0, 1)

# each is told the names of all that are asked for, and gives (passed, failed)
STEPS = {f.__name__: f for f in (notebooks, docs, tests, main_job)}

if __name__=='__main__':
    unknown = set(sys.argv[1:])-set(STEPS)
    if unknown: sys.exit(f"no step called {', '.join(sorted(unknown))}; there are: {', '.join(STEPS)}")
    passed, failed, lines, start = 0, 0, [], time.time()
    chosen = [s for s in STEPS if s in (sys.argv[1:] or STEPS)]
    for name in chosen:
        print(f'\n== {name}', flush=True)
        t, before = time.time(), tree()
        good, bad = STEPS[name](chosen)
        if left := sorted(tree()-before): print(f'{name} left these in the tree:', *left, sep='\n  '); bad += 1
        passed, failed = passed+good, failed+bad
        lines.append(f'{name:10} {good:5} passed {bad:5} failed {time.time()-t:7.1f} s')
    print('\n'.join(['', *lines, f"{'all':10} {'':26} {time.time()-start:7.1f} s"]))
    print(f'{passed} passed, {failed} failed', flush=True)
    sys.exit(failed>0)
