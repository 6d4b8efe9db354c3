"""Reports: real scored rows from folders, agreement with other ways to the same numbers, hostile names, a telephone, bad input."""
import math, re, shutil, subprocess, time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from llmbench.core import rng
from llmbench.metrics import metrics, ratio
from llmbench.report import Report
from llmbench.scored import Scored, scored_rows
from llmbench.shares import mcnemar_p, tango
from llmbench.statistics import Ranks, RowStats, adjust, boot, draw_counts, paired_differences, pulls
from llmbench.tables import latex_table, markdown_table, tex

# --- real scored rows: three classifiers of texts of this Python installation, each with other rows to learn from

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Runs as folders: naive Bayes and a linear model on words, two seeds each (other halves of the training rows), one task."
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from llmbench.readers import python_text
    text = python_text(megabytes=.05).pandas('text', 'source')
    rows = pd.DataFrame([dict(text=t[i:i+200], label=s) for t,s in zip(text.text, text.source) for i in range(0, min(len(t), 3000), 200)]).sample(frac=1, random_state=0).reset_index(drop=True)[:900]
    x, y = HashingVectorizer(n_features=2**12, alternate_sign=False).transform(rows.text), rows.label.to_numpy()
    held, top = np.arange(len(rows))<400, tmp_path_factory.mktemp('runs')
    for name,make in dict(bayes=MultinomialNB, linear=lambda: LogisticRegression(max_iter=200)).items():
        for seed in range(2):
            train = np.flatnonzero(~held)[rng('half', seed).random((~held).sum())<.6]
            model = make().fit(x[train], y[train])
            p = model.predict_proba(x[held])
            frame = pd.DataFrame(dict(row=[f'r{i}' for i in np.flatnonzero(held)], source=['long' if len(t)>150 else 'short' for t in rows.text[held]], chars=rows.text[held].str.len(), answer=model.classes_[p.argmax(1)], target=y[held],
                                      probabilities=[dict(zip(model.classes_, map(float, q))) for q in p]))
            measures = {'accuracy': dict(metric='accuracy'), 'f1_macro': dict(metric='f1_macro', labels=sorted(set(y))), 'roc_auc': dict(metric='roc_auc', labels=sorted(set(y)))}
            scored_rows(frame, measures, 'classification', dict(task='kinds of text', fingerprint='x', seconds=1.)).save(top/f'{name}{seed}'/'evals'/'kinds of text')
    return top

@pytest.fixture(scope='module')
def report(folder): return Report({n: [folder/f'{n}{s}' for s in range(2)] for n in ('bayes', 'linear')}, draws=2000)

def test_values_are_those_of_the_scored_rows(folder, report):
    t = report.table().set_index(['run', 'metric', 'group'])
    for name in ('bayes', 'linear'):
        held = [Scored.open(folder/f'{name}{s}'/'evals'/'kinds of text') for s in range(2)]
        for m in ('accuracy', 'f1_macro', 'roc_auc'):
            assert math.isclose(t.value[name, m, 'all'], np.mean([float(h.value(m)) for h in held]), rel_tol=1e-9)
            assert t.lo[name, m, 'all']<t.value[name, m, 'all']<t.hi[name, m, 'all'] and t.seeds[name, m, 'all']==2 and t.rows[name, m, 'all']==400
    long = (held[0].frame.source=='long').to_numpy()
    assert math.isclose(t.value['linear', 'accuracy', 'long'], np.mean([h.frame.accuracy[long].mean() for h in held]))

def test_same_numbers_again_and_with_any_number_of_threads(folder):
    runs = {n: folder/f'{n}0' for n in ('bayes', 'linear')}
    a, b = Report(runs, metrics=['accuracy', 'f1_macro'], draws=1000), Report(runs, metrics=['accuracy', 'f1_macro'], draws=1000)
    pd.testing.assert_frame_equal(a.table(), b.table())
    pd.testing.assert_frame_equal(a.compare(), b.compare())
    assert (draw_counts(64, 31, 'x')==np.concatenate([draw_counts(7, 31, 'x'), draw_counts(57, 31, 'x', first=7)])).all()

