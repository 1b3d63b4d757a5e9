// What is typed into the forms of a request is kept in this tab until it has been sent: over a
// reload, a restart of the gateway, and signing in again. And an open page is told when what it
// shows is no longer so. Nothing here sends an answer.
(() => {
  "use strict";
  const page = document.querySelector("[data-approval]");
  if (!page) return;
  const { approval, version, path } = page.dataset;
  // What is said in words outlives a change of the request; what is chosen among its arguments is
  // about those of one version.
  const ABOUT_ARGUMENTS = ["approve", "modify"];
  const key = (draft) => `draft:${approval}:${ABOUT_ARGUMENTS.includes(draft) ? version : "any"}:${draft}`;
  const forms = [...page.querySelectorAll("form[data-draft]")];
  const kept = (field) => field.name && !["hidden", "password", "submit"].includes(field.type)
    && !["csrf", "seal", "response"].includes(field.name);

  const values = (form) => {
    const found = {};
    for (const field of form.elements) {
      if (!kept(field)) continue;
      if (field.type === "radio") { if (field.checked) found[field.name] = field.value; }
      else if (field.type === "checkbox") found[field.name] = field.checked;
      else found[field.name] = field.value;
    }
    return found;
  };
  const differs = (field) => {
    if (field.type === "radio" || field.type === "checkbox") return field.checked !== field.defaultChecked;
    // Where none is marked as chosen, the first one is.
    if (field.localName === "select") return field.selectedIndex !== Math.max(0, [...field.options].findIndex((o) => o.defaultSelected));
    return field.value !== field.defaultValue;
  };
  const store = (form) => {
    const own = [...form.elements].filter(kept);
    try {
      if (own.some(differs)) sessionStorage.setItem(key(form.dataset.draft), JSON.stringify(values(form)));
      else sessionStorage.removeItem(key(form.dataset.draft));
    } catch { /* full or turned off: typing goes on as without it */ }
  };
  const restore = (form) => {
    let found = null;
    try { found = JSON.parse(sessionStorage.getItem(key(form.dataset.draft))); } catch { return; }
    if (!found) return;
    // What the server has put back after an error is as new as what is kept here.
    for (const field of form.elements) {
      if (!kept(field) || !Object.hasOwn(found, field.name) || differs(field)) continue;
      if (field.type === "radio") field.checked = field.value === found[field.name];
      else if (field.type === "checkbox") field.checked = found[field.name] === true;
      else field.value = found[field.name];
    }
    if ([...form.elements].filter(kept).some(differs)) form.closest("details")?.setAttribute("open", "");
  };
  const forget = () => {
    try {
      for (const name of Object.keys(sessionStorage)) {
        if (name.startsWith(`draft:${approval}:`)) sessionStorage.removeItem(name);
      }
    } catch { /* nothing was kept then */ }
  };

  if (page.dataset.status !== "PENDING") forget();
  for (const form of forms) {
    if (!form.querySelector("[data-kept]")) restore(form);
    form.addEventListener("input", () => store(form));
    form.addEventListener("change", () => store(form));
  }

  // --- sending ---------------------------------------------------------------------------------

  const news = document.getElementById("news");
  const tell = (words, kind, link) => {
    if (!news) return;
    const said = document.createElement("p");
    said.className = `notice ${kind}`;
    said.textContent = words;
    if (link) {
      const again = document.createElement("a");
      again.href = path;
      again.textContent = link;
      said.append(" ", again);
    }
    news.replaceChildren(said);
    news.scrollIntoView({ block: "nearest" });
  };

  // A form goes away only when the gateway is there to take it: asked first, so that what was
  // typed stays on this page if it is not.
  const isThere = async () => {
    const patience = AbortSignal.timeout(5000);
    try { return (await fetch("/readyz", { signal: patience, cache: "no-store" })).ok; } catch { return false; }
  };
  let sending = false;
  page.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.method !== "post" || form.dataset.ready) { delete form.dataset.ready; return; }
    event.preventDefault();
    if (sending || page.classList.contains("outdated")) return;
    sending = true;
    if (form.dataset.draft) store(form);
    const button = event.submitter;
    button?.setAttribute("aria-busy", "true");
    const there = await isThere();
    button?.removeAttribute("aria-busy");
    sending = false;
    if (!there) {
      tell("The gateway cannot be reached. Nothing was sent; what you typed is kept. Try again in a moment.", "bad");
      return;
    }
    form.dataset.ready = "yes";
    form.requestSubmit(button && button.form === form ? button : undefined);
  });

  // --- opening what decides --------------------------------------------------------------------

  const open = (name) => {
    const folded = document.getElementById(name);
    if (!folded) return;
    folded.open = true;
    folded.scrollIntoView({ block: "nearest" });
    folded.querySelector("input:not([type=hidden]), select, textarea")?.focus({ preventScroll: true });
  };
  for (const link of page.querySelectorAll("[data-open]")) {
    link.addEventListener("click", (event) => { event.preventDefault(); open(link.dataset.open); });
  }
  const opening = location.hash.slice(1);
  if (opening && document.getElementById(opening)?.matches("details")) open(opening);

  // --- views -----------------------------------------------------------------------------------

  // Counted when a person does something here, not when a program fetches or draws the page.
  const { views, seal } = page.dataset;
  const signs = ["pointermove", "pointerdown", "keydown", "wheel", "touchstart"];
  const seen = (event) => {
    if (!event.isTrusted || document.visibilityState !== "visible") return;
    for (const sign of signs) removeEventListener(sign, seen, true);
    const csrf = page.querySelector("input[name=csrf]")?.value || "";
    const body = new URLSearchParams({ seal, csrf });
    fetch(views, { method: "POST", body, keepalive: true }).catch(() => {});
  };
  if (views) for (const sign of signs) addEventListener(sign, seen, { capture: true, passive: true });

  // --- what has happened since -----------------------------------------------------------------

  const outdate = (words) => {
    page.classList.add("outdated");
    for (const button of page.querySelectorAll("form button, .bar button")) button.disabled = true;
    for (const form of forms) store(form);
    tell(words, "warn", "Show it as it is now");
  };
  const heard = (told) => {
    if (!told || page.dataset.status !== "PENDING" || page.classList.contains("outdated")) return;
    if (told.kind === "signed_out") tell("You have been signed out. What you typed is kept; sign in to go on.", "warn", "Sign in");
    if (told.kind === "gap") tell("The connection was away for a while; something may have happened.", "", "Show it as it is now");
    if (told.id !== approval) return;
    if (told.status && told.status !== "PENDING") outdate(`${told.ending || "This has ended"}, a moment ago.`);
    else if (told.version && String(told.version) !== version) outdate("This has changed a moment ago.");
    else if (told.event === "claimed" || told.event === "handed_over") {
      if (!told.is_mine && told.held_by) tell(`${told.held_by} has it in hand now.`, "");
    } else if (told.event === "voted") tell("Somebody else has approved.", "", "Show it as it is now");
  };
  document.addEventListener("safeguards:news", (event) => heard(event.detail));

  // Back after a decision: what the browser kept of the page may not be so any more.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
})();
