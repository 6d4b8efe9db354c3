"What the processes of test_faults do: execute a small notebook, go on with it, or do both on a disk that is full."
import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ipykernel.kernelapp    # noqa: F401 (loaded once, in the process that the others are forked from)
import nbclient
import nbformat
import papermill              # noqa: F401

from llmbench.batch import RunFailed, run_notebook
from llmbench.index import true_status
from llmbench.replies import CODES
from llmbench.resume import resume
from llmbench.store import read_json, write_json

assert nbclient
KEEP = .2 # seconds from which a cell's result is kept

CELLS = ['''import json, random, time
from pathlib import Path
import numpy as np
from llmbench.core import plain
from llmbench.record import result, used
from llmbench.store import once, read_json, write_json
out = Path(out)''',
'''def make(folder):
    time.sleep(.15)
    (folder/'rows.json').write_text(json.dumps(plain(np.random.default_rng(seed).normal(size=n))))
    with open(out/'made.txt', 'a') as f: f.write('rows made\\n')
rows = read_json(used(once(out/'rows', dict(n=n, seed=seed), make)/'rows.json'))
result(rows=sum(rows))''',
'''if fail==1 and not (out/'repaired').exists(): raise ArithmeticError('cell that fails')
time.sleep(.25)
with open(out/'drawn.txt', 'a') as f: f.write('drawn\\n')
drawn = [random.random()+np.random.rand() for _ in range(n)]
result(drawn=sum(drawn))''',
'''step, state = 0, 0.
if (out/'checkpoint.json').exists(): step, state = read_json(out/'checkpoint.json')
while step<20:
    if fail==3 and step==12 and not (out/'repaired').exists(): bytearray(2**62)
    if fail==2 and step==12 and not (out/'repaired').exists(): raise ArithmeticError('cell that fails')
    state = state*.9+np.random.default_rng([seed, step]).normal()+rows[step%n]
    step += 1
    time.sleep(.02)
    if not step%5: write_json(out/'checkpoint.json', [step, state])
    (out/f'filler{step}').write_bytes(bytes(size))
result(state=state)''',
'''total = state+sum(drawn)+random.random()
result(total=total)
print(total)''']

def write_notebook(path, parameters="n:int = 50\nseed:int = 0\nfail:int = 0\nsize:int = 0\nout:str = ''", cells=CELLS):
    "The notebook: a step that `once` keeps, a cell that draws random numbers, a loop with checkpoints."
    from nbformat.v4 import new_code_cell, new_notebook
    cells = [new_code_cell(parameters, metadata={'tags': ['parameters']}), *map(new_code_cell, cells)]
    nbformat.write(new_notebook(cells=cells, metadata={'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}}), path)

def write_short_cells(path, n):
    "A notebook that counts to n, a cell a number."
    write_notebook(path, "out:str = ''", ["total = 0\nfrom llmbench.record import result\nopen(f'{out}/started', 'w').close()", *['total += 1']*n, 'result(total=total)'])

def write_saving_cell(path):
    "A notebook whose cell, when it is interrupted, takes a moment to save."
    write_notebook(path, "out:str = ''", ["import time\ntry:\n    open(f'{out}/started', 'w').close()\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    time.sleep(.7)\n    open(f'{out}/saved', 'w').close()\n    raise"])

def quiet(): sys.stderr = open(os.devnull, 'w')

def go(notebook, out, params):
    "Execute the notebook as `llmbench run` does, and end with its exit code."
    quiet()
    try: run_notebook(notebook, params, out, keep=KEEP)
    except RunFailed as e: sys.exit(CODES[e.record['status']])

def go_on(out):
    "As `llmbench resume`."
    quiet()
    try: resume(out, keep=KEEP)
    except RunFailed as e: sys.exit(CODES[e.record['status']])

def on_a_full_disk(notebook, told, params, megabytes, free):
    "Execute on a file system of its own with `free` bytes left, make room, go on; what happened is written to `told`."
    quiet()
    own_mounts()
    room = Path(tempfile.mkdtemp())
    subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={megabytes}m', 'none', str(room)], check=True)
    s = os.statvfs(room)
    (room/'filler').write_bytes(os.urandom(max(0, s.f_bavail*s.f_frsize-free)))
    out, error = room/'out', None
    try: run_notebook(notebook, params|dict(size=30_000), out, keep=KEEP)
    except RunFailed: pass
    except OSError as e: error = str(e)
    first = read_json(out/'run.json') if (out/'run.json').exists() else {}
    halves = [str(p) for p in room.rglob('*.part')]
    (room/'filler').unlink()
    if first: first['status'] = true_status(first, out)
    try: last = resume(out, keep=KEEP) if first else run_notebook(notebook, params|dict(size=30_000), out, keep=KEEP)
    except RunFailed as e: last = e.record
    write_json(told, dict(first={k: first.get(k) for k in ('status', 'cause', 'error', 'results')}, error=error, halves=halves, last={k: last.get(k) for k in ('status', 'error', 'results', 'restored')}))

def own_mounts():
    "A mount namespace of this process's own; exits with 77 where none can be had."
    libc, user, here = ctypes.CDLL(None, use_errno=True), os.getuid(), Path('/proc/self')
    if libc.unshare(0x00020000|(0x10000000 if user else 0)): sys.exit(77)
    if user:
        (here/'setgroups').write_text('deny')
        (here/'uid_map').write_text(f'0 {user} 1')
        (here/'gid_map').write_text(f'0 {os.getgid()} 1')
    if subprocess.run(['mount', '--make-rprivate', '/'], capture_output=True).returncode: sys.exit(77)