def test_regressions_have_both_answers(report):
    t = report.regressions('linear', 'bayes', metric='accuracy')
    broken, fixed = (t.change=='broken'), (t.change=='fixed')
    assert broken.any() and fixed.any() and (t[broken]['answer of linear']!=t[broken].target).mean()>.5
    c = report.compare('linear', 'bayes', groups=['all']).set_index('metric')
    assert c.wins['accuracy']==fixed.sum() and c.losses['accuracy']==broken.sum() and len(t)==400

def test_slices_of_real_rows(report):
    s = report.slices('bayes', ['source', 'target', 'chars'], metric='accuracy', least=10)
    p = report.parts['kinds of text']
    for r in s.itertuples():
        if r.slice.startswith('target = '): assert math.isclose(r.value, p.stats['accuracy']['bayes'][:, (p.frame.target==r.slice[9:]).to_numpy()].mean())
    assert s.p.between(0, 1).all() and len(report.slices('bayes', 'source', metric='roc_auc', least=10))==2

# --- other ways to the same numbers

def test_intervals_agree_with_scipy():
    from scipy.stats import bootstrap
    g = rng('scipy')
    size = g.lognormal(6, .5, 300)
    x = np.stack([size*g.normal(2, .4, 300), size], 1)
    lo, hi = boot([RowStats(x[None, None], metrics['bits_per_byte'].of)], 10_000, 's')[0].interval()
    peer = bootstrap((x[:, 0], x[:, 1]), lambda a, b, axis: a.sum(axis)/b.sum(axis), paired=True, vectorized=True, n_resamples=10_000, method='percentile', rng=np.random.default_rng(1)).confidence_interval
    assert abs(lo[0]-peer.low)<.1*(peer.high-peer.low) and abs(hi[0]-peer.high)<.1*(peer.high-peer.low)

def test_paired_accuracies_against_a_published_example_and_every_table():
    "Fagerland, Lydersen and Laake 2014 on 21 patients (1 one way, 7 the other): exact unconditional p .0353, Tango's interval -.517 to -.026."
    from scipy.stats import binom
    lo, hi = tango([1], [7], 21)
    assert abs(mcnemar_p(1, 7, 21)-.0353)<5e-5 and abs(lo[0]+.517)<.001 and abs(hi[0]+.026)<.001
    n = 12
    u, v = np.array([(u, v) for u in range(n+1) for v in range(n+1-u)]).T
    p, chance = np.array([mcnemar_p(*uv, n) for uv in zip(u, v)]), binom.pmf(u+v, n, np.linspace(.01, 1, 60)[:, None])*binom.pmf(u, u+v, .5)
    for level in (.01, .05, .2): assert (chance@(p<=level)).max()<=level+1e-9                        # whatever the share of differing rows
    lo, hi = tango(u, v, n)
    assert (((lo>0)|(hi<0))==(p<=.05)).all()

def test_paired_test_of_means_is_fishers():
    g = rng('fisher')
    x = g.normal(.4, 1, (6, 1, 11, 1))
    d = paired_differences([RowStats(x)], [RowStats(np.zeros((1, 1, 11, 1)))], 4000)[0]                     # 2,048 ways: each once
    signs = 1.-2*((np.arange(2**11)[:, None]>>np.arange(11))&1)
    for i in range(6):
        swapped, seen = np.abs(signs@x[i, 0, :, 0]), abs(x[i].sum())
        exact = ((swapped>seen+1e-9).sum()+(np.abs(swapped-seen)<=1e-9).sum()/2)/2**11
        assert abs(d.p[i]-exact)<2/2**11, (d.p[i], exact)
        lo, hi = d.interval()
        for delta,inside in ((lo[i]+.05, True), (lo[i]-.05, False), (hi[i]-.05, True), (hi[i]+.05, False)):   # what the interval holds is not refused, what it leaves out is
            y = x[i, 0, :, 0]-delta
            assert ((np.abs(signs@y)>=abs(y.sum())-1e-9).mean()>.05)==inside, (i, delta)

