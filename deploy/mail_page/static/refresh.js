// Shows new mails by themselves: asks for the page again and puts its list in place of this one.
"use strict";
const PERIOD_MS = 1500;

function showLocalTimes() {
  for (const time of document.querySelectorAll("time")) {
    time.textContent = new Date(time.dateTime).toLocaleTimeString();
  }
}

let shown = document.getElementById("mails").innerHTML;

async function refresh() {
  try {
    const answer = await fetch("/", { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const mails = page.getElementById("mails");
    if (answer.ok && mails && mails.innerHTML !== shown) {
      shown = mails.innerHTML;
      const focused = document.activeElement?.getAttribute("href");
      document.getElementById("mails").replaceChildren(...mails.childNodes);
      showLocalTimes();
      if (focused) document.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    }
    document.body.classList.toggle("lost", !answer.ok);
  } catch {
    document.body.classList.add("lost");
  }
  setTimeout(refresh, PERIOD_MS);
}

showLocalTimes();
setTimeout(refresh, PERIOD_MS);
