// The code browser: what was clicked goes to the server as numbers; the answer replaces the page.
const numbers = (text) => (text ? text.split(' ').map(Number) : []);
const ACTS = { within: 'within', place: 'place', anywhere: 'anywhere', edit: 'edit', lift: 'lift' };

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || !element.contains(button)) return;
  const { prefix, row, act } = button.dataset;
  if (act === 'more-tiles') {
    button.previousElementSibling.querySelectorAll('li[hidden]').forEach((item) => { item.hidden = false; });
    button.remove();
  } else if (act === 'explain') trigger('explain', {});
  else if (ACTS[act]) trigger(ACTS[act], { prefix: numbers(button.dataset.for) });
  else if (prefix !== undefined) trigger('open_code', { prefix: numbers(prefix) });
  else if (row !== undefined) trigger('open_row', { row: Number(row) });
});

// A menu of the address editor: the address as it was, and the code that takes the place of one of its own.
element.addEventListener('change', (event) => {
  const menu = event.target.closest('select[data-level]');
  if (!menu || menu.value === '') return;
  const address = numbers(menu.closest('[data-for]').dataset.for);
  trigger('edit', { prefix: address, level: Number(menu.dataset.level), code: Number(menu.value) });
});
