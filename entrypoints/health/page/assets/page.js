// Keeps the page up to date without loading it again: the service streams each section that changed, as HTML.
"use strict";

(() => {
  const RETRY = 15000; // milliseconds, where the service refuses a stream; the browser itself retries those that end
  const SILENCE = 20000; // after which a stream is dead, of which the browser may hear nothing: an event comes each 5 s
  const live = document.querySelector(".live");
  const pause = document.getElementById("pause");
  const pulse = document.getElementById("pulse");
  let stream = null;
  let later = 0;
  let silent = 0;

  /** Puts new HTML into a section; what is unfolded stays so, and what has the focus keeps it. */
  function put(name, html) {
    const section = document.getElementById(`section-${name}`);
    if (!section || section.innerHTML === html) return;
    const open = [...section.querySelectorAll("details")].map((one) => [one.id, one.open]);
    const inside = () => [...section.querySelectorAll("a, button, summary")];
    const focused = inside().indexOf(document.activeElement);
    section.innerHTML = html;
    for (const [id, state] of open) {
      const found = id && section.querySelector(`#${id}`);
      if (found) found.open = state;
    }
    if (focused >= 0) inside()[focused]?.focus({ preventScroll: true });
  }

  /** The title and icon of the tab; a change of the state is also said. */
  function tell() {
    const headline = document.querySelector(".headline");
    if (!headline) return; // the section is broken, and says so
    const { title, colour } = headline.dataset;
    if (document.title !== title) {
      document.title = title;
      document.getElementById("said").textContent = headline.textContent;
    }
    const icon = document.querySelector('link[rel="icon"]');
    icon.href = icon.href.replace(/fill='[^']*'/, `fill='${colour}'`);
  }

  /** A stream that brings nothing, as after the network or the computer was away, is opened anew. */
  function expect() {
    clearTimeout(silent);
    silent = setTimeout(() => {
      lost();
      open();
    }, SILENCE);
  }

  const lost = () => {
    pulse.textContent = "Not connected: this is what was known last.";
  };

  /** A service of another version has another page; once, should what comes be the old one again. */
  function compare(version) {
    if (version === document.body.dataset.version || sessionStorage.getItem("loaded-for") === version) return;
    sessionStorage.setItem("loaded-for", version);
    location.reload();
  }

  function take(event) {
    expect();
    const changed = JSON.parse(event.data);
    for (const [name, html] of Object.entries(changed)) put(name, html);
    tell();
    const now = new Date();
    const time = document.getElementById("as-of");
    time.dateTime = now.toISOString();
    time.textContent = now.toISOString().replace("T", " ").replace(/\..*/, " UTC");
    pulse.textContent = `Live, ${now.toLocaleTimeString([], { hourCycle: "h23" })}`;
    compare(event.lastEventId); // last: a browser that keeps no site data throws here
  }

  function close() {
    stream?.close();
    stream = null;
    clearTimeout(later);
    clearTimeout(silent);
  }

  function open() {
    close();
    stream = new EventSource("events");
    stream.onmessage = take;
    expect();
    stream.onerror = () => {
      lost();
      if (stream?.readyState === EventSource.CLOSED) later = setTimeout(open, RETRY);
    };
  }

  /** A page that nobody looks at asks for nothing. */
  function follow() {
    const paused = pause.getAttribute("aria-pressed") === "true";
    if (paused || document.hidden) close();
    else if (!stream) open();
    if (paused) pulse.textContent = "Paused";
  }

  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true"));
    follow();
  });

  /** The files of the charts, one after the other. */
  function loadCharts() {
    const files = document.getElementById("charts")?.dataset.files; // the queue's page has none
    for (const file of files?.split(" ") ?? []) {
      const style = file.includes(".css?");
      const made = document.createElement(style ? "link" : "script");
      Object.assign(made, style ? { rel: "stylesheet", href: file } : { src: file, async: false });
      document.head.append(made);
    }
  }

  live.hidden = false;
  // After the first paint, which need not wait for any of this.
  requestAnimationFrame(() => setTimeout(() => {
    document.addEventListener("visibilitychange", follow);
    follow();
    loadCharts();
  }));
})();
