// Draws the charts of a page with uPlot: money over time (in quota), counts, durations.
(() => {
  'use strict';
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const money = (amount) => amount === null || amount === undefined ? '–' : amounts.round(amount);
  const duration = (ms) => ms === null || ms === undefined ? '–'
    : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
  const whole = (count) => count === null || count === undefined ? '–'
    : Number.isInteger(count) ? String(count) : '';
  const units = { money, ms: duration, count: whole };
  const two = (number) => String(number).padStart(2, '0');
  const height = 160;
  const [minute, hour, day] = [60, 3600, 86400];

  function draw(figure) {
    const { times, lines, unit } = JSON.parse(figure.dataset.chart);
    const shown = units[unit ?? 'money'];
    // In the unit of the console, so that its axis has round steps.
    if (!unit) for (const line of lines) line.values = line.values.map(amounts.inUnit);
    if (times.length < 2) return;
    const step = times[1] - times[0];
    const label = (seconds) => {
      const date = new Date(seconds * 1000);
      const ofDay = `${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`;
      const ofHour = two(date.getUTCHours());
      return step >= day ? ofDay
        : step < hour ? `${ofHour}:${two(date.getUTCMinutes())}` : `${ofDay} ${ofHour}:00`;
    };
    // A tick is shorter: its day stands where it begins.
    const tick = (seconds) => step < hour || step >= day || seconds % day === 0
      ? (step < day && seconds % day === 0 ? label(seconds).slice(0, 5) : label(seconds))
      : label(seconds).slice(6);
    // What is spent and what is paid in differ by orders of magnitude: each has its own axis.
    const apart = lines.length === 2 && !unit;
    const bars = (nth) => unit !== 'ms' && unit !== 'count' && (!apart || nth === 0);
    const tint = (nth) => colour(unit === 'count' && nth ? '--bad' : bars(nth) ? '--c2' : '--c1');
    const scale = (nth) => apart && nth === 1 ? 'right' : 'y';
    const axis = { stroke: colour('--muted'), font: '11px system-ui, sans-serif',
      grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
    // An hour in which more was refunded than spent is below zero.
    const range = (name) => {
      const values = lines.filter((_, nth) => scale(nth) === name).flatMap((line) => line.values);
      const [lowest, highest] = [Math.min(0, ...values), Math.max(0, ...values)];
      // An axis has a length, also where nothing happened.
      return [lowest * 1.08, (highest || Number(!lowest)) * 1.08];
    };
    const half = lines.some((_, nth) => bars(nth)) ? step / 2 : 0;
    const last = times.length - 1;
    const options = {
      width: figure.clientWidth, height, tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'UTC'),
      cursor: { drag: { x: false, y: false } },
      scales: {
        // The first and the last bar are drawn whole.
        x: { time: true, range: (_, from, to) => [from - half, to + half] },
        y: { range: range('y') },
        ...(apart ? { right: { range: range('right') } } : {}),
      },
      // The label of the last step is as wide to its right as to its left.
      padding: [null, apart ? null : 20, null, null],
      series: [
        { label: 'UTC', value: (_, seconds) => label(seconds ?? times[last]) },
        ...lines.map((line, nth) => ({
          label: line.label,
          scale: scale(nth),
          stroke: tint(nth),
          fill: bars(nth) ? tint(nth) : undefined,
          width: bars(nth) ? 0 : 2,
          paths: bars(nth) ? uPlot.paths.bars({ size: [0.7, 28], gap: 1 }) : undefined,
          points: unit === 'ms' ? { size: 4 } : { show: false },
          spanGaps: true,
          // Without a cursor the last step is read out.
          value: (_, value, __, at) => shown(at === null ? line.values[last] : value),
        })),
      ],
      axes: [
        { ...axis, values: (_, ticks) => ticks.map(tick), size: 28, space: step >= day ? 44 : 52,
          incrs: [minute, 5 * minute, 10 * minute, 15 * minute, 30 * minute, hour, 2 * hour, 3 * hour, 6 * hour,
            12 * hour, day, 2 * day, 3 * day, 5 * day, 10 * day].filter((length) => length >= step) },
        { ...axis, values: (_, ticks) => ticks.map(shown), size: 82, stroke: apart ? tint(0) : axis.stroke },
        ...(apart ? [{ ...axis, scale: 'right', side: 1, values: (_, ticks) => ticks.map(shown), size: 72,
          stroke: tint(1), grid: { show: false } }] : []),
      ],
    };
    const plot = new uPlot(options, [times, ...lines.map((line) => line.values)], figure);
    figure.plot = plot;
    new ResizeObserver(() => plot.setSize({ width: figure.clientWidth, height })).observe(figure);
  }
  const drawAll = () => {
    for (const figure of document.querySelectorAll('[data-chart]')) if (!figure.plot) draw(figure);
  };
  drawAll();
  document.addEventListener('htmx:load', drawAll);
})();
