// The playground: a call of the data plane, and its reply as the bytes arrive. Nothing is sent
// but what was typed; every reply is shown as text.
(() => {
  'use strict';
  const form = document.querySelector('[data-play]');
  if (!form) return;
  const zh = document.documentElement.lang.startsWith('zh');
  const say = (chinese, english) => (zh ? chinese : english);
  const at = (id) => document.getElementById(`play-${id}`);
  const maxShown = 2 << 20;
  const maxEvents = 1000;
  let ends = null;

  // What was typed, as a request; a text is what is wrong with it.
  function asked() {
    const path = at('path').value.trim();
    let address;
    try { address = new URL(path, location.origin); } catch { address = null; }
    if (!path.startsWith('/') || address?.origin !== location.origin) {
      return say('路径须以 / 开头', 'The path begins with a slash.');
    }
    const lines = [];
    const key = at('key').value.trim();
    if (key) lines.push(['Authorization', `Bearer ${key}`]);
    for (const line of at('headers').value.split('\n')) {
      if (!line.trim()) continue;
      const parts = line.match(/^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*(.*?)\s*$/);
      if (!parts) return say(`无法读取的请求头: ${line}`, `Not a header: ${line}`);
      lines.push([parts[1], parts[2]]);
    }
    const method = at('method').value;
    return { method, address, lines, body: method === 'GET' ? '' : at('body').value };
  }

  function showCurl() {
    const call = asked();
    if (typeof call === 'string') { at('curl').textContent = call; return; }
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const parts = [`curl ${quoted(call.address.href)}`];
    if (call.method !== (call.body ? 'POST' : 'GET')) parts.push(`-X ${call.method}`);
    for (const [name, value] of call.lines) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
    const named = call.lines.some(([name]) => name.toLowerCase() === 'content-type');
    if (call.body && !named) parts.push(`-H 'Content-Type:'`);
    if (call.body) parts.push(`--data-raw ${quoted(call.body)}`);
    at('curl').textContent = parts.join(' \\\n  ');
  }

  // The reply.
  let pending = '';
  let shown = 0;
  function showEvents(text, began) {
    pending += text.replaceAll('\r\n', '\n');
    const blocks = pending.split('\n\n');
    pending = blocks.pop();
    for (const block of blocks) {
      if (at('events').childElementCount >= maxEvents) return;
      const row = document.createElement('li');
      const when = document.createElement('span');
      when.className = 'muted';
      when.textContent = `+${Math.round(performance.now() - began)} ms `;
      row.append(when, block);
      at('events').append(row);
    }
  }
  function show(text, began) {
    if (shown + text.length > maxShown) text = text.slice(0, Math.max(0, maxShown - shown));
    if (!text) return;
    shown += text.length;
    at('raw').append(text);
    showEvents(text, began);
  }
  function choose(view) {
    for (const button of document.querySelectorAll('[data-view]')) {
      button.setAttribute('aria-pressed', String(button.dataset.view === view));
      at(button.dataset.view).hidden = button.dataset.view !== view;
    }
  }
  function clear() {
    for (const id of ['raw', 'events', 'json', 'reply-headers', 'cost']) at(id).replaceChildren();
    pending = '';
    shown = 0;
  }

  async function send() {
    const call = asked();
    clear();
    if (typeof call === 'string') { at('status').textContent = call; return; }
    const state = { call: new AbortController(), began: performance.now(), bytes: 0 };
    ends = state.call;
    at('stop').disabled = false;
    at('send').disabled = true;
    at('status').textContent = say('已发送, 等待应答…', 'Sent; waiting for the reply…');
    at('status').scrollIntoView({ block: 'nearest' });
    const since = () => Math.round(performance.now() - state.began);
    try {
      // As bytes: a text would bring a Content-Type that was not typed.
      const body = call.body ? new TextEncoder().encode(call.body) : undefined;
      const answer = await fetch(call.address, { method: call.method, headers: call.lines, body,
        credentials: 'omit', redirect: 'manual', cache: 'no-store', signal: state.call.signal,
        referrerPolicy: 'no-referrer' });
      const kind = answer.headers.get('Content-Type') ?? '';
      state.answer = answer;
      at('reply-headers').textContent = [...answer.headers].map((pair) => pair.join(': ')).join('\n');
      choose(kind.includes('event-stream') ? 'events' : 'raw');
      const decoder = new TextDecoder();
      const reader = answer.body?.getReader();
      for (;;) {
        const { done, value } = reader ? await reader.read() : { done: true };
        if (done) break;
        state.first ??= since();
        state.bytes += value.length;
        show(decoder.decode(value, { stream: true }), state.began);
        report(state, say('接收中', 'arriving'));
      }
      show(`${decoder.decode()}`, state.began);
      if (pending.trim()) showEvents('\n\n', state.began);
      report(state, say(`共 ${since()} ms`, `${since()} ms in all`));
    } catch (error) {
      const stopped = state.call.signal.aborted;
      const why = stopped ? say('已停止', 'stopped') : `${error.message}`;
      report(state, say(`${why}, ${since()} ms`, `${why} after ${since()} ms`));
    }
    const indented = indentJson(at('raw').textContent);
    at('json').textContent = indented ?? say('不是 JSON', 'Not JSON');
    if (indented) choose('json');
    at('stop').disabled = true;
    at('send').disabled = false;
    const id = state.answer?.headers.get('X-Request-Id');
    if (id) {
      const to = `/console/play/cost/${encodeURIComponent(id)}`;
      htmx.ajax('GET', to, { target: '#play-cost' });
    }
  }
  function report(state, end) {
    const status = state.answer ? `HTTP ${state.answer.status}` : say('没有应答', 'No reply');
    const first = state.first === undefined ? '' :
      say(` · 首字节 ${state.first} ms`, ` · first byte ${state.first} ms`);
    const cut = shown >= maxShown ? say(' · 只显示开头', ' · only the beginning is shown') : '';
    at('status').textContent = `${status}${first} · ${state.bytes} B · ${end}${cut}`;
  }

  // An example, with the model that is chosen.
  let filled = null;
  function fill() {
    const option = at('example').selectedOptions[0];
    if (!option.value) return;
    const model = at('model').value;
    at('method').value = option.dataset.method;
    at('path').value = option.value.replace('MODEL', () => model);
    filled = option.dataset.body.replace('"MODEL"', () => JSON.stringify(model));
    at('body').value = filled;
  }
  at('example').addEventListener('change', fill);
  at('model').addEventListener('change', () => { if (at('body').value === filled) fill(); });

  form.addEventListener('submit', (event) => { event.preventDefault(); send(); });
  at('path').addEventListener('invalid', () => {
    at('status').textContent = say('请先填写路径, 或选择示例。', 'Type a path first, or choose an example.');
  });
  at('stop').addEventListener('click', () => ends?.abort());
  document.addEventListener('click', (event) => {
    const view = event.target.closest?.('[data-view]')?.dataset.view;
    if (view) choose(view);
  });
  document.addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === 'Enter') form.requestSubmit();
  });
  for (const event of ['input', 'change', 'htmx:after:swap']) {
    document.addEventListener(event, showCurl);
  }
  showCurl();
})();
