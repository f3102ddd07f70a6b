// What can be taken along from a race: its numbers as files, and the chart as it is seen. Nothing leaves the browser.
const TYPES = { json: 'application/json', csv: 'text/csv' };

function save(text, name, type) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// On paper of the page's colour, so that it can be read wherever it is shown.
async function figure() {
  const plot = document.querySelector('#race-chart .g-race');
  if (!plot || !plot.data) return;
  const paper = getComputedStyle(document.body).backgroundColor;
  const copy = { data: plot.data, layout: { ...plot.layout, paper_bgcolor: paper } };
  const url = await Plotly.toImage(copy, { format: 'svg', width: plot.clientWidth, height: plot.clientHeight });
  save(decodeURIComponent(url.slice(url.indexOf(',') + 1)), 'race.svg', 'image/svg+xml');
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  const { act } = button.dataset;
  if (act === 'figure') { figure(); return; }
  const kept = element.querySelector(`pre[data-file="race.${act}"]`);
  if (kept) save(kept.textContent, kept.dataset.file, TYPES[act]);
});

// What was unfolded stays so while the race goes on and everything is drawn anew.
let open = false;
element.addEventListener('toggle', (event) => { open = event.target.open; }, true);
watch('value', () => {
  const rest = element.querySelector('details');
  if (rest) rest.open = open;
});