@pytest.mark.parametrize('metric, seeds', [('f1', 1), ('f1', 3), ('bits_per_byte', 1), ('accuracy', 1), ('accuracy', 2)])
def test_the_interval_leaves_zero_out_just_when_the_test_says_so(metric, seeds):
    g, runs = rng('agree', metric, seeds), {}
    base = g.random((1, 60, 3))
    for r in range(12):
        def frame():
            x = base[0]+g.normal(0, .15, (60, 3))-(.03*r if r else 0)
            size = 100+200*base[0][:, 0].round(2)
            columns = dict(f1={'f1.tp': x[:, 0]>.5, 'f1.fp': x[:, 1]>.8, 'f1.fn': x[:, 0]<=.3}, bits_per_byte={'bits_per_byte.bits': size*(2+x[:, 1]), 'bits_per_byte.bytes': size}, accuracy=dict(accuracy=x[:, 0]>.4))[metric]
            return type('S', (), dict(frame=pd.DataFrame(dict(row=[f'r{i}' for i in range(60)], source='s')|{k: v.astype(float) for k,v in columns.items()}), meta=dict(task='t', metrics={metric: dict(columns=[c.split('.')[1] for c in columns if '.' in c])})))()
        runs[f'run{r}'] = [frame() for _ in range(seeds)]
    for level in (.95, .9):
        t = Report(runs, draws=1000, level=level).compare()
        out = (t.lo>0)|(t.hi<0)
        assert (out==(t.p<=1-level)).all() and 0<out.sum()<len(t)
        alone = t[out&~t.sure]
        assert alone.words.str.contains('within noise among 11 comparisons').all() and not t[~out].words.str.contains('among').any()

def test_groups_of_few_and_of_many_rows_are_joined_in_a_target():
    g = rng('joined')
    make = lambda up: type('S', (), dict(frame=pd.DataFrame(dict(row=[f'r{i}' for i in range(90)], source=['few']*6+['many']*84, m=g.normal(up, 1, 90))), meta=dict(task='t', metrics=dict(m=dict(columns=[])))))()
    t = Report({'a': make(0), 'b': make(1)}, draws=2000, target=dict(few=.1, many=.9)).compare().set_index('group')
    assert t.p['target']<.01 and t.lo['target']>0 and np.isfinite(t.lo['few']) and t.rows['target']==90

def test_documents_agree_with_the_formula_of_a_ratio():
    from scipy.stats import t as student
    rows = []
    for c,gain in (('a', 0), ('b', .03)):
        for seed in range(3):
            g = rng('ratio', c, seed)
            size = rng('size').lognormal(7, .6, 150).round()
            bpb = 2.5-gain+g.normal(0, .01)+g.normal(0, .05, 150)+rng('hard').normal(0, .3, 150)
            rows.append(pd.DataFrame(dict(candidate=c, seed=seed, source='web', doc=range(150), nll=bpb*size*math.log(2), bytes=size)))
    rows = pd.concat(rows)
    c = Report(rows).compare('b', 'a', groups=['target']).iloc[0]
    wide = lambda n: rows[rows.candidate==n].pivot(index='doc', columns='seed', values='nll').T.to_numpy()/math.log(2)
    d, size = wide('b')-wide('a'), rows.bytes[:150].to_numpy()
    value, of_rows = ratio(d.mean(0), size)                                 # documents: the residuals of a ratio; seeds: their spread; together with Welch and Satterthwaite's degrees of freedom
    parts = [(of_rows, len(size)-1), (np.std(d.sum(1)/size.sum(), ddof=1)/math.sqrt(len(d)), len(d)-1)]
    var = sum(se**2 for se,_ in parts)
    half = student.ppf(.975, var**2/sum(se**4/df for se,df in parts))*math.sqrt(var)
    assert math.isclose(c.difference, value, rel_tol=1e-9) and .4<(c.hi-c.lo)/(2*half)<1.3                                # seeds of both runs together: more degrees of freedom

def test_pulls_and_corrections_against_libraries():
    from scipy.stats import false_discovery_control
    p = rng('p').random(40)**3
    assert np.allclose(adjust(p, 'bh'), false_discovery_control(p)) and (adjust(p)>=adjust(p, 'bh')-1e-12).all() and adjust([.5])[0]==.5
    x = rng('x').random((1, 1, 60, 1))
    assert math.isclose((pulls(x[0, 0])**2).sum(), x.var(ddof=1)/60)

