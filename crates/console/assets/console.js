// What pages do besides being read. What is missing without it is listed in docs/console.md.
(() => {
  'use strict';
  const zh = document.documentElement.lang.startsWith('zh');
  const all = (selector, root = document) => root.querySelectorAll(selector);

  // Times: so long ago, or as the reader's clock says. The other one on hover, and for all times of
  // the page with `t` or a touch.
  const relative = new Intl.RelativeTimeFormat(zh ? 'zh-CN' : 'en', { numeric: 'auto', style: 'short' });
  const steps = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];
  const two = (number) => String(number).padStart(2, '0');
  function local(date, narrow = false) {
    const day = `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    const minute = `${two(date.getHours())}:${two(date.getMinutes())}`;
    if (narrow) return `${day} ${minute}`;
    return `${date.getFullYear()}-${day} ${minute}:${two(date.getSeconds())}`;
  }
  function since(date) {
    const seconds = (date - Date.now()) / 1000;
    for (const [unit, length] of steps) {
      if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
    }
    return relative.format(0, 'second');
  }
  let whole = false;
  function showTimes(root) {
    for (const time of all('time[data-show]', root)) {
      const date = new Date(time.dateTime);
      const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
      const ago = time.dataset.show === 'ago' && !whole;
      const narrow = innerWidth <= 720 && !whole;
      time.textContent = ago ? since(date) : local(date, narrow);
      time.title = ago || narrow ? `${local(date)} ${zone}` : `${since(date)} · ${zone}`;
    }
  }

  function turnTimes() {
    whole = !whole;
    showTimes(document);
  }
  document.addEventListener('click', (event) => {
    if (event.target.closest?.('time[data-show]') && !event.target.closest('a')) turnTimes();
  });

  // A page that follows what happens comes back by itself, but not without a session.
  document.addEventListener('htmx:sse:error', (event) => {
    if (event.detail.status !== 401) return;
    const login = document.createElement('a');
    login.className = 'fresh';
    login.href = `/console/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    login.textContent = zh ? '登录已失效, 请重新登录' : 'The session has ended: log in again';
    event.target.replaceWith(login);
  });

  const zone = document.getElementById('zone');
  if (zone) {
    const offset = -new Date().getTimezoneOffset();
    const sign = offset < 0 ? '−' : '+';
    const hours = `${Math.floor(Math.abs(offset) / 60)}:${two(Math.abs(offset) % 60)}`;
    const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
    zone.textContent = zone.dataset.label + name + (offset ? ` (UTC${sign}${hours})` : '');
  }

  document.addEventListener('change', (event) => {
    if (event.target.matches?.('[data-submits]')) event.target.form.requestSubmit();
    if (event.target.matches?.('[data-amount]')) showAmount(event);
  });

  // What is done with the ticked rows needs one.
  function countTicks() {
    const ticked = all('input[form=batch]:checked').length;
    for (const button of all('#batch button')) button.disabled = !ticked;
    const words = document.getElementById('ticked');
    if (words) words.textContent = ticked ? ` ${ticked}` : '';
  }
  // One box ticks all boxes of its name.
  document.addEventListener('change', (event) => {
    const name = event.target.dataset?.all;
    if (name) for (const box of all(`input[type=checkbox][name="${name}"]`)) box.checked = event.target.checked;
    countTicks();
  });

  // Copying; where pages come without TLS, browsers have no clipboard, but know the selection.
  async function copy(source) {
    if (navigator.clipboard) return navigator.clipboard.writeText(source.textContent.trim());
    getSelection().selectAllChildren(source);
    document.execCommand('copy');
    getSelection().removeAllRanges();
  }
  document.addEventListener('click', async (event) => {
    const button = event.target.closest?.('[data-copy]');
    if (!button) return;
    await copy(document.getElementById(button.dataset.copy));
    const before = button.textContent;
    button.textContent = zh ? '已复制' : 'Copied';
    setTimeout(() => { button.textContent = before; }, 1500);
  });

  // Saving what a page shows this once, a line each, as a file.
  for (const button of all('[data-download]')) button.hidden = false;
  document.addEventListener('click', (event) => {
    const button = event.target.closest?.('[data-download]');
    if (!button) return;
    const lines = document.getElementById(button.dataset.download).textContent.trim().split('\n');
    const file = new Blob([['code', ...lines, ''].join('\r\n')], { type: 'text/csv' });
    const link = document.createElement('a');
    link.href = URL.createObjectURL(file);
    link.download = button.dataset.name;
    link.click();
    URL.revokeObjectURL(link.href);
  });

  // Beside an amount, the other way of saying it.
  function showOthers() {
    for (const said of all('output[for]')) said.value = amounts.other(document.getElementById(said.htmlFor.value).value);
  }
  // An amount that is typed: the balance after it, and what the button does.
  function showAmount(event) {
    const input = document.querySelector('input[data-amount]:not([type=radio])');
    if (!input) return;
    const takes = document.querySelector('[name=direction]:checked')?.value === 'take';
    const times = document.querySelector('input[data-times]')?.value ?? '1';
    let quota = /^\d{1,9}$/.test(times) ? amounts.read(input.value) : null;
    if (quota !== null) quota *= BigInt(times);
    if (event) input.ariaInvalid = quota === null && input.value.trim() ? 'true' : null;
    for (const name of all('[data-above]')) name.hidden = !(quota > BigInt(name.dataset.above));
    const then = document.getElementById('then');
    if (then) {
      const after = BigInt(then.dataset.now) + (takes ? -1n : 1n) * (quota ?? 0n);
      then.textContent = quota === null ? '–' : amounts.show(after);
      then.classList.toggle('bad', quota !== null && after < 0n);
    }
    const button = document.querySelector('[data-says-amount]');
    if (button) {
      const words = takes ? button.dataset.take : button.dataset.add;
      const none = input.value.trim() === '' && button.dataset.none;
      button.textContent = none || words.replace('$', () => (quota === null ? '…' : amounts.show(quota)));
    }
  }
  document.addEventListener('input', (event) => {
    if (event.target.matches?.('[data-amount], [data-times]')) showAmount(event);
    showOthers();
  });

  // Keys: `g` and a letter goes, `/` searches, `j k Enter` in tables, `?` shows all.
  const typing = (element) => element.closest?.('input, textarea, select, dialog');
  // Where a row leads: its first link, unless another one says that it is the row's own.
  const ownLink = (row) => row.querySelector('[data-open]') ?? row.querySelector('a');
  let going = false;
  function rowStep(by) {
    const rows = [...all('main tbody tr')].filter(ownLink);
    if (!rows.length) return;
    const at = rows.findIndex((row) => row.classList.contains('here'));
    rows[at]?.classList.remove('here');
    const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))] ?? rows[0];
    next.classList.add('here');
    // From here Tab goes on to what can be done with the row, and Enter opens it.
    ownLink(next).focus({ preventScroll: true });
    next.scrollIntoView({ block: 'nearest' });
  }
  // The palette: by Ctrl K, or its link in the menu. Arrows go through what is found, and Enter in the
  // field goes to the first.
  const palette = document.getElementById('palette');
  function openPalette(event) {
    event.preventDefault();
    if (!palette.open) palette.showModal();
    const field = palette.querySelector('input');
    field.select();
    field.dispatchEvent(new Event('input', { bubbles: true }));
  }
  for (const link of all('[data-palette]')) link.addEventListener('click', openPalette);
  palette?.addEventListener('keydown', (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const stops = [palette.querySelector('input'), ...all('a', palette)];
    if (by) {
      event.preventDefault();
      stops[(stops.indexOf(document.activeElement) + by + stops.length) % stops.length].focus();
    } else if (event.key === 'Enter' && document.activeElement === stops[0] && stops[1]) {
      // What was found of an earlier text is not meant: the form asks, and leads to a page.
      if (palette.querySelector('#found').dataset.of !== stops[0].value.trim()) return;
      event.preventDefault();
      stops[1].click();
    }
  });

  document.addEventListener('keydown', (event) => {
    if (palette && (event.ctrlKey || event.metaKey) && event.key === 'k') openPalette(event);
    // Out of a field, with what was typed in it. What is open beside the page closes by itself.
    if (event.key === 'Escape' && event.target.matches?.('main :is(input, select):not([popover] *)')) {
      event.preventDefault();
      event.target.blur();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (going) {
      going = false;
      const entry = [...all('[data-go]')].find((link) => link.dataset.go === event.key);
      if (entry) { event.preventDefault(); entry.click(); }
      return;
    }
    const row = document.querySelector('tr.here');
    switch (event.key) {
      case 'g': going = true; setTimeout(() => { going = false; }, 1500); break;
      case '/': {
        const field = document.querySelector('main input[type=search]');
        if (field) { event.preventDefault(); field.focus(); }
        break;
      }
      case 'j': rowStep(1); break;
      case 'k': rowStep(-1); break;
      case 'Enter':
        if (row && document.activeElement === document.body) ownLink(row).click();
        break;
      case 't': turnTimes(); break;
      case 'x': row?.querySelector('input[type=checkbox]')?.click(); break;
      case '?': document.getElementById('shortcuts')?.showModal(); break;
      default:
    }
  });

  // What was done has been said: the address is the page again.
  const address = new URL(location.href);
  if (address.searchParams.has('done')) {
    for (const name of ['done', 'line', 'undo']) address.searchParams.delete(name);
    history.replaceState(history.state, '', address);
    // What can be undone, longer; and not under the reader's hand.
    const toasts = document.getElementById('toasts');
    const sweep = () => {
      if (toasts?.matches(':hover, :focus-within')) setTimeout(sweep, 2000);
      else toasts?.replaceChildren();
    };
    setTimeout(sweep, toasts?.querySelector('form') ? 10000 : 6000);
  }

  // A call in the address of its page is open.
  function openNamed() {
    const named = location.hash && document.getElementById(location.hash.slice(1));
    if (named instanceof HTMLDetailsElement) { named.open = true; named.scrollIntoView(); }
  }
  addEventListener('hashchange', openNamed);
  openNamed();

  function renew() {
    showTimes(document);
    for (const reply of all('pre[data-json]')) reply.textContent = indentJson(reply.textContent) ?? reply.textContent;
    for (const box of all('[data-all]')) box.hidden = false;
    countTicks();
    showOthers();
  }
  document.addEventListener('htmx:after:swap', renew);
  addEventListener('pageshow', (event) => { if (event.persisted) countTicks(); });
  renew();
  showAmount();
  setInterval(() => showTimes(document), 30000);
})();
