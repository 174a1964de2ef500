// What the page does in addition to htmx: colours, keys, charts, live updates, dropping a file. Everything works without it, too.
(() => {
  "use strict";
  const root = document.documentElement;

  // A step in the history that is taken before htmx listens changes the address alone: the page of the new address is loaded
  document.addEventListener("DOMContentLoaded", () => {
    const [loaded] = performance.getEntriesByType("navigation");
    if (!loaded) return;
    const requested = new URL(loaded.name, location.href);
    if (requested.pathname + requested.search !== location.pathname + location.search) location.reload();
  });

  // Dark or light
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-switch]")) return;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("ethogram-theme", root.dataset.theme); } catch { /* storage is switched off */ }
    drawAll(true);
  });

  // "/" goes to the search
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select")) return;
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  });

  // The link to the CSV follows the filters
  const followFilters = () => {
    const results = document.getElementById("results"), link = document.querySelector("[data-csv]");
    if (results && link) link.href = "/devices.csv?" + (results.dataset.query || "");
  };

  // Charts: data is in the element, colours are in the stylesheet
  const charts = new Map();
  const octets = (value) => {
    if (value == null) return "";
    const units = ["B", "kB", "MB", "GB", "TB"];
    let i = 0;
    while (value >= 999.5 && i < units.length - 1) { value /= 1000; i += 1; }
    return (value >= 10 || i === 0 ? value.toFixed(0) : value.toFixed(1)) + " " + units[i];
  };
  const draw = (element) => {
    if (typeof uPlot === "undefined") return;
    const data = JSON.parse(element.dataset.chart), style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const time = (seconds) => new Date(seconds * 1000);
    const names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const hours = (_, ticks) => ticks.map((each) => {
      const at = time(each), clock = at.toISOString().slice(11, 16);
      return clock === "00:00" ? at.getUTCDate() + " " + names[at.getUTCMonth()] : clock;
    });
    const axis = { font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", stroke: colour("--muted"), grid: { stroke: colour("--border"), width: 1 }, ticks: { stroke: colour("--border"), width: 1 } };
    const scored = data.axis !== undefined, form = scored ? (value) => (value == null ? "" : value.toFixed(2)) : octets;
    const points = { show: scored || data.x.length < 3 };
    charts.get(element)?.destroy();
    element.replaceChildren();
    charts.set(element, new uPlot({
      width: Math.max(element.clientWidth, 240), height: scored ? 200 : 260, tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "Etc/UTC"),
      axes: [{ ...axis, space: 70, label: "UTC", labelSize: 18, values: hours }, { ...axis, size: 64, label: data.axis || "octets per hour", labelSize: 18, values: (_, ticks) => ticks.map(form) }],
      scales: scored ? { y: { range: [data.least, data.most] } } : {},
      series: [{ label: "UTC", value: (_, at) => (at == null ? "–" : time(at).toISOString().slice(0, 16).replace("T", " ")) }].concat(data.series.map((each) => ({
        label: each.name, stroke: colour(each.colour), width: 1.75, points, value: (_, value) => form(value) || "–",
      }))),
    }, [data.x].concat(data.series.map((each) => each.values)), element));
  };
  const drawAll = (again) => {
    for (const element of charts.keys()) if (!element.isConnected) { charts.get(element).destroy(); charts.delete(element); }
    for (const element of document.querySelectorAll("[data-chart]")) if (again || !charts.has(element)) draw(element);
  };
  const scrollEnds = () => {
    for (const element of document.querySelectorAll("[data-scroll-end]")) element.scrollLeft = element.scrollWidth;
  };
  let resizing = 0;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => drawAll(true), 150); });

  // Live updates: many events make one update
  const state = document.querySelector("[data-live-state]");
  const show = (name, text) => { if (state) { state.dataset.state = name; state.textContent = text; } };
  let pending = 0;
  const update = () => {
    if (pending || document.hidden || document.querySelector("details[data-hold][open]")) return;
    pending = setTimeout(() => {
      pending = 0;
      document.body.dispatchEvent(new CustomEvent("live"));
    }, 400);
  };
  if (state && window.EventSource) {
    const source = new EventSource("/api/v1/events");
    source.onopen = () => show("on", "live");
    source.onmessage = update;
    source.onerror = () => show("lost", source.readyState === 2 ? "not live: log in again" : "connecting");
    addEventListener("pagehide", () => source.close());
  }

  // Drop a file
  const drop = document.getElementById("drop");
  if (drop) {
    const bar = document.getElementById("sent"), messages = document.getElementById("messages");
    const complain = (text) => {
      const line = document.createElement("p");
      line.className = "notice bad"; line.setAttribute("role", "alert"); line.textContent = text;
      messages.replaceChildren(line); bar.hidden = true;
    };
    const send = (file) => {
      if (file.size > Number(drop.dataset.most)) { complain("The file is larger than the limit."); return; }
      const request = new XMLHttpRequest();
      request.open("POST", "/api/v1/captures?name=" + encodeURIComponent(file.name.slice(-200)));
      request.setRequestHeader("X-CSRF-Token", drop.dataset.csrf);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (event) => { bar.hidden = false; bar.value = event.total ? event.loaded / event.total : 0; };
      request.onload = () => {
        let answer = {};
        try { answer = JSON.parse(request.responseText); } catch { /* not JSON */ }
        if (request.status === 202) location.assign("/capture/" + answer.id);
        else complain(answer.detail || "The upload failed.");
      };
      request.onerror = () => complain("The upload failed.");
      request.send(file);
    };
    drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault(); drop.classList.remove("over");
      if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
    });
    drop.addEventListener("submit", (event) => {
      const file = document.getElementById("file").files[0];
      if (file) { event.preventDefault(); send(file); }
    });
  }

  document.addEventListener("htmx:after:swap", () => { followFilters(); drawAll(false); scrollEnds(); });
  document.addEventListener("htmx:error", () => show("lost", "no answer"));
  // The page that is shown is in view in the row of pages of a small window
  const current = document.querySelector(".nav a[aria-current]"), row = current?.closest(".nav");
  if (row && row.scrollWidth > row.clientWidth) row.scrollLeft = current.offsetLeft - (row.clientWidth - current.offsetWidth) / 2;
  drawAll(false);
  scrollEnds();
})();
