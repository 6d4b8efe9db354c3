"""Formulas as MathML, written when the site is built: browsers draw it themselves, no script and no font is fetched."""
import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.errors import ExtensionError


def mathml(tex:str, display:str)->str:
    "One formula; several lines or alignment points become an aligned block. A command that the converter does not know is an error."
    tex = re.sub(r'\\(begin|end)\{(aligned|gathered)\}', r'\\\1{split}', tex)
    if display=='block' and '\\begin' not in tex and re.search(r'\\\\|(?<!\\)&', tex): tex = rf'\begin{{split}}{tex}\end{{split}}'
    plain = re.sub(r'\\[{}]', '', tex)
    if plain.count('{')!=plain.count('}'): raise ExtensionError(f'no MathML for the formula {tex!r}: its braces do not match')
    try: made = convert(tex, display=display)
    except Exception as e: raise ExtensionError(f'no MathML for the formula {tex!r}: {e!r}; write it with simpler commands') from e
    unknown = re.findall(r'>(\\\w+|&)<', made)
    if unknown: raise ExtensionError(f"no MathML for {', '.join(unknown)} in the formula {tex!r}; write it with simpler commands")
    return made

def inline(self, node):
    self.body.append(mathml(node.astext(), 'inline'))
    raise SkipNode

def block(self, node):
    number = f'<span class="eqno">({node["number"]})</span>' if node.get('number') else ''
    self.body.append(self.starttag(node, 'div', CLASS='math block') + number + mathml(node.astext(), 'block') + '</div>')
    raise SkipNode

def setup(app):
    app.add_html_math_renderer('mathml', (inline, None), (block, None))
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
