// Draws the charts of a page with uPlot: money over time (in quota, shown in dollars), counts, durations.
(() => {
  'use strict';
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const dollars = (quota) => {
    if (quota === null || quota === undefined) return '–';
    const text = (quota / 500000).toFixed(6).replace(/0{1,4}$/, '');
    return `$${text.replace(/\B(?=(\d{3})+\.)/g, ',')}`;
  };
  const duration = (ms) => ms === null || ms === undefined ? '–'
    : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
  const whole = (count) => count === null || count === undefined ? '–'
    : Number.isInteger(count) ? String(count) : '';
  const units = { usd: dollars, ms: duration, count: whole };
  const two = (number) => String(number).padStart(2, '0');

  function draw(figure) {
    const { times, lines, unit } = JSON.parse(figure.dataset.chart);
    const shown = units[unit ?? 'usd'];
    if (times.length < 2) return;
    const step = times[1] - times[0];
    const days = step >= 86400;
    const label = (seconds) => {
      const date = new Date(seconds * 1000);
      const day = `${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`;
      const hour = two(date.getUTCHours());
      return days ? day : step < 3600 ? `${hour}:${two(date.getUTCMinutes())}` : `${day} ${hour}:00`;
    };
    const axis = { stroke: colour('--muted'), font: '11px system-ui, sans-serif',
      grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
    const values = lines.flatMap((line) => line.values);
    // An hour in which more was refunded than spent is below zero.
    const [lowest, highest] = [Math.min(0, ...values), Math.max(1, ...values)];
    const paths = uPlot.paths.bars({ size: [0.7, 28], gap: 1 });
    const stepped = lines.length === 1 && unit !== 'ms';
    const faults = unit === 'count';
    const options = {
      width: figure.clientWidth, height: 160, tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'UTC'),
      cursor: { drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: [lowest * 1.08, highest * 1.08] } },
      // The label of the last step is as wide to its right as to its left.
      padding: [null, days ? 20 : 40, null, null],
      series: [
        { label: 'UTC', value: (_, seconds) => seconds === null ? '' : label(seconds) },
        ...lines.map((line, nth) => ({
          label: line.label,
          stroke: colour(faults && nth ? '--bad' : stepped || nth ? '--c2' : '--c1'),
          fill: stepped ? colour('--c2') : undefined,
          width: stepped ? 0 : 2,
          paths: stepped ? paths : undefined,
          points: unit === 'ms' ? { size: 4 } : { show: false },
          spanGaps: true,
          value: (_, value, __, at) => at === null ? '' : shown(value),
        })),
      ],
      axes: [
        { ...axis, values: (_, ticks) => ticks.map(label), space: days ? 60 : 90 },
        { ...axis, values: (_, ticks) => ticks.map(shown), size: 82 },
      ],
    };
    const plot = new uPlot(options, [times, ...lines.map((line) => line.values)], figure);
    new ResizeObserver(() => plot.setSize({ width: figure.clientWidth, height: 160 })).observe(figure);
  }
  for (const figure of document.querySelectorAll('[data-chart]')) draw(figure);
})();
