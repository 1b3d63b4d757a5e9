// The list of requests while things happen. Rows never move: what is new waits behind a button,
// what has ended stays where it was, faded, until the list is loaded again.
(() => {
  "use strict";
  const MAX_ANNOUNCED = 3;
  const CANDIDATES = 200; // of one question to the server
  const announcements = document.getElementById("announcements");
  const list = () => document.getElementById("list");
  let candidates = new Set(); // may belong to the list: asked in a moment
  let fresh = new Set(); // do belong to it, and are not shown
  let asking = 0;

  // --- what has changed -----------------------------------------------------------------------

  const announce = (words) => {
    const said = document.createElement("p");
    said.textContent = words;
    announcements.append(said);
    while (announcements.children.length > MAX_ANNOUNCED) announcements.firstChild.remove();
  };

  const showFresh = () => {
    const button = document.getElementById("fresh");
    button.textContent = fresh.size ? `${fresh.size} new` : "Load again";
    button.hidden = false;
  };

  const ask = async () => {
    asking = 0;
    const ids = [...candidates].slice(0, CANDIDATES);
    for (const id of ids) candidates.delete(id);
    const address = new URL(list().dataset.matching, location.origin);
    for (const id of ids) address.searchParams.append("id", id);
    let matching;
    try {
      const answer = await fetch(address, { headers: { "HX-Request": "true" } });
      if (!answer.ok) return;
      ({ matching } = await answer.json());
    } catch {
      // The gateway is away: what happens meanwhile is told when it is back.
      for (const id of ids) candidates.add(id);
      later();
      return;
    }
    const found = matching.filter(({ id }) => !fresh.has(id) && !document.getElementById(id));
    for (const { id } of found) fresh.add(id);
    if (found.length) showFresh();
    if (found.length === 1) announce(`New request: ${found[0].words}`);
    else if (found.length) announce(`${found.length} new requests`);
    if (candidates.size) later();
  };

  const later = () => {
    if (!asking) asking = setTimeout(ask, 300);
  };

  const end = (row, news) => {
    if (row.classList.contains("over")) return;
    row.classList.add("over");
    const tick = row.querySelector("input[type=checkbox]");
    if (tick) {
      tick.checked = false;
      tick.disabled = true;
      count();
    }
    announce(news.words);
  };

  const take = (news) => {
    if (!list()) return;
    if (news.kind === "gap") return showFresh();
    if (news.kind === "signed_out") {
      announce("You have been signed out.");
      return;
    }
    const row = document.getElementById(news.id);
    if (!row) {
      // Whatever happens may bring it into this list, and take it out again.
      candidates.add(news.id);
      if (fresh.has(news.id) && news.kind === "ended" && list().dataset.view !== "answered") {
        fresh.delete(news.id);
        showFresh();
      }
      return later();
    }
    const state = row.querySelector("[data-state]");
    if (news.status !== "PENDING") {
      state.textContent = news.ending;
      return end(row, news);
    }
    state.textContent = news.is_mine ? "You have it in hand" : news.held_by ? `${news.held_by} has it in hand` : "";
    if (["claimed", "released", "handed_over", "answered", "amended"].includes(news.event)) announce(news.words);
  };
  document.addEventListener("safeguards:news", (event) => take(event.detail));

  // --- how long there is ------------------------------------------------------------------------

  const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const duration = (seconds) => {
    let rest = Math.max(0, Math.round(seconds));
    const said = [];
    for (const [unit, size] of UNITS) {
      const count = Math.floor(rest / size);
      rest -= count * size;
      if (count) said.push(`${count} ${unit}`);
      else if (said.length) break;
      if (said.length === 2) break;
    }
    return said.join(" ") || "0 s";
  };
  setInterval(() => {
    for (const left of document.querySelectorAll(".request:not(.over) [data-until]")) {
      const seconds = (new Date(left.dataset.until) - Date.now()) / 1000;
      const text = seconds > 0 ? `${duration(seconds)} left` : "Time is up";
      if (left.textContent !== text) left.textContent = text;
      left.parentElement.classList.toggle("urgent", seconds < 600);
    }
  }, 1000);

  // --- what is ticked ---------------------------------------------------------------------------

  const count = () => {
    const said = document.getElementById("ticked-count");
    if (!said) return;
    const ticked = list().querySelectorAll(".tick input:checked").length;
    said.dataset.plain ||= said.textContent;
    said.textContent = ticked ? `${ticked} ticked` : said.dataset.plain;
    const send = document.getElementById("ticked-send");
    send.textContent = ticked ? `Approve ${ticked}…` : "Look at those ticked…";
    send.disabled = !ticked;
    send.classList.toggle("primary", ticked > 0);
    document.getElementById("ticked").classList.toggle("has", ticked > 0);
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches(".tick input")) count();
  });

  // --- when the list is loaded again ------------------------------------------------------------

  let before = new Set();
  document.addEventListener("htmx:before:swap", () => {
    before = new Set([...document.querySelectorAll("[data-row]")].map((row) => row.id));
  });
  document.addEventListener("htmx:after:swap", () => {
    const shown = [...document.querySelectorAll("[data-row]")];
    const added = shown.filter((row) => !before.has(row.id));
    const went = document.activeElement === document.body;
    if (before.size && added.length && shown.length > added.length && went) {
      // "More", or "3 new", is gone: the focus goes on with what came.
      added[0].querySelector("a[data-request]").focus({ preventScroll: true });
    }
    for (const id of [...fresh]) if (document.getElementById(id)) fresh.delete(id);
    if (document.getElementById("fresh")?.hidden) fresh = new Set();
    count();
  });
  count();
})();
