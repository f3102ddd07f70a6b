// The results: which list is shown stays in the browser; what asks for a new search goes to the server.
const EVENTS = { more: 'more_like_this', refine: 'refine_with_this', code: 'see_code', place: 'see_place' };
let view = 'ranked';

function show(name) {
  view = name;
  element.querySelectorAll('[data-view]').forEach((button) => {
    button.setAttribute('aria-pressed', String(button.dataset.view === view));
  });
  element.querySelectorAll('.g-ranked').forEach((list) => { list.hidden = view !== 'ranked'; });
  element.querySelectorAll('.g-grouped').forEach((list) => { list.hidden = view !== 'grouped'; });
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || !element.contains(button)) return;
  if (button.dataset.view) show(button.dataset.view);
  else if (EVENTS[button.dataset.act]) trigger(EVENTS[button.dataset.act], { id: button.dataset.id });
});
watch('value', () => show(view));
show(view);
