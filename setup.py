"Everything is in settings.ini; this file only hands it to setuptools."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=['='], interpolation=None)
parser.read(Path(__file__).parent/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']
listed = lambda key: cfg.get(key, '').split()
extras = {key.removesuffix('_requirements'): listed(key) for key in cfg if key.endswith('_requirements')}

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], author_email=cfg['author_email'], license='Apache-2.0',
    url=f"https://github.com/{cfg['user']}/{cfg['repo']}",
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    packages=[*find_packages(include=['llmbench', 'llmbench.*']), 'llmbench.runs', 'llmbench.regmix'], package_dir={'llmbench.runs': 'nbs/runs', 'llmbench.regmix': 'data/regmix'}, # the jobs and an example are installed too
    package_data={'llmbench': ['static/*'], 'llmbench.runs': ['*.ipynb'], 'llmbench.regmix': ['train_*.csv', 'LICENSE']},
    python_requires=f">={cfg['min_python']}", install_requires=listed('requirements'), extras_require=extras,
    entry_points={'console_scripts': listed('console_scripts'), 'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
    classifiers=['Development Status :: 3 - Alpha', 'Intended Audience :: Science/Research', 'Programming Language :: Python :: 3.11'],
    zip_safe=False,
)
