// Two files of the same length are shown in one place; a line divides them. The sample after leads, the one before
// follows: small differences in time are made up by its speed, large ones by a jump.
const $ = (name) => element.querySelector(name);
const stage = $('.stage'), pair = $('.pair'), scroll = $('.scroll');
const lead = $('video.after'), follow = $('video.before');
const NEAR_S = 0.008, FAR_S = 0.12;
let video = false;

function setSplit(share) {
  $('.split').value = share;
  pair.style.setProperty('--split', share + '%');
}

function fit() {
  const media = video ? lead : $('img.after');
  const width = video ? lead.videoWidth : media.naturalWidth, height = video ? lead.videoHeight : media.naturalHeight;
  if (!width) return;
  const exact = $('.zoom').getAttribute('aria-pressed') === 'true';
  pair.style.aspectRatio = width + ' / ' + height;
  pair.style.width = exact ? width / window.devicePixelRatio + 'px' : '';
  pair.style.maxWidth = exact ? 'none' : width / window.devicePixelRatio * 2 + 'px';
}

function show(value) {
  stage.hidden = !value;
  lead.pause(); follow.pause();
  $('.fault').hidden = true;
  if (!value) return;
  video = value.video;
  stage.classList.toggle('still', !video);
  if (video) {
    lead.src = value.after; follow.src = value.before;
    lead.muted = true; $('.sound').setAttribute('aria-pressed', 'false');
    setPlaying();
  } else {
    $('img.after').src = value.after; $('img.before').src = value.before;
  }
  setSplit(50);
}

function setPlaying() {
  const plays = !lead.paused;
  $('.play').textContent = plays ? 'Pause' : 'Play';
}

async function play() {
  follow.currentTime = lead.currentTime;
  try { await Promise.all([lead.play(), follow.play()]); } catch (error) { if (error.name !== 'AbortError') fault(); }
  requestAnimationFrame(step);
}

function step() {
  if (!element.isConnected || !video) return;
  $('.seek').value = lead.duration ? lead.currentTime / lead.duration : 0;
  const behind = lead.currentTime - follow.currentTime;
  if (lead.ended) {  // from the beginning, both at once
    lead.currentTime = 0; follow.currentTime = 0;
    play();
    return;
  }
  if (Math.abs(behind) > FAR_S && !follow.seeking) follow.currentTime = lead.currentTime;
  follow.playbackRate = Math.abs(behind) < NEAR_S ? 1 : behind > 0 ? 1.06 : 0.94;
  if (!lead.paused) {
    if (follow.paused && !follow.ended) follow.play().catch(() => {});
    requestAnimationFrame(step);
  }
}

function pause() {
  lead.pause(); follow.pause();
  follow.playbackRate = 1;
  follow.currentTime = lead.currentTime;
}

function fault() { $('.fault').hidden = false; }

$('.play').addEventListener('click', () => (lead.paused ? play() : pause()));
$('.seek').addEventListener('input', (event) => {
  const time = event.target.value * (lead.duration || 0);
  lead.currentTime = time; follow.currentTime = time;
});
$('.split').addEventListener('input', (event) => setSplit(event.target.value));
$('.zoom').addEventListener('click', () => {
  const exact = $('.zoom').getAttribute('aria-pressed') !== 'true';
  $('.zoom').setAttribute('aria-pressed', exact);
  scroll.classList.toggle('exact', exact);
  fit();
});
$('.sound').addEventListener('click', () => {
  lead.muted = !lead.muted;
  $('.sound').setAttribute('aria-pressed', !lead.muted);
});
for (const name of ['play', 'pause', 'ended']) lead.addEventListener(name, setPlaying);
lead.addEventListener('error', () => { if (video && lead.getAttribute('src')) fault(); });
lead.addEventListener('loadedmetadata', fit);
$('img.after').addEventListener('load', fit);
pair.addEventListener('pointerdown', drag);
pair.addEventListener('pointermove', (event) => { if (event.buttons) drag(event); });
function drag(event) {
  const box = pair.getBoundingClientRect();
  setSplit(Math.round(Math.min(100, Math.max(0, (event.clientX - box.left) / box.width * 100))));
  event.preventDefault();
}
watch('value', () => show(props.value));
show(props.value);
