"""Faults at random moments in executed notebooks: after how many of them the status is right, nothing that was finished is lost, and going on gives what an uninterrupted run gives.

The faults are those of tests/test_faults.py, made for real and by turns: signals to the run, its kernel and both, cells that fail or want too much memory, a full disk, a machine that goes away.
LLMBENCH_FAULTS sets how many; they are drawn by number, so that any of them can be made again: LLMBENCH_FAULTS=200 pytest 'tests/test_faults.py::test_fault[17]'."""
import os, re, subprocess, sys, tempfile
from collections import Counter
from pathlib import Path

from common import Row, finish, options

ROOT, AT_ONCE = Path(__file__).resolve().parent.parent, 3

def strike(n, tally):
    "Make n faults, so many at once; what pytest said."
    env = {**os.environ, 'LLMBENCH_FAULTS': str(n), 'LLMBENCH_TALLY': str(tally), 'OMP_NUM_THREADS': '1', 'PYTEST_ADDOPTS': ''}
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-n', str(AT_ONCE), '--dist', 'worksteal', '--tb', 'short', 'tests/test_faults.py'], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode: print(done.stdout[-6000:], done.stderr[-2000:], sep='\n', file=sys.stderr)
    return done.stdout

def rows_of(n, told, said):
    "A row for all, and one a kind of fault with how it ended."
    from llmbench.store import read_jsonl
    from test_faults import KINDS
    asked, right = Counter(' '.join(KINDS[i%len(KINDS)]) for i in range(n)), read_jsonl(told)
    skipped = int((re.search(r'(\d+) skipped', said) or [0, 0])[1])
    yield Row(f'faults after which all was right, of {n}'+(f' ({skipped} could not be made here)' if skipped else ''), len(right), 'faults', bar=n-skipped, better='higher')
    yield Row('of them gone on with, to the result of an uninterrupted run', sum(r['resumed'] for r in right), 'faults')
    for kind,count in sorted(asked.items()):
        ends = Counter(r['status'] for r in right if r['kind']==kind)
        yield Row(f"  {kind}, of {count}: {', '.join(f'{v} {k}' for k,v in ends.most_common())}", sum(ends.values()), 'faults')

if __name__=='__main__':
    sys.path.insert(0, str(ROOT/'tests'))
    o = options(__doc__)
    n = int(os.environ.get('LLMBENCH_FAULTS') or (11 if o.quick else 200))
    with tempfile.TemporaryDirectory() as tmp:
        told = Path(tmp)/'tally.jsonl'
        told.touch()
        said = strike(n, told)
        finish(list(rows_of(n, told, said)), o)
