// How the forms of a page are sent: asked about first, where that can't be taken back; in the session
// that the browser has by then; and once.
(() => {
  'use strict';
  const zh = document.documentElement.lang.startsWith('zh');
  const confirmation = document.getElementById('confirm');
  const ended = document.getElementById('ended');
  if (!confirmation || !ended) return;

  // What a dialog is closed with.
  const answer = (dialog) => new Promise((given) => {
    dialog.returnValue = '';
    dialog.addEventListener('close', () => given(dialog.returnValue), { once: true });
    if (!dialog.open) dialog.showModal();
  });

  // A write that can't be taken back is asked about by its own name, each time.
  async function confirmed(form, submitter) {
    const yes = confirmation.querySelector('[value=yes]');
    yes.textContent = submitter?.textContent.trim() || yes.textContent;
    document.getElementById('confirm-words').textContent = form.dataset.confirm;
    if (await answer(confirmation) !== 'yes') return false;
    form.elements.asks?.remove();
    return true;
  }

  // A session may end, or be another, while a page is open. What was typed stays, until whom the page
  // was made for is logged in again: its forms then take the token of the new session.
  async function inSession() {
    for (;;) {
      const reply = await fetch('/console/session', { headers: { 'HX-Request': 'true' } }).catch(() => null);
      const session = reply?.ok ? await reply.json().catch(() => null) : null;
      if (session && String(session.user_id) === ended.dataset.user) {
        for (const field of document.querySelectorAll('input[name=csrf]')) field.value = session.csrf;
        document.body.setAttribute('hx-headers:inherited', JSON.stringify({ 'X-CSRF-Token': session.csrf }));
        return true;
      }
      const why = session ? 'other' : reply?.status === 401 ? 'over' : 'silent';
      for (const words of ended.querySelectorAll('[data-when]')) words.hidden = words.dataset.when !== why;
      if (await answer(ended) !== 'again') return false;
    }
  }

  // A form that is on its way is not sent a second time: what is shown once would be made twice, and
  // the first never seen.
  const guarded = (form) => form.elements.csrf && !form.action.endsWith('/logout');
  async function send(form, submitter) {
    if ('sending' in form.dataset) return;
    form.dataset.sending = '';
    const goes = (!form.dataset.confirm || await confirmed(form, submitter))
      && (!guarded(form) || await inSession());
    delete form.dataset.sending;
    if (!goes) return;
    form.dataset.cleared = '';
    form.requestSubmit(submitter);
    delete form.dataset.cleared;
  }
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (event.defaultPrevented || !(form instanceof HTMLFormElement) || form.method !== 'post') return;
    if (!('cleared' in form.dataset) && (form.dataset.confirm || guarded(form))) {
      event.preventDefault();
      send(form, event.submitter);
      return;
    }
    // A button that is disabled at once would not be sent itself.
    setTimeout(() => { for (const button of form.querySelectorAll('button:not([type=button])')) button.disabled = true; });
  });
  addEventListener('pageshow', (event) => {
    if (!event.persisted) return;
    for (const button of document.querySelectorAll('form[method=post] button')) button.disabled = false;
  });

  // What was typed is not thrown away unasked: neither with the list that a form stands in, nor for the
  // login to which a part of the page leads.
  const typed = 'form.form[data-typed]';
  document.addEventListener('input', (event) => { event.target.form?.setAttribute('data-typed', ''); });
  document.addEventListener('htmx:before:request', (event) => {
    const target = event.detail.ctx?.target;
    const words = zh ? '表单中有未保存的内容, 放弃它们?' : 'The form has changes that are not saved. Drop them?';
    if (target?.id === 'list' && target.querySelector(typed) && !confirm(words)) event.preventDefault();
  });
  document.addEventListener('htmx:before:response', (event) => {
    if (event.detail.ctx?.response?.status !== 401 || !document.querySelector(typed)) return;
    event.preventDefault();
    if (!ended.open) inSession();
  });
})();
