// The race: lines on logarithmic axes, search alone and in all, that grow while the race runs.
let data = null;
let drawn = '';

const at = (selector) => element.querySelector(selector);
const css = (name) => getComputedStyle(element).getPropertyValue(name).trim();
const COLOURS = { genius: '--g-accent', addresses: '--g-accent', flat: '--g-image', ivf: '--g-text', hnsw: '--g-pair' };
const DASHES = ['dot', 'dash', 'solid', 'longdashdot']; // from few beams to many
const PANELS = [['search', 'Search only'], ['whole', 'In all, with reading the query']];

function traces() {
  const widths = [...new Set(data.lines.filter((line) => line.beams).map((line) => line.beams))].sort((a, b) => a - b);
  const shift = Math.max(0, 3 - widths.length);
  return PANELS.flatMap(([key], panel) => data.lines.map((line) => {
    const ours = line.beams !== null;
    const color = css(COLOURS[line.method]);
    return {
      type: 'scatter', mode: 'lines+markers', name: line.label, legendgroup: line.label, showlegend: panel === 0,
      x: line.size, y: line[key], xaxis: panel ? 'x2' : 'x', yaxis: panel ? 'y2' : 'y',
      customdata: line.size.map((_, n) => [line.slow[n], line.recall[n]]),
      hovertemplate: '%{x:,} candidates: %{y:.3s} ms<br>19 of 20 searches within %{customdata[0]}<br>recall %{customdata[1]}<extra>%{fullData.name}</extra>',
      line: { color, width: ours ? 3 : 2, dash: ours ? DASHES[(widths.indexOf(line.beams) + shift) % DASHES.length] : 'solid' },
      marker: { color, size: 8, symbol: line.method === 'addresses' ? 'circle-open' : ours ? 'circle' : 'square' },
    };
  }));
}

// Within little more than a decade, 2 and 5 get a line, too.
function step(values) {
  return Math.max(...values) / Math.min(...values) < 20 ? 'D2' : 1;
}

function layout(wide) {
  const times = data.lines.flatMap((line) => [...line.search, ...line.whole]).filter((time) => time !== null);
  const ink = css('--g-ink'), quiet = css('--g-quiet'), faint = css('--g-line');
  const ends = [Math.min(...data.sizes) / 1.5, Math.max(...data.sizes) * 1.5].map(Math.log10);
  const x = { type: 'log', range: ends, title: { text: 'candidates', standoff: 8 }, gridcolor: faint, linecolor: faint, zeroline: false, dtick: step(data.sizes), tickformat: '~s', fixedrange: true };
  const y = { type: 'log', title: { text: wide ? 'milliseconds' : '' }, gridcolor: faint, linecolor: faint, zeroline: false, dtick: step(times), tickformat: '~g', fixedrange: true };
  const panes = wide ? [[[0, 0.47], [0, 1]], [[0.55, 1], [0, 1]]] : [[[0, 1], [0.57, 1]], [[0, 1], [0, 0.43]]];
  const heading = ([across, up], text) => ({ text: `<b>${text}</b>`, xref: 'paper', yref: 'paper', x: across[0], y: up[1], xanchor: 'left', yanchor: 'bottom', yshift: 6, showarrow: false, font: { size: 14, color: ink } });
  const synthetic = data.real > 0 && Math.log10(data.real) < ends[1] && Math.log10(data.real) > ends[0];
  const shapes = !synthetic ? [] : ['', '2'].map((n) => ({ type: 'rect', xref: `x${n}`, yref: `y${n} domain`, x0: data.real, x1: 10 ** ends[1], y0: 0, y1: 1, line: { width: 0 }, fillcolor: css('--g-accent-soft'), opacity: 0.55, layer: 'below' }));
  const note = !synthetic ? [] : ['', '2'].map((n) => ({ text: 'synthetic', xref: `x${n}`, yref: `y${n} domain`, x: ends[1], y: 0, xanchor: 'right', yanchor: 'bottom', showarrow: false, font: { size: 12, color: quiet } }));
  return {
    margin: { l: wide ? 60 : 46, r: 12, t: 34, b: 48 }, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', hovermode: 'closest',
    font: { family: getComputedStyle(element).fontFamily, color: quiet, size: 12 },
    xaxis: { ...x, domain: panes[0][0], anchor: 'y' }, yaxis: { ...y, domain: panes[0][1], anchor: 'x' },
    xaxis2: { ...x, domain: panes[1][0], anchor: 'y2' }, yaxis2: { ...y, domain: panes[1][1], anchor: 'x2', matches: 'y', title: { text: '' } },
    annotations: [...PANELS.map(([, text], n) => heading(panes[n], text)), ...note], shapes,
    legend: { orientation: 'h', x: 0, y: wide ? -0.2 : -0.1, yanchor: 'top', font: { color: ink, size: 12.5 }, bgcolor: 'rgba(0,0,0,0)' },
    hoverlabel: { bgcolor: css('--g-sheet'), bordercolor: css('--g-line'), font: { color: ink } },
  };
}

async function draw(force) {
  const value = props.value;
  if (!value || (value === drawn && !force)) return;
  const none = value === '{}';
  at('.g-race-frame').hidden = none;
  if (none) { drawn = value; data = null; return; }
  if (!window.Plotly) { setTimeout(() => draw(force), 60); return; }
  const plot = at('.g-race');
  if (!plot || !plot.clientWidth) { setTimeout(() => draw(force), 120); return; }
  drawn = value;
  data = JSON.parse(value);
  plot.dataset.points = data.lines.reduce((sum, line) => sum + line.size.length, 0);
  const wide = plot.clientWidth > 640;
  plot.style.height = wide ? '460px' : '780px'; // of the element: what the layout says is lost when a window is resized
  await Plotly.react(plot, traces(), layout(wide), { displayModeBar: false, responsive: true });
}

watch('value', () => draw(false));
new MutationObserver(() => { if (data) draw(true); }).observe(document.body, { attributes: true, attributeFilter: ['class'] });
let width = 0;
new ResizeObserver(() => {
  const now = element.clientWidth > 640;
  if (data && now !== width) draw(true);
  width = now;
}).observe(element);
draw(false);
