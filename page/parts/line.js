function show(value) {
  const line = element.querySelector('p');
  line.textContent = value ? value.text : '';
  line.classList.toggle('error', Boolean(value && value.error));
  line.setAttribute('role', value && value.error ? 'alert' : 'status');
}
watch('value', () => show(props.value));
show(props.value);
