"""Instruction tuning on packed conversations: useful tokens a second and tokens kept, beside TRL's SFTTrainer.

The same model (Llama, 6 layers x 256, vocabulary 8,192), rows, window, batch, optimiser and precision (fp32) in one process; the
loss counts the same tokens (answers only). A token is useful if it is not padding. Both sides train for the same few steps, turn by
turn, and the first step of each turn is not timed. CPU seconds are given beside wall time: other programs do not lengthen them."""
import ast, copy, statistics, sys, tempfile, time, warnings
from pathlib import Path

from common import Row, finish, optional, options

WINDOW, VOCAB, ROWS = 256, 8192, 500

def questions(n):
    "Question and answer rows from the docstrings of Python's standard library, in the order of its files."
    made, root = [], Path(ast.__file__).parent
    for path in sorted([*root.glob('*.py'), *root.glob('*/*.py')]):
        if 'site-packages' in path.parts or 'test' in path.parts: continue
        try: tree = ast.parse(path.read_text(encoding='utf-8'))
        except (SyntaxError, UnicodeDecodeError): continue          # a few files of the library are broken on purpose
        for node in ast.walk(tree):
            doc = ast.get_docstring(node) if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else None
            if doc and len(doc)>150:
                what = 'class' if isinstance(node, ast.ClassDef) else f'function with the arguments ({ast.unparse(node.args)})'
                made.append(dict(messages=[dict(role='user', content=f'In the module {path.stem} there is {node.name}, a {what}. What is it for?'), dict(role='assistant', content=doc)]))
    step = len(made)/n
    return [made[int(i*step)] for i in range(n)]

def tokenizer_of(rows):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from llmbench.chat import with_template
    from llmbench.models import load_tokenizer
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.train_from_iterator((m['content'] for r in rows for m in r['messages']), trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=['<|endoftext|>', '<|pad|>'], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return with_template(load_tokenizer(t))

def llama():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, hidden_size=256, intermediate_size=688, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=4,
                                        max_position_embeddings=2048, tie_word_embeddings=True, use_cache=False, bos_token_id=0, eos_token_id=0))

class Turn:
    "Useful tokens, wall and CPU seconds of the steps of one turn, without its first."
    def __init__(self): self.steps = []
    def begin(self): self.wall, self.cpu, self.tokens = time.perf_counter(), time.process_time(), 0
    def end(self): self.steps.append((self.tokens, time.perf_counter()-self.wall, time.process_time()-self.cpu))
    def rates(self):
        tokens, wall, cpu = map(sum, zip(*self.steps[1:]))
        return tokens/wall, tokens/cpu

def ours(model, rows, tokenizer, batch, steps):
    "A function that trains for one turn, and the share of answer tokens kept."
    from llmbench.features import RowBatches
    from llmbench.learner import Learner
    from llmbench.recipe import Recipe
    recipe = Recipe(weights={'rows': 1.}, tokens=batch*WINDOW*steps, size=6, vocab=VOCAB, window=WINDOW, batch=batch, lr=1e-4, objective='instruct')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        batches = RowBatches(rows, 'instruct', recipe, tokenizer)
    def turn():
        t = Turn()
        class Clock:
            def before_step(self, learner): t.begin()
            def after_step(self, learner): t.tokens = sum(len(batches.features[i]['input_ids']) for i in batches.at(learner.step)); t.end()
        learner = Learner(model, batches, recipe, callbacks=[Clock()])
        learner.fit()
        return t.rates()
    return turn, sum(x!=-100 for f in batches.features for x in f['labels']), sum(len(f['input_ids']) for f in batches.features)/(len(batches)*WINDOW)

