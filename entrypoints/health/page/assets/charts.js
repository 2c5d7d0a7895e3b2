// Draws the charts with uPlot. Their figures come from this service, which asks Prometheus.
"use strict";

(() => {
  const HEIGHT = 140;
  const EVERY = 30000; // milliseconds
  const figures = [...document.querySelectorAll(".charts figure")];
  const ranges = document.querySelector(".ranges");
  const note = document.getElementById("charts-note");
  const drawn = new Map(); // figure → its plot
  let last = null;

  /** 1536 → "1.5 KiB", 0.25 → "250 m" */
  function scaled(value, base, prefixes, unit) {
    let power = 0;
    while (Math.abs(value) >= base && power < prefixes.length - 1) {
      value /= base;
      power += 1;
    }
    return `${Number(value.toPrecision(3))} ${prefixes[power]}${unit}`;
  }

  const UNITS = {
    bytes: (value) => scaled(value, 1024, ["", "Ki", "Mi", "Gi", "Ti"], "B"),
    percent: (value) => `${Number(value.toPrecision(3))} %`,
    seconds: (value) => (value < 1 ? `${Number((value * 1000).toPrecision(3))} ms` : `${Number(value.toPrecision(3))} s`),
    cores: (value) => `${Number(value.toPrecision(2))}`,
    count: (value) => `${Number(value.toPrecision(3))}`,
  };

  const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power); // steps of axes that count bytes
  const OF_DAY = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const known = (values) => values.filter((value) => value !== null);
  const element = (name, text = "", attributes = {}) => {
    const made = Object.assign(document.createElement(name), { textContent: text });
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  const EXTREMES = [["Lowest", Math.min], ["Highest", Math.max]];

  /** The lines' names with their figure where the pointer is, or else the last one, their lowest and their highest. */
  function legendOf(chart, unit, title) {
    const table = element("table", "", { class: "legend", "aria-label": `${title}, figures` });
    const head = table.createTHead().insertRow();
    for (const [text, kind] of [["", ""], ["Now", "n"], ...EXTREMES.map(([text]) => [text, "n"])]) {
      head.append(text ? element("th", text, { scope: "col", class: kind }) : element("td"));
    }
    const body = table.createTBody();
    chart.series.forEach((series, index) => {
      const row = body.insertRow();
      const name = element("th", "", { scope: "row" });
      name.append(element("span", "", { class: `key key-${index + 1}${index % 2 ? " dashed" : ""}`, "aria-hidden": "true" }), series.name);
      row.append(name, element("td", "", { class: "n" }));
      for (const [, extreme] of EXTREMES) row.append(element("td", unit(extreme(...known(series.values))), { class: "n" }));
    });
    return table;
  }

  /** The chart in words, for who does not see it. */
  function inWords(title, chart, unit) {
    const range = ranges.querySelector(":checked").value;
    const lines = chart.series.map((series) => {
      const values = known(series.values);
      const extremes = EXTREMES.map(([text, extreme]) => `${text.toLowerCase()} ${unit(extreme(...values))}`);
      return `${series.name}: now ${unit(values.at(-1))}, ${extremes.join(", ")}`;
    });
    return `${title} over the last ${range}. ${lines.join("; ")}. Arrow keys move through time.`;
  }

  /** The figures where the reader is, who may not see them change. */
  function say(chart, unit, times, at) {
    const figures = chart.series.map((series) => `${series.name} ${series.values[at] === null ? "no figure" : unit(series.values[at])}`);
    document.getElementById("said").textContent = `${new Date(times[at] * 1000).toLocaleTimeString([], OF_DAY)}: ${figures.join(", ")}`;
  }

  function tell(figure, chart, unit, times, at) {
    const { legend } = drawn.get(figure);
    legend.tHead.rows[0].cells[1].textContent = at === null ? "Now" : new Date(times[at] * 1000).toLocaleTimeString([], OF_DAY);
    chart.series.forEach((series, index) => {
      const value = at === null ? known(series.values).at(-1) : series.values[at];
      legend.tBodies[0].rows[index].cells[1].textContent = value === null || value === undefined ? "–" : unit(value);
    });
  }

  function draw(figure, chart, times) {
    const focused = document.activeElement?.closest("figure") === figure;
    const former = drawn.get(figure)?.plot;
    const pointed = former?.data[0][former.cursor.idx ?? -1]; // the time that the reader is at
    former?.destroy();
    figure.querySelectorAll(".plot, .legend, .note").forEach((old) => old.remove());
    figure.hidden = chart.series.length === 0;
    if (figure.hidden) return;
    const unit = UNITS[figure.dataset.unit];
    const title = figure.querySelector("figcaption").textContent;
    const place = element("div", "", { class: "plot", tabindex: "0", role: "img", "aria-label": inWords(title, chart, unit) });
    const legend = legendOf(chart, unit, title);
    figure.append(place, legend);
    if (chart.left_out) figure.append(element("p", `${chart.left_out} lower ones are left out.`, { class: "note" }));
    const style = getComputedStyle(figure);
    const colours = [...legend.querySelectorAll(".key")].map((key) => getComputedStyle(key).color);
    const muted = getComputedStyle(legend.tHead.rows[0].cells[1]).color;
    const axis = { stroke: muted, font: `12px ${style.fontFamily}`, grid: { stroke: style.borderTopColor, width: 1 }, ticks: { show: false } };
    const highest = Math.max(...chart.series.flatMap((series) => known(series.values)));
    const options = {
      width: place.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      padding: [10, 20, 0, 0],
      scales: { y: { range: [0, figure.dataset.unit === "percent" ? 100 : highest * 1.05 || 1] } },
      axes: [
        { ...axis, space: 70, size: 26, values: (_, ticks) => ticks.map(timeOf) },
        { ...axis, size: 68, space: 32, ...(figure.dataset.unit === "bytes" && { incrs: POWERS }), values: (_, ticks) => ticks.map(unit) },
      ],
      series: [{}, ...chart.series.map((series, index) => ({ label: series.name, stroke: colours[index], width: 1.6, dash: index % 2 ? [6, 3] : undefined, points: { show: false } }))],
      hooks: {
        setCursor: [(plot) => tell(figure, chart, unit, times, plot.cursor.idx ?? null)],
        ready: [(plot) => pointed === undefined || pointAt(plot, Math.min(times.at(-1), Math.max(times[0], pointed)))],
      },
    };
    const plot = new uPlot(options, [times, ...chart.series.map((series) => series.values)], place);
    drawn.set(figure, { plot, legend });
    tell(figure, chart, unit, times, null);
    place.addEventListener("keydown", (event) => move(event, plot, times, (at) => say(chart, unit, times, at)));
    if (focused) place.focus({ preventScroll: true });
  }

  function timeOf(seconds) {
    const time = new Date(seconds * 1000);
    return last.step > 3600 ? time.toLocaleDateString([], { day: "numeric", month: "short" }) : time.toLocaleTimeString([], OF_DAY);
  }

  const pointAt = (plot, time) => plot.setCursor({ left: plot.valToPos(time, "x"), top: 10 });

  /** Arrow keys move through time, Escape leaves it. */
  function move(event, plot, times, said) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (steps === undefined && event.key !== "Escape") return;
    event.preventDefault();
    if (event.key === "Escape") {
      plot.setCursor({ left: -10, top: -10 });
      return;
    }
    const at = Math.min(times.length - 1, Math.max(0, (plot.cursor.idx ?? times.length) + steps));
    pointAt(plot, times[at]);
    said(at);
  }

  function redraw() {
    if (!last) return;
    const times = Array.from({ length: last.points }, (_, index) => last.start + index * last.step);
    for (const figure of figures) draw(figure, last.charts[figure.id.replace("chart-", "")] ?? { series: [] }, times);
    note.textContent = figures.every((figure) => figure.hidden) ? "No figures yet: Prometheus has only just started to collect them." : "";
  }

  async function load() {
    const range = ranges.querySelector(":checked").value;
    try {
      const answer = await fetch(`api/charts?range=${range}`);
      const found = await answer.json();
      if (range !== ranges.querySelector(":checked").value) return; // another one was chosen meanwhile
      if (!answer.ok) throw new Error(found.error);
      last = found;
      redraw();
    } catch (error) {
      note.textContent = `No charts: ${error.message}`;
    }
  }

  ranges.hidden = false;
  ranges.addEventListener("change", load);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) redraw();
    width = innerWidth;
  });
  const paused = () => document.getElementById("pause").getAttribute("aria-pressed") === "true";
  setInterval(() => document.hidden || paused() || load(), EVERY);
  document.addEventListener("visibilitychange", () => document.hidden || load());
  load();
})();
