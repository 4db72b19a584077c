const text = element.querySelector('textarea'), copy = element.querySelector('.copy');
copy.addEventListener('click', async () => {
  text.select();
  try { await navigator.clipboard.writeText(text.value); } catch { document.execCommand('copy'); }  // no clipboard over http
  copy.textContent = 'Copied';
  setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
});
function show(value) {
  element.querySelector('.command').hidden = !value;
  text.value = value || '';
}
watch('value', () => show(props.value));
show(props.value);
