"What the killed processes of test_tasks do: evaluate, and tell each forward pass."
import os
import time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS='1', TOKENIZERS_PARALLELISM='false')

KINDS = ('multiple_choice', 'language_modelling', 'generation', *(['tokens'] if os.environ.get('LLMBENCH_SLOW') else []))


def texts():
    from pydoc_data.topics import topics
    return [topics[k][:300] for k in sorted(topics)[:36]]


def tasks(home):
    "Tasks of 36 rows; the tokens lie beside the model."
    from llmbench.tasks import Task
    from llmbench.tokens import open_tokens
    docs = texts()
    options = dict(new=6, temperature=1.)
    return {'multiple_choice': Task('choices', kind='multiple_choice', rows=[dict(id=f'q{i}', question=d[:40], choices=[d[40:60], d[60:70], 'none'], answer=0) for i,d in enumerate(docs)], shots=1),
            'language_modelling': Task('texts', kind='language_modelling', rows=[dict(id=f'd{i}', text=d) for i,d in enumerate(docs)]),
            'generation': Task('says', kind='generation', rows=[dict(id=f't{i}', text=d[:30+i], target=d) for i,d in enumerate(docs)], metrics='chrf', options=options),
            **({'tokens': Task('tokens', open_tokens(Path(home).parent/'tokens'), window=32)} if 'tokens' in KINDS else {})}


def ask(kind, home, folder, pipe=None):
    "Evaluate one task in parts of four rows; with a pipe each forward pass is told, and takes a moment."
    import torch
    torch.set_num_threads(1)
    from llmbench.models import load_model, load_tokenizer
    from llmbench.tasks import evaluate
    model, tokenizer = load_model(home), load_tokenizer(home)
    if pipe is not None: model.register_forward_pre_hook(lambda *a: (pipe.send(1), time.sleep(.004))[0])
    return evaluate(model, tasks(home)[kind], Path(folder), tokenizer, part=4)
