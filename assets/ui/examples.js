// One click on an example runs it.
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-example]');
  if (button) trigger('example', { key: button.dataset.example });
});
