// Rows are kept and changed in place, so that the keyboard's focus stays where it is while they change every second.
const list = element.querySelector('.queue'), rows = new Map();
const DEEDS = {
  waiting: ['pause', 'remove'], running: ['pause', 'remove'], paused: ['resume', 'remove'],
  failed: ['resume', 'remove'], done: ['show', 'remove'],
};
const NAMES = { show: 'Show', pause: 'Pause', resume: 'Resume', remove: 'Cancel' };

function part(kind, name) {
  const box = document.createElement(kind);
  box.className = name;
  return box;
}

function build(number) {
  const row = document.createElement('li');
  const head = part('div', 'head'), name = part('strong', 'name'), state = part('span', 'state');
  const bar = part('progress', 'bar'), detail = part('span', 'detail'), lines = part('div', 'lines');
  const deeds = part('div', 'deeds');
  head.append(name, state, deeds);
  for (const deed of Object.keys(NAMES)) {
    const button = part('button', deed);
    button.type = 'button';
    button.addEventListener('click', () => act(number, deed));
    deeds.append(button);
  }
  bar.max = 1;
  row.append(head, bar, detail, lines);
  return row;
}

function act(number, deed) {
  const fact = (props.value || []).find((one) => one.number === number);
  const loses = deed === 'remove' && fact && ['running', 'paused', 'waiting'].includes(fact.state);
  if (loses && !window.confirm('Cancel this, and discard what is finished of it?')) return;
  trigger('act', { number, deed });
}

function fill(row, fact) {
  const $ = (name) => row.querySelector('.' + name);
  $('name').textContent = fact.name; $('name').title = fact.place;
  $('state').textContent = fact.state === 'done' && !fact.ok ? 'check it' : fact.state;
  row.dataset.state = fact.state;
  $('bar').hidden = !['running', 'paused', 'waiting'].includes(fact.state);
  $('bar').setAttribute('aria-label', 'Progress of ' + fact.name);
  if (fact.share === null) { if (fact.state === 'running') $('bar').removeAttribute('value'); else $('bar').value = 0; }
  else $('bar').value = fact.share;
  $('detail').textContent = fact.detail;
  if ($('lines').textContent !== fact.lines.join('')) {
    $('lines').replaceChildren(...fact.lines.map((text) => { const p = part('p', ''); p.textContent = text; return p; }));
  }
  for (const deed of Object.keys(NAMES)) {
    const ended = ['done', 'failed'].includes(fact.state);
    const word = deed === 'remove' && ended ? 'Clear' : deed === 'resume' && ended ? 'Retry' : NAMES[deed];
    $(deed).textContent = word;
    $(deed).setAttribute('aria-label', word + ' ' + fact.name);
    $(deed).hidden = !DEEDS[fact.state].includes(deed);
  }
}

function show(value) {
  const facts = value || [];
  element.querySelector('.empty').hidden = facts.length > 0;
  for (const [number, row] of rows) if (!facts.some((fact) => fact.number === number)) { row.remove(); rows.delete(number); }
  for (const fact of facts) {
    if (!rows.has(fact.number)) { rows.set(fact.number, build(fact.number)); list.append(rows.get(fact.number)); }
    fill(rows.get(fact.number), fact);
  }
}
watch('value', () => show(props.value));
show(props.value);
