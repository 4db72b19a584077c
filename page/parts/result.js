const $ = (name) => element.querySelector(name);
function show(value) {
  $('.result').hidden = !value;
  $('video').pause();
  $('.fault').hidden = true;
  if (!value) return;
  $('video').hidden = !value.video; $('img').hidden = value.video;
  (value.video ? $('video') : $('img')).src = value.address;
  $('.place').textContent = value.place;
  $('.lines').replaceChildren(...value.lines.map((text) => { const p = document.createElement('p'); p.textContent = text; return p; }));
}
$('video').addEventListener('error', () => { if (!$('.result').hidden) $('.fault').hidden = false; });
watch('value', () => show(props.value));
show(props.value);
