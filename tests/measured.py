"A run whose result depends on a file, a package, a seed and its code, and what can change beside it without a word: for test_batch and benchmarks/batch.py."
import contextlib
import os
import shutil
import sys
from pathlib import Path

from faulty import write_notebook

from llmbench.batch import run_notebook
from llmbench.record import verify

CELLS = ['import numpy as np, scale_of\nfrom llmbench.record import result, used', 'numbers = np.loadtxt(used(data))', 'noise = np.random.default_rng(seed).normal()']


class Measured:
    "The run, in `folder/run`, and its parts."
    def __init__(self, folder):
        self.folder = Path(folder)
        self.whole()
        run_notebook(self.notebook, dict(data=str(self.folder/'numbers.txt')), self.folder/'run', log=open(os.devnull, 'w'))

    @property
    def notebook(self): return self.folder/'m.ipynb'

    def cells(self, end='total', seed=0):
        write_notebook(self.notebook, f"data:str = ''\nseed:int = {seed}\nout:str = ''", [*CELLS, f'total = float(numbers.sum()*scale_of.SCALE+noise)\nresult(total={end})'])

    def package(self, version='1.0', value=2): # its name ends like that of a secret
        for old in self.folder.glob('site/*'): shutil.rmtree(old)
        (self.folder/'site'/'scale_of').mkdir(parents=True)
        (self.folder/'site'/'scale_of'/'__init__.py').write_text(f'SCALE = {value}\n')
        info = self.folder/'site'/f'scale_auth-{version}.dist-info'
        info.mkdir()
        (info/'METADATA').write_text(f'Metadata-Version: 2.1\nName: scale-auth\nVersion: {version}\n')

    def numbers(self, last='4.0'): (self.folder/'numbers.txt').write_text(f'1\n2\n3\n{last}\n')

    def whole(self):
        "As it was when the run was made."
        self.cells()
        self.package()
        self.numbers()

    def verify(self, change=None):
        "What a verification says after a change, which is taken back."
        if change: change(self)
        try: return verify(self.folder/'run', log=open(os.devnull, 'w'))
        finally: self.whole()


@contextlib.contextmanager
def measured(folder):
    "A run in a folder whose packages are seen by this process and by those it starts."
    site, before = str(Path(folder)/'site'), os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join([site, *([before] if before else [])])
    sys.path.insert(0, site)
    try: yield Measured(folder)
    finally:
        sys.path.remove(site)
        if before is None: del os.environ['PYTHONPATH']
        else: os.environ['PYTHONPATH'] = before


# what changes -> the kind under which it has to be found (alone), what is said of it, what the results are then, how it is done
CHANGES = dict(code=('code', r'code cell 5 changed: .*total\*2', 'different', lambda m: m.cells('total*2')),
               package=('packages', r'scale-auth: 1\.0 -> 2\.0', 'different', lambda m: m.package('2.0', 3)),
               data=('data', r'file \(file\): \w+ -> \w+', 'different', lambda m: m.numbers('5.0')),                       # a byte
               seed=('seed', r'its default is 1 now, it was 0', 'identical', lambda m: m.cells(seed=1)))


def others(found): return {k: v for k,v in found.changed.items() if k!='llmbench'} # the sources may be worked on meanwhile
