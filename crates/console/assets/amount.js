// Amounts as the server reads and shows them: in the unit of this console, which the page names, with
// what a quota is worth in it (in millionths of millionths; 0: amounts are shown in quota).
const amounts = (() => {
  'use strict';
  const { sign = '$', worth = '2000000' } = document.documentElement.dataset;
  const one = 10n ** 12n;
  const dollar = 2000000n;
  const ofQuota = BigInt(worth);
  const nearest = (of, step) => (of + step / 2n) / step * step;
  const grouped = (digits) => String(digits).replace(/\B(?=(\d{3})+$)/g, ',');
  const size = (number) => number < 0n ? -number : number;
  let places = 2;
  while (places < 12 && 10n ** BigInt(12 - places) > ofQuota) places += 1;

  // Without a minus, and with commas only before three digits. Dollars come to a whole quota, or are none;
  // of other currencies it is the nearest.
  const whole = String.raw`([1-9]\d{0,2}(?:,\d{3})+|\d{0,18})`;
  function read(text) {
    const quota = text.match(new RegExp(`^\\s*${whole}\\s*q\\s*$`, 'i')) ?? (ofQuota ? null : text.match(new RegExp(`^\\s*${whole}\\s*$`)));
    if (quota) return quota[1] ? BigInt(quota[1].replaceAll(',', '')) : null;
    const plain = text.trim();
    const isDollars = plain.startsWith('$');
    const each = isDollars ? dollar : ofQuota;
    const digits = plain.startsWith(isDollars ? '$' : sign) ? plain.slice(isDollars ? 1 : sign.length).trim() : plain;
    const parts = digits.match(new RegExp(`^${whole}(?:\\.(\\d{0,${Math.max(6, isDollars ? 6 : places)}}))?$`));
    if (!each || !parts || (!parts[1] && !parts[2])) return null;
    const value = BigInt((parts[1] || '0').replaceAll(',', '')) * one + BigInt((parts[2] ?? '').padEnd(12, '0'));
    return one % each === 0n && value % each ? null : nearest(value, each) / each;
  }

  // The shortest decimal that is read as this quota, with two places at least.
  function show(quota) {
    const minus = quota < 0n ? '−' : '';
    if (!ofQuota) return `${minus}${grouped(size(quota))} q`;
    const value = size(quota) * ofQuota;
    let shown = 2;
    while (shown < places && nearest(nearest(value, 10n ** BigInt(12 - shown)), ofQuota) !== value) shown += 1;
    const near = nearest(value, 10n ** BigInt(12 - shown));
    return `${minus}${sign}${grouped(near / one)}.${String(near % one).padStart(12, '0').slice(0, shown)}`;
  }

  // What was typed, as quota; and of quota what it is worth.
  function other(text) {
    const quota = read(text);
    if (quota === null) return '';
    return ofQuota && /q\s*$/i.test(text) ? `= ${show(quota)}` : `= ${grouped(quota)} q`;
  }

  // Of a chart, where a number will do.
  const inUnit = (quota) => quota === null ? null : ofQuota ? quota * Number(ofQuota) / Number(one) : quota;
  function round(amount) {
    if (!ofQuota) return show(BigInt(Math.round(amount)));
    const [digits, part] = Math.abs(amount).toFixed(places).split('.');
    return `${amount < 0 ? '−' : ''}${sign}${grouped(digits)}.${part.replace(/0+$/, '').padEnd(2, '0')}`;
  }
  return { read, show, other, inUnit, round };
})();
