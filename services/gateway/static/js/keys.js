// Keys for those who decide often. None of them decides: they move, and open. `c` alone sends, and
// what it sends can be taken back. What it counts on in a page:
//   a[data-request]            the link of a row of the inbox, to the page of its request
//   #approve, #modify, #reject the button, or the form or <details> that is opened to decide
//   form#claim                 takes the request in hand: POST …/claim
//   input[type=search]         the search
(() => {
  "use strict";
  const DECISIONS = { a: "approve", m: "modify", x: "reject" };
  const FIELDS = "input:not([type=hidden]), select, textarea";
  const UNSELECTED = "No request is selected. Press j to select one.";
  const help = document.getElementById("keys-help");
  let latest = null; // the address of the row that was selected last

  const say = (words) => {
    const announcements = document.getElementById("announcements");
    // Said again if it is said twice.
    announcements.textContent = "";
    setTimeout(() => { announcements.textContent = words; }, 50);
  };

  const rows = () => [...document.querySelectorAll("a[data-request]")]
    .filter((link) => link.checkVisibility());

  // The row that has the focus, or had it before something else was looked at.
  const selected = () => {
    const row = document.activeElement.closest("[data-row]");
    const within = row && row.querySelector("a[data-request]");
    return within || rows().find((link) => link.href === latest) || null;
  };

  const move = (step) => {
    const links = rows();
    if (!links.length) return;
    const at = links.indexOf(selected());
    const next = at < 0 ? 0 : Math.min(Math.max(at + step, 0), links.length - 1);
    // Brought into sight by hand: what is focused is only just scrolled to, below the bar at the top.
    links[next].focus({ preventScroll: true, focusVisible: true });
    (links[next].closest("[data-row]") || links[next]).scrollIntoView({ block: "nearest" });
  };

  // Opens a decision and puts the focus where it goes on. Says whether there is such a decision.
  const open = (decision) => {
    const found = document.getElementById(decision);
    if (!found) return false;
    const folded = found.closest("details");
    if (folded) folded.open = true;
    const usable = (element) => !element.disabled && element.checkVisibility();
    const within = (selector) => [...found.querySelectorAll(selector)].find(usable);
    const target = found.matches("button") ? found : within(FIELDS) || within("button");
    if (!target || !usable(target)) return false;
    target.focus({ preventScroll: true, focusVisible: true });
    (found.matches("button") ? found : folded || found).scrollIntoView({ block: "nearest" });
    target.scrollIntoView({ block: "nearest" });
    return true;
  };

  const decide = (decision) => {
    const link = selected();
    if (link) location.assign(`${link.getAttribute("href")}#${decision}`);
    else if (rows().length) say(UNSELECTED);
    else if (!open(decision)) say(`There is nothing to ${decision} here.`);
  };

  // The form on the page of a request; for a row what that form would send, and the page stays.
  const claim = async () => {
    const link = selected();
    const form = document.getElementById("claim");
    if (form && !link) return form.requestSubmit();
    if (!link) {
      return say(rows().length ? UNSELECTED : "There is nothing to take in hand here.");
    }
    const headers = JSON.parse(document.body.getAttribute("hx-headers:inherited") || "{}");
    const answer = await fetch(`${link.getAttribute("href")}/claim`, {
      method: "POST", headers, redirect: "manual",
    }).catch(() => null);
    const taken = answer && (answer.ok || answer.type === "opaqueredirect");
    say(taken ? `You have it in hand: ${link.textContent.trim()}` : "It could not be taken in hand.");
  };

  const search = () => {
    const field = document.querySelector("input[type=search]");
    if (!field) return false;
    field.focus();
    field.select();
    return true;
  };

  const ACTIONS = {
    j: () => move(1),
    k: () => move(-1),
    a: () => decide(DECISIONS.a),
    m: () => decide(DECISIONS.m),
    x: () => decide(DECISIONS.x),
    c: claim,
    "/": search,
    "?": () => help.showModal(),
  };

  // Where a letter is text, or chooses among options.
  const takesText = (element) => element.isContentEditable
    || element.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=button], [type=submit])");

  // Folds what was opened to decide, and goes back to what opened it; what was typed stays.
  const fold = (event) => {
    if (event.target.matches("[type=search]")) return event.target.blur();
    const folded = event.target.closest("details:has(form)[open]");
    if (!folded) return;
    folded.open = false;
    folded.querySelector("summary").focus();
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") return fold(event);
    const action = ACTIONS[event.key];
    // Not inherited names, and nothing that a key held down repeats but moving.
    if (!Object.hasOwn(ACTIONS, event.key) || takesText(event.target)) return;
    if (document.body.dataset.singleKeys === "off") return;
    if (event.repeat && event.key !== "j" && event.key !== "k") return;
    if (action() !== false) event.preventDefault();
  });

  document.addEventListener("focusin", (event) => {
    const row = event.target.closest("[data-row]");
    const link = row && row.querySelector("a[data-request]");
    if (link) latest = link.href;
  });

  // Pages open at a decision by their address: /console/requests/apr_…#approve.
  const openAddressed = () => {
    const decision = location.hash.slice(1);
    if (Object.values(DECISIONS).includes(decision)) open(decision);
  };
  addEventListener("hashchange", openAddressed);
  // Only now: while a page opens, the browser itself takes the focus to what the address names,
  // and away from a field within it.
  const opened = () => requestAnimationFrame(() => setTimeout(openAddressed));
  if (document.readyState === "complete") opened();
  else addEventListener("load", opened);

  for (const button of document.querySelectorAll("[data-opens]")) {
    button.addEventListener("click", () => {
      document.getElementById(button.dataset.opens).showModal();
    });
  }
})();
