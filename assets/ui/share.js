// Link, snippet and JSON: put in this page's own address, copy, download. Nothing leaves the browser.
const HERE = location.origin + location.pathname.replace(/\/$/, '');

function localise() {
  element.querySelectorAll('[data-origin]').forEach((block) => {
    block.textContent = block.textContent.replace('http://127.0.0.1:7860', HERE);
  });
  element.querySelectorAll('a.g-link').forEach((link) => { link.textContent = HERE + '/' + link.getAttribute('href'); });
}

async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Select and copy by hand';
  }
  setTimeout(() => { button.textContent = before; }, 1600);
}

function download(text, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  const block = button.closest('.g-block');
  const text = block ? block.querySelector('pre').textContent : '';
  if (button.dataset.act === 'copy') copy(text, button);
  if (button.dataset.act === 'copy-link') copy(element.querySelector('a.g-link').textContent, button);
  if (button.dataset.act === 'download') download(text, button.dataset.name);
});
watch('value', localise);
localise();