def trl(model, rows, tokenizer, batch, steps, folder, parts=1, **kw):
    "The same for SFTTrainer; `parts` computes the batch in so many parts."
    from datasets import Dataset, disable_progress_bars
    from transformers import TrainerCallback
    from transformers.utils import logging
    from trl import SFTConfig, SFTTrainer
    logging.set_verbosity_error(); logging.disable_progress_bar(); disable_progress_bars()
    t = Turn()
    class Clock(TrainerCallback):
        def on_step_begin(self, *a, **k): t.begin()
        def on_step_end(self, *a, **k): t.end()
    class Counted(SFTTrainer):
        def training_step(self, model, inputs, *a, **k):
            t.tokens += int(inputs['attention_mask'].sum()) if 'attention_mask' in inputs else inputs['input_ids'].numel()
            return super().training_step(model, inputs, *a, **k)
    config = dict(output_dir=str(folder), per_device_train_batch_size=batch//parts, gradient_accumulation_steps=parts, max_steps=steps, max_length=WINDOW, bf16=False, fp16=False, use_cpu=True,
                  gradient_checkpointing=False, learning_rate=1e-4, assistant_only_loss=True, report_to='none', save_strategy='no', disable_tqdm=True, logging_strategy='no', dataloader_pin_memory=False)
    trainer = Counted(model, SFTConfig(**config|kw), train_dataset=Dataset.from_list(rows), processing_class=copy.deepcopy(tokenizer), callbacks=[Clock()])
    def turn():
        t.steps.clear()
        trainer.train()
        return t.rates()
    answers = sum(sum(x!=-100 for x in r) for r in trainer.train_dataset['labels'])
    return turn, answers

def main():
    o = options(__doc__)
    if not optional('trl'): sys.exit('this benchmark compares with trl: pip install llmbench[preference]')
    batch, steps, repeats = (8, 2, 3) if o.quick else (16, 3, 5)   # 8 is SFTTrainer's own
    rows = questions(ROWS)
    tokenizer, model, out = tokenizer_of(rows), llama(), []
    from llmbench.chat import conversations
    table = conversations(rows, tokenizer, WINDOW)[1]
    answers = int(table.answer.sum())
    print(f"{len(rows)} rows, {table.tokens.sum():,} tokens, {answers:,} of them answers; {int((table.tokens>WINDOW).sum())} rows are longer than the window of {WINDOW}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        turn, kept, fill = ours(copy.deepcopy(model), rows, tokenizer, batch, steps)
        turns, shares = {'ours': turn}, {'ours': kept/answers}
        modes = {'trl bfd': dict(packing=True, packing_strategy='bfd'), 'trl wrapped': dict(packing=True, packing_strategy='wrapped'), 'trl, no packing': dict(packing=False)}
        if not o.quick: modes |= {'trl bfd, batch in 4 parts': dict(packing=True, packing_strategy='bfd', parts=4), 'trl bfd, gradient checkpointing (its default)': dict(packing=True, packing_strategy='bfd', gradient_checkpointing=True)}
        for name, kw in modes.items():
            turns[name], kept = trl(copy.deepcopy(model), rows, tokenizer, batch, steps, folder, **kw)
            shares[name] = kept/answers
        rates = {name: [] for name in turns}
        for r in range(repeats):
            for name, turn in turns.items(): rates[name].append(turn())
            print(f'turn {r+1} of {repeats}: '+', '.join(f'{n} {v[-1][0]:,.0f}' for n,v in rates.items()), flush=True)
    wall, cpu = ({n: statistics.median(v[k] for v in r) for n,r in rates.items()} for k in (0, 1))
    out.append(Row('text in packed rows, ours', 100*fill, '%'))
    for name in list(turns)[1:]:
        ratio = [a[0]/b[0] for a,b in zip(rates['ours'], rates[name])]
        bar = dict(bar=2.) if name=='trl bfd' else {}
        out += [Row(f'useful tokens a second, wall: ours / {name}', statistics.median(ratio), 'x', **bar, low=min(ratio), high=max(ratio)),
                Row('useful tokens a CPU second', cpu['ours'], 'tokens/s', name, cpu[name]), Row('useful tokens a second', wall['ours'], 'tokens/s', name, wall[name])]
    out += [Row('answer tokens kept', 100*shares['ours'], '%', name, 100*shares[name], 100., 'higher') for name in list(turns)[1:]]
    finish(out, o)

if __name__=='__main__': main()
