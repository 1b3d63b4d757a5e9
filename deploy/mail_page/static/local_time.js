// The page says UTC; the reader's own time is easier to read.
"use strict";
for (const time of document.querySelectorAll("time")) {
  time.textContent = new Date(time.dateTime).toLocaleString();
}
