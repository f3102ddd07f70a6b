// The map: points drawn by Plotly; a pointed-at, clicked or lassoed point goes to the server as its row number.
const GRID = 65536;
const KINDS = { image: '--g-image', text: '--g-text', pair: '--g-pair' };
const MOST = 20000; // rows a lasso sends; the server takes fewer
let data = null;
let drawn = '';
let peeks = new Map();
let pointed = -1;

// So many of the rows as are sent, from all over them.
const spread = (rows) => (rows.length <= MOST ? rows : Array.from({ length: MOST }, (_, n) => rows[Math.floor((n * rows.length) / MOST)]));

const at = (selector) => element.querySelector(selector);
const css = (name) => getComputedStyle(element).getPropertyValue(name).trim();
const dark = () => document.body.classList.contains('dark');
const safe = (text) => String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const hue = (n) => `hsl(${(n * 360) / 18}, ${n % 2 ? 62 : 48}%, ${dark() ? 66 : 42}%)`;
const colourOf = (key) => (KINDS[key] ? css(KINDS[key]) : hue(Number(key)));

// Without WebGL, as on some machines without a graphics card, points are drawn one by one: slower, but there.
const POINTS = (() => {
  try { return document.createElement('canvas').getContext('webgl') ? 'scattergl' : 'scatter'; } catch { return 'scatter'; }
})();

function unpack(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Kind(bytes.buffer);
}

function read(value) {
  const sent = JSON.parse(value);
  return { ...sent, x: unpack(sent.x, Uint16Array), y: unpack(sent.y, Uint16Array), rows: unpack(sent.rows, Uint32Array), groups: unpack(sent.groups, Uint16Array) };
}

// One trace a group while there are few, so that a legend can name them; else one for all.
function traces() {
  const base = { type: POINTS, mode: 'markers', hoverinfo: 'none', showlegend: false };
  const size = data.x.length > 8000 ? 4 : data.x.length > 1000 ? 6 : 9;
  if (data.names.length > 6) {
    const colours = data.names.map(([, key]) => colourOf(key));
    return [{ ...base, x: data.x, y: data.y, customdata: data.rows, marker: { size, opacity: 0.7, color: Array.from(data.groups, (g) => colours[g]) } }];
  }
  return data.names.map(([, key], group) => {
    const mine = [...data.groups.keys()].filter((n) => data.groups[n] === group);
    const pick = (array) => mine.map((n) => array[n]);
    return { ...base, x: pick(data.x), y: pick(data.y), customdata: pick(data.rows), marker: { size, opacity: 0.6, color: colourOf(key) } };
  });
}

// The query and what was found, over the points: marks as traces, as points are, and words as annotations.
function overlays() {
  const over = { type: POINTS, mode: 'markers', hoverinfo: 'none', showlegend: false };
  const many = data.marks.length > 60;
  const rings = {
    ...over, x: data.marks.map((m) => m[1]), y: data.marks.map((m) => m[2]), text: data.marks.map((m) => String(m[0])), customdata: data.marks.map((m) => m[3]),
    marker: { size: many ? 8 : 14, symbol: 'circle-open', color: css('--g-ink'), opacity: 1, line: { width: many ? 1.5 : 2.5, color: css('--g-ink') } },
  };
  const query = !data.query ? [] : [{
    ...over, x: [data.query[0]], y: [data.query[1]], text: ['your query'],
    marker: { size: 24, symbol: 'star', color: css('--g-accent'), opacity: 1, line: { width: 2, color: css('--g-sheet') } },
  }];
  return [rings, ...query];
}

function said() {
  const word = (text, x, y, shift, color) => ({ text: `<b>${text}</b>`, x, y, yshift: shift, showarrow: false, captureevents: false, font: { size: 13, color }, bgcolor: paper(), borderpad: 1 });
  const numbers = data.numbered && data.marks.length <= 60 ? data.marks.map(([n, x, y]) => word(n, x, y, 16, css('--g-ink'))) : [];
  return data.query ? [...numbers, word('your query', ...data.query, -20, css('--g-accent'))] : numbers;
}

const paper = () => (dark() ? 'rgba(29,33,35,.72)' : 'rgba(255,254,251,.76)');

// Names that do not overlap in what is in view; the largest first, so that looking closer brings up more.
function labels(range) {
  const plot = at('.g-map');
  const [wide, high] = [plot.clientWidth, plot.clientHeight];
  const [[x0, x1], [y0, y1]] = range;
  const onScreen = (x, y) => [((x - x0) / (x1 - x0)) * wide, ((y - y0) / (y1 - y0)) * high];
  const marked = [...data.marks.map((m) => [m[1], m[2]]), ...(data.query ? [data.query] : [])];
  const taken = marked.length > 60 ? [] : marked.map(([x, y]) => [...onScreen(x, y), 12]); // marks stay visible
  const most = wide < 600 ? 14 : 34;
  const found = [];
  for (const [text, x, y] of data.labels) {
    if (found.length >= most) break;
    const [px, py] = onScreen(x, y);
    if (px < 30 || py < 36 || px > wide - 30 || py > high - 12) continue; // the legend stands at the bottom
    const half = 4 * text.length + 6;
    if (found.some((label) => label.plain === text)) continue;
    if (taken.some(([qx, qy, h]) => Math.abs(px - qx) < half + h && Math.abs(py - qy) < 22)) continue;
    taken.push([px, py, half]);
    found.push({ plain: text, x, y, text: safe(text), showarrow: false, captureevents: false, font: { size: 12.5, color: css('--g-ink') }, bgcolor: paper(), borderpad: 1 });
  }
  return found;
}

