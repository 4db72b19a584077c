// A strip of pictures, each asked for by itself so that the page does not wait, and two handles on it.
const $ = (name) => element.querySelector(name);
const start = $('.start'), end = $('.end');
const COUNT = 12, LEAST_S = 0.2;
let shown = null;

function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6), tenth = Math.floor((seconds - whole) * 10 + 1e-6);
  const pad = (number) => String(number).padStart(2, '0');
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return (hours ? hours + ':' + pad(minutes) : minutes) + ':' + pad(whole % 60) + '.' + tenth;
}

function mark() {
  const from = Number(start.value), to = Number(end.value), all = Number(end.max) || 1;
  $('.shade.before').style.width = from / all * 100 + '%';
  $('.shade.after').style.width = (1 - to / all) * 100 + '%';
  $('.words').textContent = clock(from) + ' to ' + clock(to) + ' (' + (to - from).toFixed(1) + ' s)';
}

function show(value) {
  $('.timeline').hidden = !value;
  if (value && value.pictures === shown) return;  // the handles themselves changed it
  shown = value ? value.pictures : null;
  element.querySelectorAll('.strip img').forEach((image) => image.remove());
  if (!value) return;
  for (const handle of [start, end]) handle.max = value.duration;
  start.value = value.start; end.value = value.end;
  for (let number = 0; number < COUNT; number++) {
    const image = document.createElement('img');
    image.alt = ''; image.draggable = false;
    image.src = value.pictures + '&at=' + (value.duration * (number + 0.5) / COUNT).toFixed(3);
    $('.strip').append(image);
  }
  mark();
}

function pick() {  // the value is what Python reads with every event
  props.value = { ...props.value, start: Number(start.value), end: Number(end.value) };
  trigger('pick');
}

function move(event) {
  const from = Number(start.value), to = Number(end.value);
  if (to - from < LEAST_S) {
    if (event.target === start) start.value = Math.max(0, to - LEAST_S); else end.value = from + LEAST_S;
    if (Number(end.value) - Number(start.value) < LEAST_S) start.value = Math.max(0, Number(end.value) - LEAST_S);
  }
  mark();
}

for (const handle of [start, end]) {
  handle.addEventListener('input', move);
  handle.addEventListener('change', pick);
}
$('.strip').addEventListener('click', (event) => {  // the stretch keeps its length and goes where one points
  const box = $('.strip').getBoundingClientRect(), all = Number(end.max), length = end.value - start.value;
  const from = Math.min(Math.max(0, (event.clientX - box.left) / box.width * all - length / 2), all - length);
  start.value = from; end.value = Number(start.value) + length;
  mark();
  pick();
});
watch('value', () => show(props.value));
show(props.value);
