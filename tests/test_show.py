"""What a page of `show` cannot teach: a live area inside a real kernel."""
import nbformat.v4 as v4
from nbclient import NotebookClient


def test_a_live_area_is_drawn_in_place():
    code = ("import plotly.graph_objects as go\nfrom llmbench.show import Live, figure\nlive = Live('proxies', total=3, every=0)\n"
            "for i in range(4): live.update(i, fig=lambda: figure(*[go.Scatter(y=[1, 2], name=str(k)) for k in range(i)]))")
    nb = v4.new_notebook(cells=[v4.new_code_cell(code)])
    NotebookClient(nb, kernel_name='python3', timeout=60, extra_arguments=['--log-level=40']).execute()
    bar, plot = nb.cells[0].outputs
    assert '3 of 3 (100%)' in bar['data']['text/html']
    assert len(plot['data']['application/vnd.plotly.v1+json']['data'])==3
