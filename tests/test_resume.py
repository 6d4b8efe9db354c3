"""Training that is killed with SIGKILL, at any moment, ends with the bits of training that was not.

The processes are real. They are forked from a server that has loaded torch already, so that 20 of them cost seconds."""
import multiprocessing
import os
import random
import signal
import socket
import time

import pytest

from killed import recipe, run_one
from llmbench.run import Run
from llmbench.store import read_jsonl

LOADED = ['warm']
EVERY = 5 # steps between checkpoints


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def start_run(fork, kind, shards, folder, world=1):
    "All processes of a run, and the end of a pipe that tells the first one's steps."
    port, (here, there) = free_port(), multiprocessing.Pipe(duplex=False)
    ps = [fork(run_one, kind, shards, folder, EVERY, there if r==0 else None, r, world, port) for r in range(world)]
    there.close()
    return ps, here


def finish(fork, kind, shards, folder, world=1):
    ps, pipe = start_run(fork, kind, shards, folder, world)
    steps = []
    try:
        while True: steps.append(pipe.recv())
    except EOFError: pass
    for p in ps: p.join(120)
    assert [p.exitcode for p in ps]==[0]*world
    return steps


def kill_at(fork, kind, shards, folder, step, delay, world=1):
    "Kill all processes `delay` seconds after the first one told this step, or (None) while a checkpoint is being written; True if that left half of one."
    ps, pipe = start_run(fork, kind, shards, folder, world)
    seen = -1
    try:
        while seen<step: seen = pipe.recv()
    except EOFError: pass
    if delay is not None: time.sleep(delay)
    else:
        end = time.time()+20
        while not list((folder/'checkpoints').glob('.step*.part')) and any(p.is_alive() for p in ps) and time.time()<end: time.sleep(.0005)
    for p in ps: os.kill(p.pid, signal.SIGKILL) # one that has ended waits to be joined: its number is still its own
    for p in ps: p.join()
    pipe.close()
    return bool(list((folder/'checkpoints').glob('.step*.part')))


def evidence(folder):
    "(step, rank) -> the set of (rows, loss) that were seen there, over all processes."
    found = {}
    for path in folder.glob('evidence-*.jsonl'):
        for r in read_jsonl(path): found.setdefault((r['step'], r['rank']), set()).add((r['rows'], r['loss']))
    return found


@pytest.mark.parametrize('kind, kills, world', [('plain', 6, 1), ('adapter', 5, 1), ('packed', 4, 1), ('ranks', 5, 2)])
def test_20_kills(shards, fork, tmp_path, kind, kills, world):
    "Adafactor; AdaLoRA with accumulation; packed rows with accumulation; two processes (gloo). All with dropout, a moving average, and rows that threads read ahead."
    whole, cut = tmp_path/'whole', tmp_path/'cut'
    assert finish(fork, kind, shards, whole, world)==list(range(recipe(kind).steps))
    moments, torn, left = random.Random(kind), [], []
    for k in range(kills):
        step = -1 if k==1 else min(moments.randrange(int(recipe(kind).steps*k/kills), int(recipe(kind).steps*(k+1)/kills)), recipe(kind).steps-7) # not so late that it ends before the kill
        torn.append(kill_at(fork, kind, shards, cut, step, None if k%3==0 else moments.uniform(0, .05), world))
        left.append(max((int(p.name[4:]) for p in (cut/'checkpoints').glob('step*')), default=0)) # the newest whole checkpoint that this process left
        assert Run(cut).status=='dead'
    finish(fork, kind, shards, cut, world)
    a, b = Run(whole), Run(cut)
    assert b.status=='done' and a.record['digest']==b.record['digest']
    assert a.metrics().drop(columns='seconds').equals(b.metrics().drop(columns='seconds'))
    expected, seen = evidence(whole), evidence(cut)
    assert len(expected)==recipe(kind).steps*world and all(len(v)==1 for v in expected.values())
    assert seen==expected # also what was done twice was done alike: rows and losses
    assert any(torn) and not list(cut.rglob('.*.part')) # kills in the middle of a checkpoint happened, and were cleared away
    resumed = read_jsonl(cut/'resumed.jsonl')                # by all but those who found nothing, or were killed before they said so
    assert len(resumed)>=kills-2 and [r['step'] for r in resumed if r['step'] not in left]==[] and resumed[-1]['step']==left[-1]>0 and all(not r['changed'] for r in resumed)
