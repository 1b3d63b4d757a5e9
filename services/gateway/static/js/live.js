// What happens while one looks: one stream of events (`/api/v1/events`) for all tabs together.
//
// The tabs elect a leader by a lock; it alone holds the stream, and tells the others over a
// BroadcastChannel. When it is closed, another takes over and goes on after the last event.
//
// Other scripts listen on the document:
//   document.addEventListener("safeguards:news", (event) => { event.detail … })
// `detail` of what has happened to one approval:
//   kind      "opened", "changed" or "ended"
//   cursor    the event's id in the stream; later events have later ones
//   id        the approval's id
//   event     as in its history: "opened", "claimed", "asked", "answered", "approved", …
//   revision  of the record after it
//   version   of what is shown
//   status    "PENDING", "APPROVED", …
//   sentence  what it asks for
//   held_by   the name of whoever has it in hand, or ""
//   is_mine   whether that is who has signed in
//   ending    how it stands or ended, and by whom: "Approved by Alex"
//   words     to announce, or ""
// and, without the rest:
//   kind "gap"         more has happened than the stream still knows: look at everything anew
//   kind "signed_out"  nothing more comes before somebody signs in again
// An event may come twice; look at `cursor`, or at `revision`.
//
// A page that was made at a moment of the stream (`data-heard` somewhere in it) also hears what has
// happened between that and now.
(() => {
  "use strict";
  if (!("EventSource" in window) || !("BroadcastChannel" in window) || !navigator.locks) return;

  const KINDS = ["opened", "changed", "ended", "gap", "signed_out"];
  const REMEMBERED = 500; // events that the leader can tell a new tab of
  const RETRY = [1000, 2000, 5000, 10000, 30000]; // milliseconds
  // Of one person's tabs: who signs in after another has a stream of their own.
  const name = `safeguards:${document.body.dataset.reviewer}`;
  const channel = new BroadcastChannel(name);
  const marked = document.querySelector("[data-heard]");
  let last = marked ? marked.dataset.heard : "";
  let remembered = [];
  let leads = false;
  let source = null;
  let failures = 0;

  const order = (cursor) => cursor.split("-").map(Number);
  const isAfter = (one, other) => {
    const [a, b] = order(one), [c, d] = order(other);
    return a > c || (a === c && b > d);
  };

  const hear = (detail) => {
    if (detail.cursor && last && !isAfter(detail.cursor, last) && detail.kind !== "gap") return;
    if (detail.cursor) last = detail.cursor;
    document.dispatchEvent(new CustomEvent("safeguards:news", { detail }));
  };

  const tell = (detail) => {
    remembered.push(detail);
    remembered = remembered.slice(-REMEMBERED);
    channel.postMessage({ news: detail });
    hear(detail);
  };

  const open = () => {
    const address = last ? `/api/v1/events?after=${encodeURIComponent(last)}` : "/api/v1/events";
    source = new EventSource(address);
    source.addEventListener("ready", (event) => {
      failures = 0;
      if (!last) last = event.lastEventId;
      document.documentElement.dataset.live = "on";
    });
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        const cursor = event.lastEventId;
        if (kind === "signed_out") source.close();
        tell({ ...JSON.parse(event.data), kind, cursor: kind === "signed_out" ? "" : cursor });
      });
    }
    source.addEventListener("error", () => {
      delete document.documentElement.dataset.live;
      // The browser comes back by itself, except after an answer that is no stream.
      if (source.readyState !== EventSource.CLOSED) return;
      const wait = RETRY[Math.min(failures, RETRY.length - 1)];
      failures += 1;
      setTimeout(open, wait * (0.5 + Math.random()));
    });
  };

  // Whoever holds the lock leads, until its tab is closed.
  const lead = () => navigator.locks.request(name, () => {
    leads = true;
    open();
    return new Promise(() => {});
  }).catch(() => {});

  channel.addEventListener("message", ({ data }) => {
    if (data.news) hear(data.news);
    if (data.since !== undefined && leads) {
      for (const detail of remembered) {
        if (detail.cursor && isAfter(detail.cursor, data.since)) channel.postMessage({ news: detail });
      }
    }
  });
  // What the leader has heard since this page was made; whoever has heard it passes over it.
  if (last) channel.postMessage({ since: last });
  lead();

  // A page that the back button brings back has heard nothing meanwhile.
  addEventListener("pageshow", (event) => {
    if (event.persisted) document.dispatchEvent(new CustomEvent("safeguards:news", { detail: { kind: "gap", cursor: "" } }));
  });
})();
