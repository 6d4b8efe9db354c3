"""Shared by the benchmark scripts: options, the state of the machine, medians, one table of rows, JSON.

A script measures, collects `Row`s and ends with `finish(rows, options)`. Every number printed was measured in that run;
only the bars (what the number has to reach) are written down."""
import argparse, dataclasses, json, math, os, platform, statistics, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

@dataclasses.dataclass
class Row:
    "One measurement beside a peer's, and whether it reaches its bar."
    name:str             # what was measured
    ours:float
    unit:str             # 'rho x100', 'ms', 'M tokens/s', ...
    peer:str=''          # who was measured beside it; '' for none
    peer_value:float=None
    bar:float=None       # what `ours` has to reach; None: no bar
    better:str='higher'  # or 'lower'
    low:float=None       # interval of `ours`, if there is one
    high:float=None

    def __post_init__(self):
        if self.peer_value is not None and math.isnan(self.peer_value): self.peer_value = None   # the peer gave no answer

    @property
    def ratio(self): return self.ours/self.peer_value if self.peer_value else None
    @property
    def holds(self): return None if self.bar is None else bool(self.ours>=self.bar if self.better=='higher' else self.ours<=self.bar)

def options(about):
    "--quick and --json FILE; prints the machine first."
    p = argparse.ArgumentParser(description=about)
    p.add_argument('--quick', action='store_true', help='fewer repeats and the slow peers left out')
    p.add_argument('--json', type=Path, metavar='FILE', help='also write the rows as JSON')
    o = p.parse_args()
    print(about.splitlines()[0])
    o.machine = machine()
    print('machine: '+', '.join(f'{k} {v}' for k,v in o.machine.items()), flush=True)
    return o

def machine():
    "Where and under what load this runs: a busy machine makes every time longer."
    return dict(python=platform.python_version(), system=platform.platform(terse=True), cores=os.cpu_count(), load=' '.join(f'{l:.2f}' for l in os.getloadavg()))

def seconds(fn, repeats=7, warm=1):
    "Median wall time of `fn()` in seconds."
    for _ in range(warm): fn()
    times = []
    for _ in range(repeats):
        start = time.perf_counter(); fn(); times.append(time.perf_counter()-start)
    return statistics.median(times)

def optional(name):
    "A peer's module, or None with a word on how to install it."
    try: return __import__(name)
    except ImportError:
        print(f"{name} is not installed, so it is not measured")
        return None

def _text(v): return '' if v is None else ('yes' if v else 'NO') if isinstance(v, bool) else f'{v:.4g}' if isinstance(v, float) and abs(v)<100 else f'{v:,.4g}' if isinstance(v, float) else str(v)

def finish(rows, o):
    "Print the table, write the JSON; the exit status tells whether every bar was reached."
    head = ['name', 'ours', 'interval', 'peer', 'peer_value', 'ratio', 'unit', 'bar', 'holds']
    lines = [head, *([r.name, _text(float(r.ours)), '' if r.low is None else f'{_text(r.low)}..{_text(r.high)}', r.peer, _text(r.peer_value), _text(r.ratio), r.unit,
                      '' if r.bar is None else ('>= ' if r.better=='higher' else '<= ')+_text(float(r.bar)), _text(r.holds)] for r in rows)]
    width = [max(len(l[i]) for l in lines) for i in range(len(head))]
    print('\n'.join('  '.join(c.ljust(w) for c,w in zip(l, width)).rstrip() for l in lines))
    if o.json:
        clean = lambda r: {k: (float(v) if hasattr(v, 'dtype') else v) for k,v in {**dataclasses.asdict(r), 'ratio': r.ratio, 'holds': None if r.holds is None else bool(r.holds)}.items()}
        o.json.write_text(json.dumps(dict(machine=o.machine, quick=o.quick, rows=[clean(r) for r in rows]), indent=1)+'\n')
    missed = [r.name for r in rows if r.holds is not None and not r.holds]
    print(f"{len(missed)} of {sum(r.bar is not None for r in rows)} bars missed{': '+', '.join(missed) if missed else ''}")
    sys.exit(bool(missed))
