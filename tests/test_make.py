"What `make bench` and dev/test.py do around what they run."
import importlib.util
import re
import subprocess


def test_bench_goes_on_after_a_missed_bar(root, tmp_path):
    "Every benchmark is run and nothing else; the exit code is bad if one was."
    (tmp_path/'bin').mkdir()
    (tmp_path/'bin'/'python').write_text('#!/bin/sh\necho "ran $1"\ntest "$1" != benchmarks/batch.py\n')
    (tmp_path/'bin'/'python').chmod(0o755)
    (tmp_path/'.core').touch(), (tmp_path/'.dev').touch()
    done = subprocess.run(['make', '-C', str(root), '--no-print-directory', 'bench', f'VENV={tmp_path}'], capture_output=True, text=True)
    ran = re.findall(r'^ran benchmarks/(\w+)\.py$', done.stdout, re.M)
    measuring = sorted(p.stem for p in (root/'benchmarks').glob('*.py') if re.search(r'^ *finish\(|add_argument\(.--json', p.read_text(encoding='utf-8'), re.M) and p.stem!='common')
    assert done.returncode and sorted(ran)==measuring and done.stdout.endswith('failed, or missed a bar: batch\n'), done.stdout+done.stderr


def test_pages_of_the_site_are_run_once(root, monkeypatch):
    "By the step `docs` where it is asked for, else by `notebooks`."
    spec = importlib.util.spec_from_file_location('dev_test', root/'dev'/'test.py')
    steps = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(steps)
    left = lambda name, docs: bool(re.match(steps.skipped(docs), name))
    monkeypatch.delenv('LLMBENCH_SLOW', raising=False)
    assert left('04_show.ipynb', True) and not left('04_show.ipynb', False) and left('spam.ipynb', False)
    monkeypatch.setenv('LLMBENCH_SLOW', '1')
    assert left('mixer_unimax.ipynb', True) and not left('spam.ipynb', True) and left('_private.ipynb', False)
