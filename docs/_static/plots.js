// Draws the plots of a page with the site's own plotly.min.js, which is loaded only where there is a plot.
(() => {
  const here = new URL('.', document.currentScript.src);
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = () => document.documentElement.dataset.theme === 'dark';
  // the plot sits on the page: its paper is clear, text and grid follow the theme
  const themed = layout => {
    const axes = Object.fromEntries(Object.keys({...layout, xaxis: 0, yaxis: 0}).filter(k => /^[xy]axis\d*$/.test(k)).map(k => [k, {
      ...layout[k], ...(dark() ? {gridcolor: '#2f3640', linecolor: '#4a5361', tickcolor: '#4a5361', zerolinecolor: '#4a5361'} : {})}]));
    return {...layout, ...axes, autosize: true, width: undefined, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
      font: {...layout.font, color: css('--pst-color-text-base') || '#1c2128'}};
  };
  const draw = el => {
    const fig = el.fig ??= JSON.parse(el.querySelector('script').textContent);
    return Plotly.react(el.target ??= el.appendChild(document.createElement('div')), fig.data, themed(structuredClone(fig.layout)),
      {responsive: true, displaylogo: false, displayModeBar: 'hover'});
  };
  document.addEventListener('DOMContentLoaded', () => {
    const plots = [...document.querySelectorAll('.lb-plot')];
    if (!plots.length) return;
    const script = document.createElement('script');
    script.src = new URL('plotly.min.js', here);
    script.onload = () => {
      plots.forEach(draw);
      new MutationObserver(() => plots.forEach(draw)).observe(document.documentElement, {attributeFilter: ['data-theme']});
    };
    document.head.append(script);
  });
})();
