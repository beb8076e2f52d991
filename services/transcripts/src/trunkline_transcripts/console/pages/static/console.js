// What every page loads. Without it the pages work, too: times stay in UTC, and lists stand still.
import { followCall, followCalls } from "./live.js";
import { localize } from "./times.js";

localize(document);
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
document.getElementById("zone").textContent = `Times are in your zone, ${zone}.`;

const now = document.getElementById("now");
if (now) followCalls(now);
const call = document.getElementById("call");
if (call?.dataset.live) followCall(call);

// A shortcut for the mouse; the text below the drawing is what the keyboard reaches.
document.addEventListener("click", (event) => {
  const turn = event.target.closest("[data-turn]")?.dataset.turn;
  if (turn) location.hash = turn;
});
