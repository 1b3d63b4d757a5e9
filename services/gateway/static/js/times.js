// Says beside each <time data-relative> how far it is away, and keeps it true. The server has
// written the moment itself; the room for the words is kept by CSS, so nothing moves.
(() => {
  "use strict";
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const away = (seconds) => {
    const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) || units[3];
    return words.format(Math.trunc(seconds / size), unit);
  };
  const say = () => {
    for (const time of document.querySelectorAll("time[data-relative]")) {
      const seconds = (new Date(time.dateTime) - Date.now()) / 1000;
      const said = time.nextElementSibling;
      const text = `(${away(seconds)})`;
      if (said.textContent !== text) said.textContent = text;
      time.closest("[data-deadline]")?.classList.toggle("soon", seconds > 0 && seconds < 60);
    }
  };
  say();
  setInterval(say, 1000);
  document.addEventListener("htmx:after:swap", say);
})();