@pytest.mark.parametrize('seeds', [1, 2])
def test_one_large_effect_is_found_among_a_thousand_comparisons(seeds):
    g, of = rng('thousand', seeds), metrics['bits_per_byte'].of
    size = np.broadcast_to(g.lognormal(7, .5, (1, 1, 60)), (400, seeds, 60))
    bits = lambda runs: np.stack([size[:runs]*g.normal(2.5, .2, (runs, seeds, 60)), size[:runs]], -1)
    a, b = bits(400), bits(1)
    a[7, ..., 0] *= .7
    d = paired_differences([RowStats(a, of)], [RowStats(b, of)], 500)[0]
    if seeds>1: d = d.pooled()
    p = adjust(np.append(d.p, np.linspace(.2, 1, 600)))                                                     # 500 draws alone: not below .002, times 1,000
    assert p[7]<.01 and (np.delete(p, 7)>.05).all()

def test_a_test_of_few_rows_or_of_ranks_goes_no_further_than_it_can():
    x = rng('few rows').normal(5, 1, (1, 1, 11, 1))
    assert paired_differences([RowStats(x)], [RowStats(0*x)], 4000)[0].p[0]==2.**-11                          # each way once: nothing beyond
    assert 2.**-16<=paired_differences([RowStats(np.ones((1, 1, 16, 1))*3)], [RowStats(np.zeros((1, 1, 16, 1)))], 500)[0].p[0]<1e-4
    y, of = np.arange(300)%2, metrics['roc_auc'].of
    scored = lambda skill: RowStats(np.stack([-(s := rng('auc', skill).normal(0, 1, 300)+skill*y), s, y], -1)[None, None], of, True)
    assert paired_differences([scored(2.)], [scored(0.)], 500)[0].p[0]<1e-5

def test_stretched_ranks_go_on_beyond_the_draws():
    "Few rows: an interval that was lost beyond the draws left zero out, and so made a p of 0.002 from a 95% interval that holds zero."
    r = Ranks(rng('stretched').normal(1, .3, 500), 1., beyond=.02)
    shares = np.geomspace(.6/r.n, .4, 20)
    values = np.array([r.at(s) for s in shares])
    assert r.stretch>1.3 and (np.diff(values)>0).all() and np.allclose([r.of(v) for v in values], shares, rtol=.4) # half a draw, where the draws end
    assert np.allclose([r.of(v) for v in values[values<r.values[0]]], shares[values<r.values[0]])
    assert values[0]<r.values[0] and math.isclose(r.of(r.at(1-shares[0])), 1-shares[0]) and math.isnan(r.at(.1/r.n)) and r.of(-99)==.5/r.n

