// What stands under the map: neighbours open, chips lead to the code browser, a lasso can be exported or searched.
const numbers = (text) => (text ? text.split(' ').map(Number) : []);

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || !element.contains(button)) return;
  const { act, row, prefix, id } = button.dataset;
  if (act === 'export') download(element.querySelector('.g-export').textContent, 'genius-lasso.json');
  else if (act === 'within') trigger('within', {});
  else if (act === 'more') trigger('more', { id });
  else if (prefix !== undefined) trigger('open_code', { prefix: numbers(prefix) });
  else if (row !== undefined) trigger('open_row', { row: Number(row) });
});

function download(text, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