const whole = () => {
  const plot = at('.g-map');
  const ratio = plot.clientWidth / Math.max(plot.clientHeight, 1);
  const half = (GRID / 2) * 1.04, middle = GRID / 2;
  return [[middle - half * Math.max(ratio, 1), middle + half * Math.max(ratio, 1)], [middle - half * Math.max(1 / ratio, 1), middle + half * Math.max(1 / ratio, 1)]];
};

function layout(range) {
  const axis = { visible: false, fixedrange: false };
  return {
    margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', hovermode: 'closest',
    dragmode: 'pan', xaxis: { ...axis, range: [...range[0]] }, yaxis: { ...axis, range: [...range[1]] }, annotations: [...labels(range), ...said()],
    font: { family: getComputedStyle(document.body).fontFamily, color: css('--g-ink') }, modebar: { bgcolor: 'rgba(0,0,0,0)', color: css('--g-faint'), activecolor: css('--g-accent') },
  };
}

const CONFIG = { displaylogo: false, scrollZoom: true, responsive: true, displayModeBar: true, modeBarButtons: [['pan2d', 'lasso2d', 'select2d'], ['zoomIn2d', 'zoomOut2d', 'resetScale2d']] };

function legend() {
  const box = at('.g-map-legend');
  box.replaceChildren();
  if (data.names.length > 6) return;
  data.names.forEach(([name, key], group) => {
    if (!data.groups.includes(group)) return;
    const item = document.createElement('span');
    const dot = document.createElement('i');
    dot.style.background = colourOf(key);
    item.append(dot, name);
    box.append(item);
  });
}

function inView(plot) {
  const { xaxis, yaxis } = plot._fullLayout;
  return [[...xaxis.range], [...yaxis.range]];
}

async function draw(force) {
  const value = props.value;
  if (!value || (value === drawn && !force)) return;
  if (!window.Plotly) { setTimeout(() => draw(force), 60); return; }
  const plot = at('.g-map');
  if (!plot || !plot.clientWidth) { setTimeout(() => draw(force), 120); return; }
  const kept = drawn && plot._fullLayout ? inView(plot) : null;
  drawn = value;
  const none = value === '{}';
  at('.g-map-frame').classList.toggle('g-none', none);
  at('.g-map-wait').hidden = !none;
  if (none) { at('.g-map-wait').textContent = 'There is no map of this collection yet.'; return; }
  data = read(value);
  await Plotly.react(plot, [...traces(), ...overlays()], layout(kept ?? whole()), CONFIG);
  legend();
  if (!plot.dataset.wired) wire(plot);
}

function wire(plot) {
  plot.dataset.wired = '1';
  plot.on('plotly_click', ({ points }) => {
    const row = points.map((p) => p.customdata).find((r) => r !== undefined);
    if (row !== undefined) trigger('point_click', { row });
  });
  plot.on('plotly_selected', (selected) => {
    if (!selected || !selected.points.length) return;
    const rows = [...new Set(selected.points.map((p) => p.customdata).filter((r) => r !== undefined))];
    if (rows.length) trigger('lasso', { rows: spread(rows) });
  });
  plot.on('plotly_hover', ({ points, event }) => peek(points[0].customdata, event));
  plot.on('plotly_unhover', hide);
  plot.on('plotly_relayout', (change) => {
    if ('annotations' in change) return;
    hide();
    Plotly.relayout(plot, { annotations: [...labels(inView(plot)), ...said()] });
  });
}

function hide() {
  pointed = -1;
  const box = at('.g-peek');
  if (box) box.hidden = true;
}

async function peek(row, event) {
  if (row === undefined) return;
  pointed = row;
  const box = at('.g-peek');
  if (!peeks.has(row)) {
    await new Promise((go) => setTimeout(go, 60)); // a pointer that passes by asks for nothing
    if (pointed !== row) return;
    peeks.set(row, await server.peek(row));
  }
  if (pointed !== row || !box) return;
  box.innerHTML = peeks.get(row); // made by the server, captions escaped there
  box.hidden = false;
  const frame = at('.g-map-frame').getBoundingClientRect();
  const x = event.clientX - frame.left, y = event.clientY - frame.top;
  box.style.left = `${Math.min(Math.max(x + 16, 4), frame.width - box.offsetWidth - 4)}px`;
  box.style.top = `${y + box.offsetHeight + 24 > frame.height ? y - box.offsetHeight - 12 : y + 16}px`;
}

watch('value', () => draw(false));
new MutationObserver(() => { if (data) draw(true); }).observe(document.body, { attributes: true, attributeFilter: ['class'] });
draw(false);