@pytest.mark.parametrize('metric', ['bleu', 'f1_macro', 'bits_per_byte'])
def test_draws_are_those_of_whole_counts(metric):
    "Rare counts: in many draws BLEU has no match of four words, macro-F1 no row of a class."
    g, of = rng('rare', metric), metrics[metric].of
    words = g.integers(8, 30, (2, 60))
    x = dict(bleu=np.stack([words, words+1, *(words//k for k in (2, 4, 8)), g.random((2, 60))<.02, *(words-k for k in range(4))], -1), f1_macro=(g.random((2, 60, 9))<[.7, .4, .02]*3), bits_per_byte=np.stack([words*g.normal(2, .1, (2, 60)), words], -1))[metric].astype(float)
    rows, signs = draw_counts(400, 60, 'r').astype(float), draw_counts(400, 60, 'r', kind='signs').astype(float)
    stats = [RowStats(v[None, None], of) for v in x]
    with np.errstate(all='ignore'):
        same = lambda found, exact: np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)
        same(boot(stats[:1], 400, 'r')[0].draws[0], of(rows@x[0]))
        d = paired_differences(stats[:1], stats[1:], 400, 'r')[0]
        same(d.draws[0], of((1+signs)@x[0])-of((1+signs)@x[1]))
        mean, gap = x.mean(0).sum(0), signs@(x[0]-x[1])/2
        same(d.swaps[0], of(mean+gap)-of(mean-gap))

def test_level_and_coverage():
    "A cheap look; benchmarks/reports.py looks closely."
    g = rng('level')
    a = (g.random((1200, 1, 150))<.8)[..., None].astype(float)
    b = np.where(g.random(a.shape)<.5, a, g.random(a.shape)<.8)
    assert .03<(paired_differences([RowStats(a)], [RowStats(b)], 1000)[0].p<=.05).mean()<.07
    lo, hi = boot([RowStats(a)], 200)[0].interval()
    assert .93<((lo<=.8)&(hi>=.8)).mean()<.97
    size = g.lognormal(7, .8, (1200, 1, 80))
    lo, hi = boot([RowStats(np.stack([size*g.normal(2.5, .5, size.shape), size], -1), metrics['bits_per_byte'].of)], 1000)[0].interval()
    assert .925<((lo<=2.5)&(hi>=2.5)).mean()<.975

def test_many_rows_cost_little():
    x = rng('many').random((2, 1, 200_000, 1))
    start = time.process_time()
    d = boot([RowStats(x)], 2000, 'many')[0]
    assert time.process_time()-start<15 and np.allclose(d.interval()[1]-d.interval()[0], 2*1.96*(x.std(2)/200_000**.5).ravel(), rtol=.15)

# --- hostile names, and where reports are read

EVIL = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=2">|_%&#$\\{情感}~^\n'

def evil():
    g, runs = rng('evil'), {}
    rows = pd.DataFrame(dict(row=[f'{EVIL}{i}' for i in range(80)], source=[EVIL, 'b']*40, length=g.integers(1, 90, 80), label=[EVIL+'x', 'y', 'z', 'w']*20, target=EVIL))
    for k in range(7): runs[f'{EVIL}{k}'] = type('S', (), dict(frame=rows.assign(answer=EVIL, accuracy=(g.random(80)<np.where(rows.source=='b', .9, .3)).astype(float)), meta=dict(task=EVIL, metrics=dict(accuracy=dict(columns=[])), overlap=dict(rows=3, share=3/80))))()
    return Report(runs, draws=400, by=('source', 'label'))

def test_page_on_a_telephone_offline_and_nothing_of_the_data_runs(browser, tmp_path):
    evil().save(tmp_path, title='Which? '+EVIL)
    assert {p.name for p in tmp_path.iterdir()}=={'report.html', 'report.md', 'report.tex', 'report.json', 'table.parquet'}
    for width in (390, 1200):
        page = browser.new_page(viewport=dict(width=width, height=800), color_scheme='dark' if width<500 else 'light')
        asked, failed = [], []
        page.on('request', lambda r: asked.append(r.url)); page.on('pageerror', lambda e: failed.append(str(e)))
        page.goto((tmp_path/'report.html').as_uri())
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length>=2")
        assert [u for u in asked if not u.startswith(('file:', 'data:', 'blob:'))]==[] and len([u for u in asked if u.startswith('file:')])==1 and not failed
        assert page.evaluate('window.hacked')is None and page.evaluate('document.documentElement.scrollWidth')<=width
        assert page.evaluate("[...document.querySelectorAll('.js-plotly-plot')].every(f=>f.getBoundingClientRect().right<=innerWidth)")
        if width<500:                                                          # pictures and links of every page follow the screen
            assert 'invert' in page.evaluate("getComputedStyle(document.querySelector('.fig')).filter") and page.evaluate("document.querySelector('.fig').ariaLabel").startswith('accuracy')
            assert page.evaluate("document.querySelector('main').appendChild(Object.assign(document.createElement('a'), {href: 'x'})) && getComputedStyle(document.querySelector('main>a')).color")=='rgb(110, 163, 255)'
        assert '情感' in page.inner_text('main') and 'training data' in page.inner_text('main')
        page.close()

@given(st.lists(st.text(max_size=30), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_any_text_stays_in_its_cell(texts):
    df = pd.DataFrame(dict(name=texts, v=[1.5]*len(texts)))
    assert len(markdown_table(df).split('\n'))==2+len(texts) and all(len(re.findall(r'(?<!\\)(?:\\\\)*\|', l))==3 for l in markdown_table(df).split('\n'))
    for t in texts:
        bare = re.sub(r'\{[\[\]*]\}|\\(?:[{}$&#_%]|text\w+\{\}|\w+\{\})|\$\\\w+\$|\$-\$', '', tex(t))
        assert not re.search(r'[\\{}$&#^_%~<>|"\n]', bare), (t, tex(t))
    assert latex_table(df).count('\\\\\n')==1+len(texts)

@pytest.mark.skipif(not any(map(shutil.which, ('xelatex', 'pdflatex', 'tectonic'))), reason='no LaTeX here')
def test_latex_compiles(tmp_path):
    df = pd.DataFrame(dict(run=[EVIL.replace('情感', 'x'), 'a & b', '[x] [', '*'], value=[.5, 1e9, 2., 3.]))
    (tmp_path/'t.tex').write_text(latex_table(df, EVIL.replace('情感', 'x'), 'tab:x', document=True), encoding='utf-8')
    engine = next(filter(None, map(shutil.which, ('pdflatex', 'xelatex', 'tectonic'))))
    done = subprocess.run([engine, *(['-interaction=nonstopmode', '-halt-on-error'] if 'tectonic' not in engine else []), 't.tex'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode==0 and (tmp_path/'t.pdf').exists(), done.stdout[-2000:]

# --- bad input

def toy(n=40, metric='accuracy', columns=(), **more):
    g = rng('toy', n)
    values = {f'{metric}.{c}' if c else metric: g.integers(0, 2, n).astype(float) for c in columns or ['']}
    return type('S', (), dict(frame=pd.DataFrame(dict(row=[f'r{i}' for i in range(n)], source='s')|values|more), meta=dict(task='t', metrics={metric: dict(columns=list(columns))})))()

@pytest.mark.parametrize('runs, kw, error, words', [
    ({'a': toy(), 'b': toy(39)}, {}, ValueError, "1 are missing ('r39')"),
    ({'a': toy()}, dict(metrics=['acuracy']), LookupError, "Did you mean 'accuracy'"),
    ({'a': toy(metric='my_metric', columns=('x', 'y'))}, {}, LookupError, 'need the function that makes a value of their sums'),
    ({'a': toy(0)}, {}, ValueError, 'no rows'), ({}, {}, ValueError, 'no runs'),
    ({'a': toy(length=range(40))}, dict(by='lenght'), LookupError, "no column called 'lenght'. Did you mean 'length'"),
    ({'a': toy(accuracy=float('nan'))}, {}, ValueError, "40 of 40 rows have a 'accuracy' that is not finite; the first is row 'r0'"),
    ({'a': toy(row='same')}, {}, ValueError, "row 'same' is there twice"),
    ({'a': toy()}, dict(level=95), ValueError, 'between 0 and 1'), ({'a': toy()}, dict(target={'x': 1.}), ValueError, "the target weighs ['x']"),
    ({'a': toy(metric='f1_macro', columns=('tp:x', 'fp:x', 'fn:x')), 'b': toy(metric='f1_macro', columns=('tp:x', 'tp:y', 'fp:x', 'fp:y', 'fn:x', 'fn:y'))}, {}, ValueError, 'labels')])
def test_bad_input(runs, kw, error, words):
    with pytest.raises(error) as e: Report(runs, **kw)
    assert words in str(e.value)

def test_groups_by_numbers_and_by_texts():
    r = Report({'a': toy(90, length=range(90), text=[f'text {i}' for i in range(90)])}, by=('source', 'length', 'text'), draws=100)
    assert r.table().group.tolist()[1:]==['length from 0 to 22.25', 'length from 22.25 to 44.5', 'length from 44.5 to 66.75', 'length from 66.75 to 89'] and "no groups by 'text', which has 90 values" in ' '.join(r.notes())

def test_a_folder_without_scores_says_how_to_make_them(tmp_path):
    with pytest.raises(FileNotFoundError, match='evaluate'): Report({'a': tmp_path})

def test_rows_in_another_order_are_the_same_rows():
    a, b = toy(), toy()
    b.frame = b.frame.sample(frac=1, random_state=1)
    c = Report({'a': a, 'b': b}, draws=300).compare()
    assert c.difference[0]==0 and c.words[0]=='the same on every row' and c.p[0]==1

def test_one_row_no_class_and_an_unregistered_metric_are_said():
    one = Report({'a': toy(1)}, draws=100).table()
    assert one.note[0]=='one row: no interval' and one.lo.isna()[0]
    empty = toy(30, 'f1', ('tp', 'fp', 'fn'))
    empty.frame[['f1.tp', 'f1.fp', 'f1.fn']] = 0.
    t = Report({'a': empty, 'b': empty}, draws=100)
    assert math.isnan(t.table().value[0]) and t.table().note[0]=='no value: a class is empty' and 'no value' in t.compare().words[0] and 'empty' in ' '.join(t.notes())
    assert Report({'a': toy(60, 'helpfulness')}, draws=100).table().value[0]==toy(60, 'helpfulness').frame.helpfulness.mean()
