// Names and texts from files are set as text, so that no markup in them means anything.
function cell(kind, text) {
  const box = document.createElement(kind);
  box.textContent = text;
  return box;
}
function show(value) {
  const table = element.querySelector('table');
  table.hidden = !value;
  table.tBodies[0].replaceChildren();
  element.querySelector('.notes').replaceChildren();
  if (!value) return;
  for (const [name, before, after] of value.rows) {
    const row = document.createElement('tr'), head = cell('th', name);
    head.scope = 'row';
    row.append(head, cell('td', before), cell('td', after));
    table.tBodies[0].append(row);
  }
  element.querySelector('.notes').append(...value.notes.map((note) => cell('li', note)));
}
watch('value', () => show(props.value));
show(props.value);
