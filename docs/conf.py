"""Sphinx settings; docs/build.py runs Sphinx with them."""
import sys
from configparser import ConfigParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
cfg = ConfigParser(delimiters=['='], interpolation=None)
cfg.read(Path(__file__).parent.parent/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']

project, author, copyright = cfg['title'], cfg['author'], cfg['copyright']
version = release = cfg['version']
extensions = ['myst_nb', 'sphinx_copybutton', 'mathml']

nb_execution_mode = 'off'
nb_render_markdown_format = 'myst'
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = 'source', 'source'
myst_enable_extensions = ['dollarmath', 'amsmath', 'attrs_inline', 'colon_fence', 'deflist']
myst_dmath_double_inline = True
myst_heading_anchors = 3
myst_update_mathjax = False

html_math_renderer = 'mathml'
html_theme = 'sphinx_book_theme'
html_title = cfg['title']
html_css_files = ['llmbench.css', 'studio.css', 'docs.css']
html_js_files = ['plots.js', 'live.js']
html_copy_source = False
html_favicon = '_static/logo.svg'
html_context = {'default_mode': 'auto'}
html_theme_options = {
    'logo': {'image_light': '_static/logo.svg', 'image_dark': '_static/logo.svg', 'text': cfg['title']},
    'navbar_start': [], 'navbar_center': [], 'navbar_end': [], 'navbar_persistent': [],
    'show_toc_level': 2, 'home_page_in_toc': True, 'use_download_button': False, 'use_fullscreen_button': False,
    'pygments_light_style': 'tango', 'pygments_dark_style': 'monokai',
}
html_show_sphinx = False
language = 'en' # 'zh' finds nothing; 'en' finds Chinese words too
copybutton_selector = 'div.cell_input pre, div[class*="highlight-"]:not(.cell_output div) pre'
exclude_patterns = ['.doctrees']
